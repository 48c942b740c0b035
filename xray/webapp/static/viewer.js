// A canvas that can be looked at closely: by wheel, drag, pinch and keys.

const LARGEST = 8; // times
const STEP = 1.25;
const KEYS = {
  "+": [STEP, 0, 0],
  "=": [STEP, 0, 0],
  "-": [1 / STEP, 0, 0],
  ArrowLeft: [1, 0.1, 0],
  ArrowRight: [1, -0.1, 0],
  ArrowUp: [1, 0, 0.1],
  ArrowDown: [1, 0, -0.1],
};

export class Viewer {
  /** @param {HTMLElement} stage which shows one canvas, and takes the keys */
  constructor(stage) {
    this.stage = stage;
    this.canvas = stage.querySelector("canvas");
    this.pointers = new Map();
    this.reset();
    stage.addEventListener("wheel", (event) => this.turn(event), { passive: false });
    stage.addEventListener("keydown", (event) => this.press(event));
    stage.addEventListener("dblclick", () => this.reset());
    stage.addEventListener("pointerdown", (event) => this.pointers.set(event.pointerId, event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      stage.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
  }

  reset() {
    [this.scale, this.x, this.y] = [1, 0, 0]; // the shift in shares of the canvas
    this.apply();
  }

  /** Scale about a point, given from the middle in shares of the canvas, and shift. */
  change(factor, right, down, [x, y] = [0, 0]) {
    const scale = Math.min(LARGEST, Math.max(1, this.scale * factor));
    const grown = scale / this.scale;
    const within = (shift) => Math.max(-(scale - 1) / 2, Math.min((scale - 1) / 2, shift));
    this.x = within(x - (x - this.x) * grown + right);
    this.y = within(y - (y - this.y) * grown + down);
    this.scale = scale;
    this.apply();
  }

  apply() {
    // Set here and not as attributes: the page allows no inline style.
    this.canvas.style.transform = `translate(${100 * this.x}%, ${100 * this.y}%) scale(${this.scale})`;
    this.stage.classList.toggle("zoomed", this.scale > 1);
  }

  /** Without a modifier the wheel scrolls the page, unless the picture is zoomed. */
  turn(event) {
    if (!event.ctrlKey && this.scale === 1) return;
    event.preventDefault();
    this.change(event.deltaY < 0 ? STEP : 1 / STEP, 0, 0, this.place(event));
  }

  press(event) {
    const step = KEYS[event.key];
    if (event.target !== this.stage || !step || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.change(...step);
  }

  /** One pointer drags, two pinch. */
  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const { offsetWidth: width, offsetHeight: height } = this.canvas; // before it is scaled
    const right = (event.clientX - before.clientX) / width;
    const down = (event.clientY - before.clientY) / height;
    this.pointers.set(event.pointerId, event);
    const other = [...this.pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    if (!other) return this.change(1, right, down);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    this.change(apart(event) / Math.max(1, apart(before)), 0, 0, this.place(other));
  }

  place({ clientX, clientY }) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = this.canvas; // in the middle of the stage
    return [
      (clientX - left - width / 2) / offsetWidth,
      (clientY - top - height / 2) / offsetHeight,
    ];
  }
}
