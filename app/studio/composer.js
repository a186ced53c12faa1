// The box at the bottom: what to make, from what, and how.

import * as api from "./api.js";
import { $, make, tell } from "./dom.js";
import * as fields from "./fields.js";
import * as library from "./library.js";
import * as media from "./media.js";
import * as pictures from "./pictures.js";
import * as storyboard from "./storyboard.js";
import { suggestions } from "./suggestions.js";
import { KINDS, request } from "./tasks.js";

const DRAFT = "kinora.draft";
let task = { kind: "create" };
let draft = {};
let onMade = () => {};

/** Wires the composer; `made` is called with each video that was asked for. */
export async function start(made) {
  onMade = made;
  draft = JSON.parse(localStorage.getItem(DRAFT) ?? "{}");
  const form = $("composer");
  form.addEventListener("submit", submit);
  form.addEventListener("input", keep);
  form.elements.model.addEventListener("change", () => {
    fields.fill();
    pictures.fit(form.elements.size.value);
    reflect();
  });
  form.elements.size.addEventListener("change", () => pictures.fit(form.elements.size.value));
  form.addEventListener("focusin", () => form.classList.add("open"));
  form.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !form.contains(relatedTarget)) form.classList.remove("open");
  });
  document.addEventListener("pointerdown", ({ target }) => {
    if (!form.contains(target)) form.classList.remove("open");
  });
  $("prompt").addEventListener("keydown", enter);
  $("prompt").addEventListener("input", grow);
  $("toggle-options").addEventListener("click", () => fields.show("options", $("options").hidden));
  $("toggle-storyboard").addEventListener("click", () => {
    storyboard.show(!storyboard.isOn(), $("prompt").value);
    reflect();
    keep();
  });
  $("task-drop").addEventListener("click", () => take({ kind: "create" }));
  $("dice").addEventListener("click", suggest);
  files(form);
  fields.set(draft.values ?? {});
  form.elements.loop.checked = draft.loop ?? false;
  storyboard.start(keep, draft.storyboard);
  await pictures.start(pictured);
  suggest();
  grow();
}

/** Offers these models. */
export function offer(models) {
  fields.offer(models, draft.values);
  pictures.fit($("composer").elements.size.value);
  reflect();
}

/** Sets the composer to a kind of task; `given` are values to begin with. */
export function take(next, given = {}) {
  task = next;
  fields.clear();
  fields.set(given);
  if (next.kind !== "create") storyboard.show(false);
  reflect();
  grow();
  keep();
}

/** As `take`, and leads the user there. */
export function begin(next, given) {
  take(next, given);
  $("composer").classList.add("open");
  $("prompt").focus();
  $("prompt").select();
}

/** Begins a new video with the values of one that was made, and nothing of the draft's. */
export async function reuse(video) {
  const { prompt, size, seconds, fps, seed, negative_prompt, style } = video;
  const { num_inference_steps, guidance_scale, flow_shift } = video;
  fields.choose(video.model);
  const given = { prompt, size, seconds, fps, seed, negative_prompt, num_inference_steps };
  const more = { guidance_scale, flow_shift: flow_shift ?? "", style: style ?? "", n: 1 };
  $("composer").elements.loop.checked = video.loop;
  await pictures.set("first", null);
  if (video.storyboard) storyboard.set(video.storyboard);
  else storyboard.show(false);
  begin({ kind: "create" }, { ...given, ...more });
}

function keep() {
  const { kind, video, target } = task;
  const { prompt, ...values } = fields.values();
  draft = {
    values: { prompt, ...values },
    loop: $("composer").elements.loop.checked,
    storyboard: storyboard.draft(),
    task: { kind, video: video?.id, target: target?.id },
  };
  localStorage.setItem(DRAFT, JSON.stringify(draft));
}

/** Goes back to the task that a reload interrupted; one whose video is gone is dropped. */
export async function resume() {
  const { kind = "create", video, target } = draft.task ?? {};
  if (kind === "create" || !video) return;
  try {
    const found = await library.fetched(video);
    take({ kind, video: found, target: target && (await library.fetched(target)) });
  } catch {
    take({ kind: "create" });
  }
}

