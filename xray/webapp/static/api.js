// The JSON API of this server, and its refusals as errors with a message for people.

const PATIENCE_SECONDS = 600; // with a server that says when to come again

/** Why there is no answer, for people; `again`: another try may bring one. */
export class Refused extends Error {
  constructor(message, again = false) {
    super(message);
    this.again = again;
  }
}

/** What each model says of one picture, with the heat map of every finding.
 * @param {Blob} file
 * @param {{preview?: boolean, signal: AbortSignal,
 *   onWait: (seconds: number) => void}} options `onWait` is told of a busy server
 */
export async function predict(file, { preview, signal, onWait }) {
  const query = new URLSearchParams({ explain: "all" });
  if (preview) query.set("preview", "true");
  const request = { method: "POST", body: file, signal };
  for (let waited = 0; ; ) {
    const response = await ask(`api/v1/predictions?${query}`, request);
    if (response.ok) return (await response.json()).predictions;
    const seconds = Number(response.headers.get("Retry-After"));
    waited += seconds;
    if (!seconds || waited > PATIENCE_SECONDS) {
      throw new Refused(await reason(response), seconds > 0);
    }
    onWait(seconds);
    await pause(seconds * 1000, signal);
  }
}

/** The content of a picture to try. */
export async function fetchSample(url) {
  const response = await ask(url, {});
  if (!response.ok) throw new Refused(await reason(response));
  return response.blob();
}

async function ask(url, request) {
  try {
    return await fetch(url, { headers: { Accept: "application/json" }, ...request });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is it still running?", true);
  }
}

async function reason(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `The server refuses this (${response.status} ${response.statusText}).`;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
