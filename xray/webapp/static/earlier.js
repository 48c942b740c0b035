// Pictures that are not open: a row each, to be sorted, and opened again.

const THUMB = 48; // pixels

export class Earlier {
  /**
   * @param {HTMLElement} section with a table whose headings hold the buttons that sort
   * @param {(card: Card) => void} onOpen
   */
  constructor(section, onOpen) {
    this.section = section;
    this.onOpen = onOpen;
    this.rows = new Map();
    this.body = section.querySelector("tbody");
    this.headings = [...section.querySelectorAll("th[aria-sort]")];
    for (const heading of this.headings) {
      heading.querySelector("button").addEventListener("click", () => this.sort(heading));
    }
  }

  has(card) {
    return this.rows.has(card);
  }

  /** Show a card as a row, or what its row has to say by now. */
  set(card) {
    const row = this.rows.get(card) ?? this.make(card);
    row.querySelector(".said").textContent = card.state();
    if (!card.picture) return;
    const context = row.querySelector("canvas").getContext("2d");
    const { width, height } = card.canvas;
    const scale = THUMB / Math.max(width, height);
    context.drawImage(card.canvas, 0, 0, width * scale, height * scale);
  }

  make(card) {
    const row = document.getElementById("earlier-row").content.firstElementChild.cloneNode(true);
    row.querySelector(".name").textContent = card.name;
    row.querySelector(".visually-hidden").textContent = ` ${card.name}`;
    row.querySelector("button").addEventListener("click", () => this.onOpen(card));
    this.rows.set(card, row);
    for (const one of this.headings) one.setAttribute("aria-sort", "none");
    this.body.prepend(row);
    this.section.hidden = false;
    return row;
  }

  delete(card) {
    this.rows.get(card)?.remove();
    this.rows.delete(card);
    this.section.hidden = this.rows.size === 0;
  }

  /** By the heading's values, the other way round when it is chosen again. */
  sort(heading) {
    const down = heading.getAttribute("aria-sort") !== "descending";
    for (const one of this.headings) one.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (card) => (heading.dataset.by === "name" ? card.name : (card.top()?.reading ?? -1));
    const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
    const cards = [...this.rows.keys()].sort((a, b) => (down ? -order(a, b) : order(a, b)));
    this.body.append(...cards.map((card) => this.rows.get(card)));
  }
}
