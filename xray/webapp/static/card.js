// One picture on the page: its view, its sliders and its findings.

import { compare } from "./compare.js";
import { paintHeat } from "./heat.js";
import { throughWindow } from "./picture.js";
import { isAbove, isNone, label, percent } from "./wording.js";
import { Viewer } from "./viewer.js";

let cards = 0;

export class Card {
  /**
   * @param {string} name of the file
   * @param {{onRemove: (card: Card) => void, onExplain: (card: Card) => void,
   *   onChange: (card: Card) => void}} events
   */
  constructor(name, events) {
    this.name = name;
    this.onChange = events.onChange;
    this.number = ++cards;
    this.element = clone("card");
    this.answers = this.picture = null;
    this.heat = null;
    this.finding = null;
    const find = (selector) => this.element.querySelector(selector);
    this.canvas = find("canvas");
    this.viewer = new Viewer(find(".stage"));
    this.fieldset = find(".findings");
    this.invert = find(".invert");
    this.sliders = Object.fromEntries(
      ["opacity", "window", "level"].map((kind) => [kind, find(`.${kind}`)]),
    );
    const title = find("h3");
    title.textContent = name;
    title.id = `card-${this.number}`;
    title.tabIndex = -1;
    this.element.setAttribute("aria-labelledby", title.id);
    find(".remove .visually-hidden").textContent = ` ${name}`;
    find(".remove").addEventListener("click", () => events.onRemove(this));
    find(".reset").addEventListener("click", () => this.reset());
    find(".full").hidden = !document.fullscreenEnabled; // as on a phone
    find(".full").addEventListener("click", () => find(".stage").requestFullscreen());
    find(".sliders").addEventListener("input", () => this.draw());
    this.invert.addEventListener("change", () => this.draw());
    this.fieldset.addEventListener("change", (event) => {
      this.explain(event.target.value);
      events.onExplain(this);
    });
    this.showValues();
  }

  /** Tell, for the eye and the screen reader, what an answer waits for; null: for
   * nothing. */
  setBusy(reason) {
    const busy = reason !== null;
    this.element.setAttribute("aria-busy", busy);
    this.element.classList.toggle("waiting", busy);
    if (busy) this.element.querySelector(".busy").textContent = reason;
    this.onChange(this);
  }

  /** Keep the picture, and what the API answers of it.
   * @param {object[]} answers one of each model
   * @param {Map<string, string>} titles of the models by their ids, where they are several
   */
  take(answers, picture, titles) {
    Object.assign(this, { answers, picture, titles });
    const part = this.element.querySelector(".compare");
    part.hidden = answers.length < 2;
    if (!part.hidden) compare(part.querySelector("table"), answers, titles);
  }

  /** Show what one of the models says, the first without a choice. */
  show(model) {
    const prediction = this.answers.find(({ model_id }) => model_id === model) ?? this.answers[0];
    this.prediction = prediction;
    const { kind, width, height } = prediction.image;
    const doubt = this.doubt();
    const title = this.titles.get(prediction.model_id);
    const by = title ? `, read by ${title}` : "";
    this.element.querySelector(".facts").textContent = `${kind}, ${width}×${height} pixels${by}`;
    const warning = this.element.querySelector(".doubt");
    warning.hidden = doubt === null;
    warning.textContent = doubt === null ? "" : `Is this a chest X-ray? ${doubt}`;
    const known = prediction.findings.some(({ name }) => name === this.finding);
    this.explain(known ? this.finding : prediction.heat_map.finding);
    this.setBusy(null);
  }

  /** Lay the heat map of a finding over the picture. */
  explain(finding) {
    this.finding = finding;
    const map = this.prediction.heat_maps.find((each) => each.finding === finding);
    this.heat = paintHeat(map.rows);
    this.box = map.box;
    this.element.querySelector(".no-heat").hidden = this.heat !== null;
    const cells = `${map.rows[0].length}×${map.rows.length} cells`;
    this.element.querySelector(".grid").textContent = this.heat ? `The heat map has ${cells}.` : "";
    this.canvas.setAttribute(
      "aria-label",
      `${this.name}, ${this.heat ? "with the" : "without a"} heat map for ${label(finding)}`,
    );
    this.draw();
  }

