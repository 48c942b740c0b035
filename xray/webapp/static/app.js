// Files and samples in, cards out.

import { fetchSample, predict, Refused } from "./api.js";
import { Card } from "./card.js";
import { isShowable, readGrey } from "./picture.js";

const $ = (id) => document.getElementById(id);
const cards = new Map(); // card -> {file, abort}

async function add(name, file) {
  const card = new Card(name, { onRemove: remove, onExplain: explain });
  cards.set(card, { file });
  $("cards").append(card.element);
  update();
  try {
    if (file.size > $("files").dataset.bytes) {
      const mib = (file.size / 2 ** 20).toFixed(1);
      throw new Refused(`It has ${mib} MiB, more than this server takes.`);
    }
    await score(card, "highest");
    say(card.summary());
  } catch (error) {
    fail(card, error);
  }
}

/** Ask for a picture's numbers and one heat map, and show them. */
async function score(card, finding) {
  const entry = cards.get(card);
  entry.abort?.abort();
  entry.abort = new AbortController();
  card.setBusy(true);
  const showable = await isShowable(entry.file);
  const prediction = await predict(entry.file, {
    model: $("model")?.value,
    explain: finding,
    preview: !showable && !card.picture,
    signal: entry.abort.signal,
  });
  const picture = card.picture ?? (await read(entry.file, prediction.image.preview));
  card.show(prediction, picture);
  card.list($("sort").checked);
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

async function explain(card) {
  try {
    await score(card, card.finding);
    say(`Heat map for ${card.summary()}`);
  } catch (error) {
    if (error.name !== "AbortError") card.restore();
    card.list($("sort").checked);
    fail(card, error);
  }
}

function fail(card, error) {
  if (error.name === "AbortError") return; // asked for something else meanwhile
  if (!(error instanceof Refused)) console.error(error);
  card.setBusy(false);
  if (!card.picture) drop(card);
  const line = document.createElement("p");
  line.className = "error";
  const title = document.createElement("strong");
  title.textContent = card.name;
  const reason = error instanceof Refused ? error.message : "The page failed on it.";
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Dismiss";
  close.addEventListener("click", () => {
    line.remove();
    $("files").focus();
  });
  line.append(title, ` ${reason} `, close);
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
    fail({ name: button.dataset.name, setBusy() {} }, error);
  }
});

$("sort").addEventListener("change", () => {
  for (const card of cards.keys()) card.list($("sort").checked);
});

$("clear").addEventListener("click", () => {
  for (const card of [...cards.keys()]) drop(card);
  say("All pictures removed");
  $("files").focus();
});

$("model")?.addEventListener("change", (event) => {
  $("card-link").href = event.target.selectedOptions[0].dataset.card;
  for (const card of cards.keys()) explain(card);
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
