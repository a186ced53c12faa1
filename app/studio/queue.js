// What is being made now: live previews, how far it is, and a way to stop it.

import * as api from "./api.js";
import { $, make, tell } from "./dom.js";
import * as library from "./library.js";
import { sides, state } from "./words.js";

const SHOWN = 12;
const rows = new Map(); // id -> the parts of its row

/** Draws the queue, and again after each change. */
export function start() {
  library.onChange(draw);
}

function draw() {
  const open = library.open();
  const shown = open.slice(0, SHOWN);
  for (const [id, row] of rows) {
    if (shown.some((video) => video.id === id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  for (const [at, video] of shown.entries()) {
    const row = rows.get(video.id) ?? build(video);
    rows.set(video.id, row);
    if ($("queue").children[at] !== row.element) {
      $("queue").insertBefore(row.element, $("queue").children[at] ?? null);
    }
    update(row, video);
  }
  $("making").hidden = !open.length;
  $("waiting-more").textContent = open.length > SHOWN ? `and ${open.length - SHOWN} more waiting` : "";
}

function build(video) {
  const { width, height } = sides(video.size);
  const image = make("img", { alt: "" });
  const link = make("a", { class: "developing", href: `#/video/${video.id}`, tabIndex: -1 }, image);
  link.setAttribute("aria-hidden", "true");
  link.style.aspectRatio = `${Math.max(0.7, Math.min(2, width / height))}`;
  const words = make("p", { class: "state" });
  const bar = make("progress", { max: 100, "aria-label": `Progress of ${video.prompt}` });
  const stop = make("button", { type: "button", class: "quiet" }, "Cancel");
  stop.setAttribute("aria-label", `Cancel ${video.prompt}`);
  stop.addEventListener("click", () => cancel(video.id, stop));
  const title = make("a", { class: "title", href: `#/video/${video.id}` }, video.prompt);
  const about = make("div", { class: "about" }, title, words, bar, stop);
  return { element: make("li", { class: "job" }, link, about), image, words, bar };
}

function update({ element, image, words, bar }, video) {
  words.textContent = state(video);
  bar.value = video.progress;
  element.classList.toggle("waiting", video.status === "queued");
  if (video.preview && image.src !== video.preview) image.src = video.preview;
  image.classList.toggle("there", Boolean(video.preview));
}

/** Stops a video; its button waits for the answer. */
export async function cancel(id, button) {
  button.disabled = true;
  try {
    library.put(await api.cancel(id));
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    tell(error.message, true);
    button.disabled = false;
  }
}
