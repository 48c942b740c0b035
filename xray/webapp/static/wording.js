// How a finding is told.

/** Some archives write "No Finding", some "No finding". */
export const isNone = ({ name }) => name.toLowerCase() === "no finding";

export function isAbove({ probability, threshold }) {
  return probability >= threshold.value;
}

export function label(name) {
  return name.replaceAll("_", " ");
}

export function percent(share) {
  if (share < 0.0005) return share > 0 ? "<0.1%" : "0%";
  const digits = share < 0.01 ? 1 : 0;
  return `${(100 * share).toFixed(digits)}%`;
}