/** Makes the page look as the task is. */
function reflect() {
  const { kind, video, target, file } = task;
  const words = KINDS[kind];
  for (const part of $("composer").querySelectorAll("[data-for]")) {
    part.hidden = !part.dataset.for.split(" ").includes(kind);
  }
  const shots = storyboard.isOn();
  $("seconds-field").hidden ||= shots;
  $("toggle-storyboard").hidden = kind !== "create" || !fields.can("storyboard");
  $("loop-field").hidden = kind !== "create" || !fields.can("loop");
  $("pick").hidden = !["image", "edit"].some(fields.can);
  $("prompt").placeholder = shots ? "A title for the storyboard" : words.prompt;
  $("go-words").textContent = words.go;
  $("frames").hidden = kind !== "create" || !pictures.has("first");
  pictures.offerLast(fields.can("first_last"));
  $("task").hidden = kind === "create";
  $("task-title").textContent = words.title ?? "";
  const named = [video, target].filter(Boolean).map((each) => `“${each.prompt}”`);
  $("task-about").textContent = file ? file.name : named.join(" into ");
  $("task-pictures").replaceChildren(...[video, target].filter(Boolean).map(thumbnail));
  $("suggestions").hidden = kind !== "create" || shots || $("prompt").value !== "";
}

function thumbnail(video) {
  const image = make("img", { alt: "" });
  media.show(image, video.id, "thumbnail");
  return image;
}

async function submit(event) {
  event.preventDefault();
  if ($("go").disabled) return; // a form can be sent without its button
  fields.clear();
  const unread = fields.unread();
  if (unread) return fields.blame("This is not a number.", unread);
  $("go").disabled = true;
  try {
    const { path, fields: body } = request(task, values(), await inputs());
    const made = await api.post(path, body);
    await shown(made);
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    if (error.status !== 401) fields.blame(error.message, error.param);
  } finally {
    $("go").disabled = false;
  }
}

/** The form's values; a storyboard without a title is named after its shots. */
function values() {
  const given = fields.values();
  if (task.kind === "create" && storyboard.isOn() && !given.prompt.trim()) {
    given.prompt = storyboard.all().map((shot) => shot.prompt).join(" → ");
  }
  return given;
}

async function inputs() {
  if (task.kind !== "create") return {};
  return {
    first: await pictures.cut("first"),
    last: await pictures.cut("last"),
    shots: storyboard.isOn() ? storyboard.all() : null,
    loop: fields.can("loop") && $("composer").elements.loop.checked,
  };
}

async function shown(made) {
  const others = await Promise.all((made.siblings ?? []).map(api.retrieve));
  for (const video of [...others, made]) library.add(video);
  const kind = task.kind;
  $("composer").classList.remove("open");
  $("prompt").blur();
  if (kind !== "create") take({ kind: "create" }, { prompt: "" });
  onMade(made, kind);
}

function enter(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!event.repeat) $("composer").requestSubmit();
}

/** The prompt's box is as high as its text, where the browser does not see to that itself. */
function grow() {
  const box = $("prompt");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 180)}px`;
  $("suggestions").hidden = task.kind !== "create" || storyboard.isOn() || box.value !== "";
}

function suggest() {
  const pills = suggestions(4).map((text) => {
    const pill = make("button", { type: "button", class: "suggestion" }, text);
    pill.addEventListener("click", () => begin({ kind: "create" }, { prompt: text }));
    return pill;
  });
  $("suggestions").replaceChildren(...pills, $("dice"));
}

// Files: picked, dropped, pasted

function pictured(name) {
  if (name === "first" && pictures.has("first") && fields.model()) {
    const { size } = $("composer").elements;
    size.value = pictures.nearest(fields.sizes());
    pictures.fit(size.value);
  }
  reflect();
  keep();
}

/** Takes a file for what it is: a picture to start from (or to end with), or a video to edit. */
async function receive(file, name = "first") {
  if (!file) return;
  if (file.type.startsWith("video/")) {
    if (!fields.can("edit")) return tell(`${fields.model()?.id} cannot edit videos.`, true);
    return begin({ kind: "edit", file });
  }
  if (!fields.can("image")) return tell(`${fields.model()?.id} takes no pictures.`, true);
  if (task.kind !== "create") take({ kind: "create" });
  try {
    await pictures.set(name, file);
    $("prompt").focus();
  } catch (error) {
    tell(error.message, true);
  }
}

function files(form) {
  let wanted = "first";
  const choose = (name, accept) => () => {
    wanted = name;
    $("file").accept = accept;
    $("file").click();
  };
  $("pick").addEventListener("click", choose("first", "image/*,video/*"));
  $("add-last").addEventListener("click", choose("last", "image/*"));
  $("file").addEventListener("change", async () => {
    await receive($("file").files[0], wanted);
    $("file").value = "";
  });
  document.addEventListener("paste", ({ clipboardData }) => receive(clipboardData.files[0]));
  const over = (on) => form.classList.toggle("over", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const name = event.target.closest?.("#frame-last, #add-last") ? "last" : "first";
    receive(event.dataTransfer.files[0], name);
  });
}