  /** List the findings, the highest reading first or in the model's order; and, apart,
   * that there is none. */
  list(sorted) {
    if (!this.prediction) return;
    const findings = [...this.prediction.findings];
    if (sorted) findings.sort((a, b) => b.reading - a.reading);
    findings.sort((a, b) => isNone(a) - isNone(b));
    this.element.querySelector(".flagged").textContent = this.flagged();
    const focused = document.activeElement?.value;
    const held = this.fieldset.contains(document.activeElement);
    this.fieldset.querySelectorAll(".finding").forEach((row) => row.remove());
    this.fieldset.append(...findings.map((finding) => this.row(finding)));
    if (held) this.fieldset.querySelector(`[value="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Which findings the model calls present, the highest reading first. */
  flagged() {
    const found = this.prediction.findings
      .filter((finding) => !isNone(finding) && isAbove(finding))
      .sort((a, b) => b.reading - a.reading)
      .map(({ name }) => label(name));
    return found.length ? `At or above the threshold: ${found.join(", ")}` : "No finding reaches its threshold.";
  }

  /** The finding with the highest reading, and what it is; null before an answer. */
  top() {
    const findings = this.prediction?.findings.filter((one) => !isNone(one)) ?? [];
    return findings.reduce((a, b) => (a && a.reading >= b.reading ? a : b), null);
  }

  /** In a few words: the highest reading, or what the picture waits for. */
  state() {
    const top = this.top();
    if (!top) return this.element.querySelector(".busy").textContent;
    const above = this.prediction.findings.filter((one) => !isNone(one) && isAbove(one));
    const more = above.length > 1 ? `, ${above.length - 1} more` : "";
    return `${label(top.name)} ${percent(top.probability)}${above.length ? more : ", below its threshold"}`;
  }

  row(finding) {
    const { name, probability, threshold, reading } = finding;
    const row = clone("finding");
    const input = row.querySelector("input");
    input.name = `finding-${this.number}`;
    input.value = name;
    input.checked = name === this.finding;
    const above = isAbove(finding);
    row.classList.toggle("above", above && !isNone(finding));
    row.classList.toggle("apart", isNone(finding));
    row.querySelector(".name").textContent = label(name);
    row.querySelector(".value").textContent = percent(probability);
    // Set here and not as attributes: the page allows no inline style.
    row.querySelector(".fill").style.width = `${100 * reading}%`;
    row.querySelector(".tick").classList.toggle("unchosen", !threshold.chosen);
    const kind = threshold.chosen ? "threshold" : "threshold, not chosen for this model,";
    const told = `${above ? "at or above" : "below"} the ${kind} of ${percent(threshold.value)}${reached(threshold)}`;
    row.querySelector(".visually-hidden").textContent = `, ${told}`;
    row.title = `${label(name)} ${percent(probability)}, ${told}`;
    return row;
  }

  /** Why it may be no X-ray of a chest; null where nothing speaks against it. */
  doubt() {
    const { image, unlike } = this.prediction;
    const looks = unlike > 1 ? "It looks unlike those that the model was trained on." : null;
    return [image.doubt, looks].filter(Boolean).join(" ") || null;
  }

  /** One sentence for the status line. */
  summary() {
    const chosen = this.prediction.findings.find(({ name }) => name === this.finding);
    const doubt = this.doubt() ? " It may be no chest X-ray." : "";
    return `${this.name}: ${label(chosen.name)} ${percent(chosen.probability)}. ${this.flagged()}${doubt}`;
  }

  reset() {
    this.viewer.reset();
    this.invert.checked = false;
    for (const slider of Object.values(this.sliders)) slider.value = slider.defaultValue;
    this.draw();
  }

  draw() {
    this.showValues();
    if (!this.picture || this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = null;
      const { width, height } = this.picture;
      const { opacity, window, level } = this.sliders;
      Object.assign(this.canvas, { width, height });
      const context = this.canvas.getContext("2d");
      context.putImageData(throughWindow(this.picture, +window.value, +level.value, this.invert.checked), 0, 0);
      if (!this.heat) return this.onChange(this);
      context.globalAlpha = opacity.value / 100;
      context.imageSmoothingQuality = "high";
      const { left, top, width: wide, height: high } = this.box;
      context.drawImage(this.heat, left * width, top * height, wide * width, high * height);
      this.onChange(this);
    });
  }

  showValues() {
    for (const [kind, slider] of Object.entries(this.sliders)) {
      slider.nextElementSibling.textContent = kind === "opacity" ? `${slider.value}%` : slider.value;
    }
  }
}

function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** What a threshold reached on the test images, if that is known. */
function reached({ sensitivity, specificity }) {
  if (sensitivity === null || specificity === null) return "";
  return `, which found ${percent(sensitivity)} of the test images with it and cleared ${percent(specificity)} of those without`;
}
