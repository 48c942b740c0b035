// Files and samples in, cards out.

import { fetchSample, predict, Refused } from "./api.js";
import { Card } from "./card.js";
import { Earlier } from "./earlier.js";
import { asCsv, asJson, save } from "./export.js";
import { isShowable, readGrey } from "./picture.js";
import { Queue } from "./queue.js";

const $ = (id) => document.getElementById(id);
const MOST_OPEN = 4; // pictures; the earlier ones are rows of a table
const cards = new Map(); // card -> {file, abort}
const open = new Set(); // cards, the one that was opened last at the end
const queue = new Queue(4);
const earlier = new Earlier($("earlier"), (card) => {
  show(card);
  card.element.querySelector("h3").focus();
});

function add(name, file) {
  const onChange = (changed) => earlier.has(changed) && earlier.set(changed);
  const card = new Card(name, { onRemove: remove, onExplain: explain, onChange });
  cards.set(card, { file });
  show(card);
  update();
  return score(card);
}

/** Open a picture, and close the one that has been open for longest. */
function show(card) {
  earlier.delete(card);
  open.add(card);
  $("cards").append(card.element);
  const [first] = open;
  if (open.size <= MOST_OPEN) return;
  open.delete(first);
  first.element.remove();
  earlier.set(first);
}

/** Ask what the models say of a picture, and show it. */
async function score(card) {
  const entry = cards.get(card);
  entry.abort = new AbortController();
  const { signal } = entry.abort;
  try {
    const answers = await ask(card, signal);
    const picture = await read(entry.file, answers[0].image.preview);
    signal.throwIfAborted();
    card.take(answers, picture, titles());
    showChosen(card);
  } catch (error) {
    fail(card, error);
  }
}

/** Show what the chosen model says of a picture; nothing, where that is not known yet. */
function showChosen(card) {
  if (!card.answers) return;
  card.show($("model")?.value);
  card.list($("sort").checked);
  say(card.summary());
}

/** The models' names by their ids, where there are several. */
function titles() {
  const options = [...($("model")?.options ?? [])];
  return new Map(options.map(({ value, textContent }) => [value, textContent]));
}

async function ask(card, signal) {
  const { file } = cards.get(card);
  card.setBusy("Waiting …");
  if (file.size > $("files").dataset.bytes) {
    const mib = (file.size / 2 ** 20).toFixed(1);
    throw new Refused(`It has ${mib} MiB, more than this server takes.`);
  }
  const preview = !(await isShowable(file));
  const onWait = (seconds) => card.setBusy(`Busy, again in ${seconds} s …`);
  return queue.run(() => {
    card.setBusy("Reading …");
    return predict(file, { preview, signal, onWait });
  }, signal);
}

async function read(file, preview) {
  const blob = preview ? fromDataAddress(preview) : file;
  try {
    return await readGrey(blob);
  } catch {
    throw new Refused("The server reads this picture, this browser does not.");
  }
}

function fromDataAddress(address) {
  const text = atob(address.split(",")[1]);
  return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))]);
}

function explain(card) {
  say(`Heat map for ${card.summary()}`);
}

function fail(card, error) {
  if (error.name === "AbortError") return; // asked for something else meanwhile
  if (!(error instanceof Refused)) console.error(error);
  const entry = cards.get(card);
  card.setBusy(null);
  if (!card.picture) drop(card);
  const reason = error instanceof Refused ? error.message : "The page failed on it.";
  tell(card.name, reason, error.again && entry ? () => retry(card, entry) : null);
}

function retry(card, { file }) {
  if (cards.has(card)) score(card);
  else add(card.name, file);
}

/** A line of what went wrong, to be dismissed, or tried again. */
function tell(name, reason, again) {
  const line = document.createElement("p");
  line.className = "error";
  const title = document.createElement("strong");
  title.textContent = name;
  line.append(title, ` ${reason} `);
  const act = (text, action) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => {
      line.remove();
      $("files").focus();
      action?.();
    });
    line.append(button);
  };
  if (again) act("Retry", again);
  act("Dismiss");
  $("errors").append(line);
}

function remove(card) {
  const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
  drop(card);
  say(`${card.name} removed`);
  (next?.querySelector(".remove") ?? $("files")).focus();
}

function drop(card) {
  cards.get(card)?.abort?.abort();
  cards.delete(card);
  open.delete(card);
  earlier.delete(card);
  card.element.remove();
  update();
}

function update() {
  $("results").hidden = cards.size === 0;
  $("results-title").textContent = cards.size === 1 ? "1 picture" : `${cards.size} pictures`;
}

function say(text) {
  $("status").textContent = text;
}

function addFiles(files) {
  $("errors").replaceChildren();
  for (const file of files) add(file.name, file);
  $("results").scrollIntoView();
}

$("files").addEventListener("change", () => {
  addFiles([...$("files").files]);
  $("files").value = ""; // so that the same file can be chosen again
});

$("samples")?.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  $("errors").replaceChildren();
  try {
    add(button.dataset.name, await fetchSample(button.dataset.url));
  } catch (error) {
    tell(button.dataset.name, error.message);
  }
});

$("sort").addEventListener("change", () => {
  for (const card of cards.keys()) card.list($("sort").checked);
});

const scored = () =>
  [...cards.keys()].flatMap(({ name, answers }) =>
    (answers ?? []).map((prediction) => ({ name, prediction })),
  );
$("csv").addEventListener("click", () => save("xray.csv", "text/csv", asCsv(scored())));
$("json").addEventListener("click", () => save("xray.json", "application/json", asJson(scored())));
$("print").addEventListener("click", () => print());

$("clear").addEventListener("click", () => {
  for (const card of [...cards.keys()]) drop(card);
  say("All pictures removed");
  $("files").focus();
});

$("model")?.addEventListener("change", (event) => {
  $("card-link").href = event.target.selectedOptions[0].dataset.card;
  for (const card of cards.keys()) showChosen(card);
});

// Anywhere on the page, so that a near miss does not open the file in place of it.
let depth = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (hasFiles(event)) $("drop").classList.toggle("over", ++depth > 0);
});
document.addEventListener("dragleave", (event) => {
  if (hasFiles(event)) $("drop").classList.toggle("over", --depth > 0);
});
document.addEventListener("dragover", (event) => {
  if (hasFiles(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth = 0;
  $("drop").classList.remove("over");
  addFiles([...event.dataTransfer.files]);
});
