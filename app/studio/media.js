// Where pictures and videos come from. A media element cannot send a key, so on a server that
// wants one the file is fetched here; the most recent ones are kept.

import { call, contentPath, key } from "./api.js";
import { fileName } from "./words.js";

const KEPT = 400;
const fetched = new Map(); // path -> promise of an object URL, least recently used first

/** The address of a video's file for an element's `src`. Raises Fault. */
export function address(id, variant) {
  const path = contentPath(id, variant);
  return key() ? own(path) : Promise.resolve(path);
}

function own(path) {
  const known = fetched.get(path);
  fetched.delete(path);
  const url = known ?? call(path).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
  fetched.set(path, url);
  url.catch(() => fetched.delete(path));
  if (fetched.size > KEPT) {
    const [oldest, promise] = fetched.entries().next().value;
    fetched.delete(oldest);
    promise.then((old) => URL.revokeObjectURL(old), () => {});
  }
  return url;
}

/** Shows a video's file in an element; one that is gone leaves the element empty. */
export async function show(element, id, variant) {
  try {
    element.src = await address(id, variant);
  } catch {
    element.removeAttribute("src");
  }
}

/** Stores a video's file on the user's disk. Raises Fault. */
export async function save(video) {
  const link = document.createElement("a");
  link.href = await address(video.id);
  const { headers } = await call(contentPath(video.id), { method: "HEAD" });
  const [, suffix] = headers.get("content-type").split("/"); // video/mp4, or a picture's format
  link.download = fileName(video, suffix);
  link.click();
}
