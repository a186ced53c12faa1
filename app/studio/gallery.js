// The finished videos: pictures in rows, of which only those in sight are on the page.

import { $, make } from "./dom.js";
import * as library from "./library.js";
import * as media from "./media.js";
import { arrange, firstBelow } from "./rows.js";
import { fault, length, sides } from "./words.js";

const AHEAD_PX = 900;
const GAP_PX = 6;
const tiles = new Map(); // id -> element
let videos = [];
let places = [];
let onPick = null;
let drawing = false;

/** Draws the gallery, and again after each change, scroll and resize. */
export function start(onFault) {
  library.onChange(refill);
  new ResizeObserver(() => refill(true)).observe($("gallery"));
  window.addEventListener("scroll", () => schedule(onFault), { passive: true });
  $("grid").addEventListener("click", (event) => {
    const tile = event.target.closest("a");
    if (!tile || !onPick) return;
    event.preventDefault();
    onPick(library.get(tile.dataset.id));
  });
  $("grid").addEventListener("keydown", step);
  schedule(onFault);
}

/** The next click on a video goes to `picked` and does not open it; null ends that. */
export function pick(picked) {
  onPick = picked;
  $("grid").classList.toggle("picking", picked !== null);
}

function refill(resized) {
  const next = library.finished();
  invite(next.length > 0 || library.open().length > 0 || !library.isComplete());
  const same = next.length === videos.length && next.every((video, at) => video === videos[at]);
  if (same && resized !== true) return;
  videos = next;
  const width = $("grid").clientWidth;
  if (!width) return;
  const wanted = width < 600 ? 130 : Math.min(250, 150 + width / 14);
  const shapes = videos.map((video) => shape(video));
  const { places: found, height } = arrange(shapes, width, wanted, GAP_PX);
  places = found;
  $("grid").style.height = `${height}px`;
  draw();
}

/** Says what to do where there is nothing to see. */
function invite(filled) {
  $("empty").hidden = filled;
  $("empty").classList.toggle("searched", library.searched() !== "");
  $("composer").classList.toggle("first", !filled && !library.searched());
}

/** Width over height; what is extremely long is shown less so. */
function shape(video) {
  const { width, height } = sides(video.size);
  return Math.max(0.5, Math.min(2.6, width / height));
}

function schedule(onFault) {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw(onFault);
  });
}

/** Puts the tiles in sight on the page and takes the others off. */
function draw(onFault = () => {}) {
  if ($("home").hidden) return;
  const above = $("grid").getBoundingClientRect().top;
  const [from, to] = [-above - AHEAD_PX, -above + window.innerHeight + AHEAD_PX];
  const seen = new Set();
  for (let at = firstBelow(places, from); at < places.length && places[at].top < to; at += 1) {
    const video = videos[at];
    const tile = place(video, places[at], at);
    const here = $("grid").children[seen.size]; // the tab key follows the order of the page
    if (here !== tile) $("grid").insertBefore(tile, here ?? null);
    seen.add(video.id);
  }
  for (const [id, tile] of tiles) {
    if (seen.has(id) || tile.contains(document.activeElement)) continue;
    tile.remove();
    tiles.delete(id);
  }
  if (to > $("grid").clientHeight && !library.isComplete()) library.loadMore().catch(onFault);
}

function place(video, { top, left, width, height }, at) {
  let tile = tiles.get(video.id);
  if (!tile) {
    tile = build(video);
    tiles.set(video.id, tile);
  }
  tile.style.transform = `translate(${left}px, ${top}px)`;
  tile.style.width = `${width}px`;
  tile.style.height = `${height}px`;
  tile.setAttribute("aria-posinset", at + 1);
  tile.setAttribute("aria-setsize", library.isComplete() ? videos.length : -1);
  return tile;
}

function build(video) {
  const failed = video.status === "failed";
  const link = make("a", { href: `#/video/${encodeURIComponent(video.id)}` });
  link.dataset.id = video.id;
  if (failed) {
    link.append(make("span", { class: "why" }, fault(video)), make("span", {}, video.prompt));
  } else {
    const image = make("img", { alt: video.prompt, decoding: "async", draggable: false });
    media.show(image, video.id, "thumbnail");
    const caption = make("span", { class: "caption", "aria-hidden": "true" }, video.prompt);
    link.append(image, caption, make("span", { class: "length" }, length(video.seconds)));
    scrub(link, video);
  }
  return make("div", { class: failed ? "tile failed" : "tile", role: "listitem" }, link);
}

/** A mouse that moves over the picture leafs through the video's sprite sheet. */
function scrub(link, video) {
  const sheet = video.spritesheet;
  if (!sheet) return;
  const sprite = make("span", { class: "sprite" });
  link.addEventListener("pointerenter", async ({ pointerType }) => {
    if (pointerType !== "mouse" || sprite.isConnected) return;
    const url = await media.address(video.id, "spritesheet").catch(() => null);
    if (!url) return;
    sprite.style.backgroundImage = `url("${url}")`;
    sprite.style.backgroundSize = `${sheet.columns * 100}% ${sheet.rows * 100}%`;
    link.append(sprite);
  });
  link.addEventListener("pointermove", (event) => {
    const { left, width } = link.getBoundingClientRect();
    const part = Math.max(0, Math.min(0.999, (event.clientX - left) / width));
    const frame = Math.floor(part * sheet.frames);
    const across = (frame % sheet.columns) / Math.max(1, sheet.columns - 1);
    const down = Math.floor(frame / sheet.columns) / Math.max(1, sheet.rows - 1);
    sprite.style.backgroundPosition = `${across * 100}% ${down * 100}%`;
  });
  link.addEventListener("pointerleave", () => sprite.remove());
}

/** Arrow keys go from picture to picture. */
function step(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
  const id = event.target.closest("a")?.dataset.id;
  if (!by || !id) return;
  event.preventDefault();
  const at = videos.findIndex((video) => video.id === id) + by;
  const to = Math.max(0, Math.min(videos.length - 1, at));
  window.scrollBy({ top: $("grid").getBoundingClientRect().top + places[to].top - 200 });
  draw();
  tiles.get(videos[to].id)?.querySelector("a").focus({ preventScroll: true });
}

/** The finished video before (-1) or after (1) this one, as the gallery has them. */
export function neighbour(id, by) {
  const at = library.finished().findIndex((video) => video.id === id);
  return at < 0 ? undefined : library.finished()[at + by];
}
