// The JSON API of this server, and its refusals as errors with a message for people.

const TRIES = 6;

export class Refused extends Error {}

/** What the server says of one picture.
 * @param {Blob} file
 * @param {{model?: string, explain: string, preview?: boolean, signal?: AbortSignal}} options
 */
export async function predict(file, { model, explain, preview, signal }) {
  const query = new URLSearchParams({ explain });
  if (model) query.set("model", model);
  if (preview) query.set("preview", "true");
  const request = { method: "POST", body: file, signal };
  for (let tries = 1; ; tries++) {
    const response = await ask(`api/v1/predict?${query}`, request);
    if (response.ok) return response.json();
    const seconds = Number(response.headers.get("Retry-After"));
    if (!seconds || tries === TRIES) throw new Refused(await reason(response));
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
    throw new Refused("The server does not answer. Is it still running?");
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
