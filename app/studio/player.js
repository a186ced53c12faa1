// One video, large: it plays, or develops before one's eyes; what it is; what can be made of it.

import * as api from "./api.js";
import * as composer from "./composer.js";
import { $, confirmed, make, tell } from "./dom.js";
import { can } from "./fields.js";
import { neighbour, pick } from "./gallery.js";
import * as library from "./library.js";
import * as media from "./media.js";
import { cancel } from "./queue.js";
import { curl, python } from "./snippets.js";
import * as stream from "./stream.js";
import { KINDS } from "./tasks.js";
import { isOpen, length, moment, pixels, sides, state } from "./words.js";

const LOOK_MS = 2500;

let id = null;
let drawn = null; // the id that the view was last drawn for
let playing = null; // the id whose file is shown, or on its way
let watching = null; // stops the playing of parts while the others are being made
let onLeave = () => {};

/** Wires the player; `leave` goes back to the gallery. */
export function start(leave) {
  onLeave = leave;
  library.onChange(draw);
  for (const button of $("actions").querySelectorAll("button")) {
    button.addEventListener("click", () => act(button.dataset.do));
  }
  $("player-cancel").addEventListener("click", () => cancel(id, $("player-cancel")));
  $("player-watch").addEventListener("click", watch);
  document.addEventListener("keydown", keys);
}

/** Shows a video. Raises Fault when there is none. */
export async function open(wanted) {
  close();
  id = wanted;
  const video = await library.fetched(wanted);
  if (id !== wanted) return;
  $("player-cancel").disabled = false;
  draw();
  if (isOpen(video)) offerParts(wanted);
  else library.put(await api.retrieve(wanted));
}

/** Stops showing it. */
export function close() {
  id = null;
  drawn = null;
  playing = null;
  stopWatching();
  $("player-watch").hidden = true;
  $("actions").hidden = true; // there is no video to do it with until the next one is known
  $("video").pause();
  $("video").removeAttribute("src");
  $("video").load();
  $("preview").removeAttribute("src");
}

function stopWatching() {
  watching?.abort();
  watching = null;
}

function draw() {
  const video = id && library.get(id);
  if (!video) return id && id === drawn ? lost() : undefined;
  drawn = id;
  if (video.status === "failed") stopWatching();
  const { width, height } = sides(video.size);
  $("screen").style.aspectRatio = `${width} / ${height}`;
  $("screen").style.setProperty("--shape", width / height);
  $("player-title").textContent = video.prompt;
  $("player-state").textContent = video.status === "completed" ? "" : state(video);
  $("player-progress").value = video.progress;
  $("player-progress").hidden = !isOpen(video);
  $("player-cancel").hidden = !isOpen(video);
  $("player-watch").hidden ||= !isOpen(video);
  $("actions").hidden = isOpen(video);
  for (const button of $("actions").querySelectorAll("button")) {
    button.hidden = !offered(button.dataset.do, video);
  }
  develop(video);
  facts(video);
  if (video.status === "completed") load(video);
}

/** The video was deleted by somebody else. */
function lost() {
  close();
  onLeave();
  tell("This video was deleted.", true);
}

function offered(action, video) {
  if (["again", "delete"].includes(action)) return true;
  if (["curl", "python"].includes(action)) return video.operation === "create";
  if (video.status !== "completed") return false;
  if (action === "download") return true;
  return video.operation !== "image" && can(KINDS[action].needs);
}

/** The picture of the moment, until there is the video itself. */
function develop(video) {
  const done = video.status === "completed" || (watching && isOpen(video));
  const still = done && video.operation === "image";
  $("video").hidden = !done || still;
  $("preview").hidden = done && !still;
  $("developing").hidden = done && !still;
  if (done) return;
  if (video.preview) $("preview").src = video.preview;
  else $("preview").removeAttribute("src");
}

/** Shows the finished file once it is here, unless another video was opened meanwhile. */
async function load(video) {
  if (playing === video.id) return;
  playing = video.id;
  try {
    const address = await media.address(video.id);
    if (playing !== video.id) return;
    if (video.operation === "image") $("preview").src = address;
    else play(video, address);
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    if (playing === video.id) tell(error.message, true);
  }
}

