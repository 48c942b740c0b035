// What several models say of one picture, side by side.

import { isAbove, isNone, label, percent } from "./wording.js";

/** Fill a table: a row a finding, a column a model.
 * @param {HTMLTableElement} table with an empty head and body
 * @param {object[]} answers of the API, one of each model
 * @param {Map<string, string>} titles of the models, by their ids
 */
export function compare(table, answers, titles) {
  const heads = answers.map(({ model_id }) => cell("th", titles.get(model_id), "col"));
  table.tHead.replaceChildren(row(cell("th", "Finding", "col"), ...heads));
  const findings = answers.flatMap((answer) => answer.findings);
  const names = [...new Set(findings.map(({ name }) => name))];
  names.sort((a, b) => isNone({ name: a }) - isNone({ name: b }));
  table.tBodies[0].replaceChildren(
    ...names.map((name) => {
      const found = answers.map((answer) => answer.findings.find((one) => one.name === name));
      return row(cell("th", label(name), "row"), ...found.map(told));
    }),
  );
}

/** The probability; a dash where the model does not know the finding. */
function told(finding) {
  if (!finding) return cell("td", "–");
  const above = isAbove(finding);
  const one = cell("td", percent(finding.probability));
  one.classList.toggle("above", above && !isNone(finding));
  const hidden = document.createElement("span");
  hidden.className = "visually-hidden";
  hidden.textContent = above ? ", at or above its threshold" : ", below its threshold";
  one.append(hidden);
  return one;
}

function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function cell(kind, text, scope) {
  const element = document.createElement(kind);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}
