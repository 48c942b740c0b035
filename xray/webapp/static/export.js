// What the page shows, as files.

/** A row a picture and finding.
 * @param {{name: string, prediction: object}[]} pictures
 */
export function asCsv(pictures) {
  const rows = [["picture", "model_id", "finding", "probability", "threshold", "at_or_above"]];
  for (const { name, prediction } of pictures) {
    for (const { name: finding, probability, threshold } of prediction.findings) {
      const above = Number(probability >= threshold.value);
      rows.push([name, prediction.model_id, finding, probability, threshold.value, above]);
    }
  }
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** What the API said, without pictures and heat maps. */
export function asJson(pictures) {
  const shown = pictures.map(({ name, prediction: { model_id, image, findings } }) => {
    const { preview, ...facts } = image;
    return { picture: name, model_id, image: facts, findings };
  });
  return `${JSON.stringify(shown, null, 1)}\n`;
}

/** Have the browser save a text. */
export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function cell(value) {
  if (typeof value === "number") return String(value);
  // A spreadsheet would compute what begins like a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${text.replaceAll('"', '""')}"`;
}
