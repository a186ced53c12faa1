// The pictures that a video starts from and leads to: picked, dropped or pasted, cut to its size.

import { $ } from "./dom.js";
import { sides } from "./words.js";

const CACHE = "kinora.draft"; // so that a reload keeps them; browsers have it on safe origins only
const held = { first: null, last: null }; // name -> {file, bitmap}
let size = null;
let changed = () => {};

export const has = (name) => held[name] !== null;

/** Shows the draft's pictures; `onChange` is called after each change, with what was changed. */
export async function start(onChange) {
  for (const name of ["first", "last"]) {
    $(`drop-${name}`).addEventListener("click", () => set(name, null));
    const kept = await (await draft())?.match(`/draft/${name}`);
    if (kept) await set(name, new File([await kept.blob()], name)).catch(() => {});
  }
  changed = onChange; // only now: the rest of the draft is still to be shown, and is not to be kept
}

/** Takes a picture as the first or the last frame, or none. Raises Error for other files. */
export async function set(name, file) {
  let bitmap = null;
  if (file) {
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      throw new Error(`${file.name || "That file"} is not a picture that this browser can read.`);
    }
  }
  held[name] = file && { file, bitmap };
  if (name === "first" && !file) held.last = null;
  await draw();
  changed(name);
  await keep();
}

/** The offered size whose shape is nearest to the first picture's. */
export function nearest(sizes) {
  const { bitmap } = held.first;
  const shape = (width, height) => Math.log(width / height);
  const distance = (text) => {
    const { width, height } = sides(text);
    return Math.abs(shape(width, height) - shape(bitmap.width, bitmap.height));
  };
  return [...sizes].sort((one, other) => distance(one) - distance(other))[0];
}

/** Shows the pictures as a video of this size will have them. */
export async function fit(to) {
  size = to;
  await draw();
}

/** The picture cut to the size, as a PNG file; undefined when there is none. */
export async function cut(name) {
  if (!held[name] || !size) return undefined;
  const { bitmap } = held[name];
  const { width, height } = sides(size);
  const canvas = new OffscreenCanvas(width, height);
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return new File([blob], `${name}.png`, { type: "image/png" });
}

async function draw() {
  for (const name of ["first", "last"]) {
    const image = $(`picture-${name}`);
    URL.revokeObjectURL(image.src);
    const file = await cut(name);
    if (file) image.src = URL.createObjectURL(file);
    else image.removeAttribute("src");
    $(`frame-${name}`).hidden = !file;
  }
  $("frames").hidden = !held.first;
}

/** The button that asks for a last frame. */
export function offerLast(offered) {
  $("add-last").hidden = !offered || has("last");
}

async function keep() {
  const cache = await draft();
  for (const [name, picture] of Object.entries(held)) {
    if (picture) await cache?.put(`/draft/${name}`, new Response(picture.file));
    else await cache?.delete(`/draft/${name}`);
  }
}

async function draft() {
  try {
    return await caches.open(CACHE);
  } catch {
    return null;
  }
}
