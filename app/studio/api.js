// The service's HTTP API, with the key (if the server wants one) kept in this browser.

const KEY = "kinora.key";

/** What the server refused, and the parameter that it named. `status` is 0 when it is away. */
export class Fault extends Error {
  constructor(message, status, param = null) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

export const key = () => localStorage.getItem(KEY) ?? "";
export const setKey = (value) => localStorage.setItem(KEY, value.trim());

/** A request with the key; raises Fault, and tells the page when a key is wanted. */
export async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault("The server does not answer.", 0);
  }
  if (answer.ok) return answer;
  if (answer.status === 401) window.dispatchEvent(new Event("kinora:key"));
  const error = (await answer.json().catch(() => null))?.error;
  const said = error?.message ?? `The server answered with ${answer.status}.`;
  throw new Fault(said, answer.status, error?.param ?? null);
}

const json = async (path, options) => (await call(path, options)).json();
const place = (id) => `/v1/videos/${encodeURIComponent(id)}`;

export const models = async () => (await json("/v1/models")).data;
export const retrieve = (id) => json(place(id));
export const cancel = (id) => json(`${place(id)}/cancel`, { method: "POST" });
export const remove = (id) => json(place(id), { method: "DELETE" });
/** Not redirected to the storage: the page's content policy knows no other host. */
export const contentPath = (id, variant = "video") =>
  `${place(id)}/content?redirect=false&variant=${variant}`;
export const streamed = (id, name) => call(`${place(id)}/${name}`);
export const events = (id, last, signal) =>
  call(`${place(id)}/events`, {
    signal,
    headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) },
  });

/** A page of videos. Asked for: limit, after, order, search (words of the prompt), status. */
export function list(asked) {
  const given = Object.entries(asked).filter(([, value]) => value);
  return json(`/v1/videos?${new URLSearchParams(given)}`);
}

/** POSTs fields as a form. Absent ones are left out, objects travel as JSON, files as files. */
export function post(path, fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === "" || value === null || value === undefined) continue;
    if (value instanceof File) form.append(name, value, value.name);
    else if (typeof value === "object") form.append(name, JSON.stringify(value));
    else form.append(name, value);
  }
  return json(path, { method: "POST", body: form });
}