function play(video, address) {
  const element = $("video");
  const seen = watching ? element.currentTime : 0;
  stopWatching();
  element.setAttribute("aria-label", video.prompt);
  if (!api.key()) element.poster = api.contentPath(video.id, "thumbnail");
  element.src = address;
  element.currentTime = seen;
  element.play().catch(() => {}); // a browser may want a click first
}

/** Offers to watch what is done of a long video, for as long as it is being made and shown. */
async function offerParts(wanted) {
  const waits = () => id === wanted && !watching && isOpen(library.get(wanted) ?? {});
  while (waits()) {
    const there = library.get(wanted).status === "queued" ? 0 : await stream.seconds(wanted);
    if (!waits()) return;
    $("player-watch").hidden = !there;
    $("player-watch").textContent = `Watch the first ${length(there.toFixed(1))}`;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function watch() {
  const video = library.get(id);
  watching = new AbortController();
  $("player-watch").hidden = true;
  $("video").setAttribute("aria-label", video.prompt);
  draw();
  stream.play($("video"), id, Number(video.seconds), watching.signal).catch((error) => {
    if (!(error instanceof api.Fault)) throw error;
    tell(error.message, true);
  });
}

function facts(video) {
  const rows = {
    Size: pixels(video.size),
    Length: `${length(video.seconds)}, ${video.frames} frames at ${video.fps}/s`,
    Seed: video.seed,
    Steps: video.num_inference_steps,
    Guidance: video.guidance_scale,
    Strength: video.strength,
    Style: video.style,
    Avoided: video.negative_prompt,
    Model: video.model,
    "Prompt as expanded": video.revised_prompt,
    Made: moment(video.created_at),
  };
  const told = Object.entries(rows).filter(([, value]) => value || value === 0);
  $("facts").replaceChildren(
    ...told.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, `${value}`))),
  );
  const sources = video.source_video_ids ?? [video.remixed_from_video_id].filter(Boolean);
  $("sources").replaceChildren(...sources.map(link));
  $("lineage").hidden = !sources.length;
  const shots = (video.storyboard ?? []).map((shot) =>
    make("li", {}, `${shot.prompt} `, make("span", {}, length(shot.seconds))),
  );
  $("player-shots").replaceChildren(...shots);
}

function link(source) {
  const known = library.get(source);
  return make("a", { href: `#/video/${encodeURIComponent(source)}` }, known?.prompt ?? source);
}

// What can be done with it

async function act(action) {
  const video = library.get(id);
  try {
    if (action === "again") await composer.reuse(video);
    else if (action === "download") await media.save(video);
    else if (action === "delete") await remove(video);
    else if (action === "blend") blend(video);
    else if (action === "curl") await copy(curl(video), "curl");
    else if (action === "python") await copy(python(video), "Python");
    else composer.begin({ kind: action, video }, { prompt: video.prompt, seconds: "" });
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    tell(error.message, true);
  }
}

async function remove(video) {
  if (!(await confirmed("Delete this video? It cannot be brought back.", "Delete"))) return;
  await api.remove(video.id);
  if (id === video.id) close();
  onLeave();
  library.forget(video.id);
  tell("Deleted.");
}

/** Leads to the gallery to choose the video that this one is to blend into. */
function blend(video) {
  onLeave();
  $("picking").hidden = false;
  $("picking-from").textContent = `“${video.prompt}”`;
  const end = () => {
    pick(null);
    $("picking").hidden = true;
  };
  $("picking-stop").onclick = end;
  pick((target) => {
    if (target.status !== "completed") return;
    end();
    composer.begin({ kind: "blend", video, target }, { prompt: target.prompt, seconds: "" });
  });
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text); // which browsers have on safe origins only
    tell(`Copied as ${what}.`);
  } catch {
    tell("This browser does not let the page copy.", true);
  }
}

function keys(event) {
  const typing = event.target.closest?.("input, textarea, select, video, dialog");
  if (!id || typing || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") return onLeave();
  const next = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const video = next && neighbour(id, next);
  if (video) location.replace(`#/video/${encodeURIComponent(video.id)}`);
}
