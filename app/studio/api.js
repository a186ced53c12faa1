// The service's HTTP API, with the key (if the server wants one) kept in this browser.

const KEY = "kinora.key";

export class Fault extends Error {
  constructor(message, status, param) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

export const key = () => localStorage.getItem(KEY) ?? "";
export const setKey = (value) => localStorage.setItem(KEY, value.trim());

async function call(path, options = {}) {
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Fault("The server does not answer.", 0, null);
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  const error = body?.error;
  throw new Fault(error?.message ?? `The server answered with ${answer.status}.`, answer.status, error?.param ?? null);
}

const json = async (path, options) => (await call(path, options)).json();
const place = (id) => `/v1/videos/${encodeURIComponent(id)}`;

export const models = async () => (await json("/v1/models")).data;
export const retrieve = (id) => json(place(id));
export const cancel = (id) => json(`${place(id)}/cancel`, { method: "POST" });
export const remove = (id) => json(place(id), { method: "DELETE" });

export function list(after) {
  const query = new URLSearchParams({ limit: "24", ...(after ? { after } : {}) });
  return json(`/v1/videos?${query}`);
}

export function create(fields, picture) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== "" && value !== null) form.append(name, value);
  }
  if (picture) form.append("input_reference", picture, "picture.png");
  return json("/v1/videos", { method: "POST", body: form });
}

// A media element cannot send a key, so with one the file is fetched here.
export async function contentUrl(id) {
  if (!key()) return `${place(id)}/content`;
  return URL.createObjectURL(await (await call(`${place(id)}/content`)).blob());
}
