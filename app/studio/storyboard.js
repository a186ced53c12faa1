// The storyboard: a timeline of shots, each with its prompt and its seconds.

import { $, icon, make } from "./dom.js";
import { length } from "./words.js";

const FEWEST = 2;
const MOST = 20;
let shots = [];
let changed = () => {};

export const isOn = () => !$("storyboard").hidden;
export const all = () => shots.map(({ prompt, seconds }) => ({ prompt, seconds: Number(seconds) }));
export const draft = () => ({ on: isOn(), shots });

/** Wires the editor; `onChange` is called after each edit. */
export function start(onChange, kept) {
  changed = onChange;
  shots = kept?.shots ?? [];
  $("add-shot").addEventListener("click", () => {
    insert(shots.length);
    $("shots").lastElementChild.querySelector("textarea").focus();
  });
  show(kept?.on ?? false);
}

/** Opens or closes the editor; the first shots are made when there are none. */
export function show(on, firstPrompt = "", seconds = 2) {
  while (on && shots.length < FEWEST) {
    shots.push({ prompt: shots.length ? "" : firstPrompt, seconds });
  }
  $("storyboard").hidden = !on;
  $("toggle-storyboard").setAttribute("aria-pressed", String(on));
  draw();
}

/** Replaces all shots. */
export function set(given) {
  shots = given.map(({ prompt, seconds }) => ({ prompt, seconds }));
  show(true);
}

function insert(at) {
  shots.splice(at, 0, { prompt: "", seconds: shots.at(-1)?.seconds ?? 2 });
  draw();
  changed();
}

function remove(at) {
  shots.splice(at, 1);
  draw();
  changed();
}

function move(at, by) {
  const [shot] = shots.splice(at, 1);
  shots.splice(at + by, 0, shot);
  draw();
  changed();
  $("shots").children[at + by].querySelector("textarea").focus();
}

function draw() {
  $("shots").replaceChildren(...shots.map(row));
  $("add-shot").hidden = shots.length >= MOST;
  measure();
}

/** The strip above the shots: each as wide as it is long. */
function measure() {
  const total = shots.reduce((sum, shot) => sum + (Number(shot.seconds) || 0), 0);
  const parts = shots.map((shot, at) => {
    const part = make("li", { title: shot.prompt || `Shot ${at + 1}` }, `${at + 1}`);
    part.style.flexGrow = Number(shot.seconds) || 0.1;
    return part;
  });
  $("timeline").replaceChildren(...parts);
  $("timeline-length").textContent = `${shots.length} shots, ${length(total)}`;
}

function row(shot, at) {
  const prompt = make("textarea", {
    rows: 1,
    value: shot.prompt,
    placeholder: at ? "And then?" : "What is seen first?",
    "aria-label": `Shot ${at + 1}: what is seen`,
  });
  const seconds = make("input", {
    type: "number",
    min: 0.25,
    step: 0.25,
    value: shot.seconds,
    "aria-label": `Shot ${at + 1}: seconds`,
  });
  prompt.addEventListener("input", () => edit(shot, { prompt: prompt.value }));
  seconds.addEventListener("input", () => edit(shot, { seconds: seconds.value }));
  return make(
    "li",
    { class: "shot" },
    make("span", { class: "number", "aria-hidden": "true" }, `${at + 1}`),
    prompt,
    make("span", { class: "unit" }, seconds, "s"),
    button("up", `Move shot ${at + 1} up`, () => move(at, -1), at === 0),
    button("down", `Move shot ${at + 1} down`, () => move(at, 1), at === shots.length - 1),
    button("close", `Remove shot ${at + 1}`, () => remove(at), shots.length <= FEWEST),
  );
}

function edit(shot, values) {
  Object.assign(shot, values);
  measure();
  changed();
}

function button(name, label, action, disabled) {
  const element = make("button", { type: "button", class: "round small", disabled }, icon(name));
  element.setAttribute("aria-label", label);
  element.addEventListener("click", action);
  return element;
}
