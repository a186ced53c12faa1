// The composer's controls: what the chosen model offers, their values, and faults beside them.

import { $, make } from "./dom.js";
import { pixels } from "./words.js";

let offered = [];

/** The model that the form names, or the first. */
export const model = () => {
  const name = $("composer").elements.model.value;
  return offered.find((each) => each.id === name) ?? offered[0];
};
export const can = (mode) => model()?.modes.includes(mode) ?? false;
export const sizes = () => [...new Set([model().default_size, ...model().sizes])];

/** Offers these models; the values chosen before stay where they are still possible. */
export function offer(models, kept = {}) {
  offered = models;
  const { model: names, size } = $("composer").elements;
  const [chosen, asked] = [names.value || kept.model, size.value || kept.size];
  names.replaceChildren(...offered.map((each) => new Option(each.id, each.id)));
  if (offered.some((each) => each.id === chosen)) names.value = chosen;
  $("model-field").hidden = offered.length < 2;
  fill(kept);
  if (model()?.id === chosen) set({ size: asked });
}

/** Chooses a model, if it is offered. */
export function choose(name) {
  if (!offered.some((each) => each.id === name)) return;
  $("composer").elements.model.value = name;
  fill();
}

/** Fills in what depends on the model. */
export function fill(kept = {}) {
  const chosen = model();
  if (!chosen) return;
  const form = $("composer").elements;
  const size = form.size.value || kept.size;
  form.size.replaceChildren(...sizes().map((each) => new Option(pixels(each), each)));
  if (sizes().includes(size)) form.size.value = size;
  form.seconds.placeholder = Number(chosen.default_seconds.toFixed(1));
  form.fps.placeholder = chosen.fps;
  form.num_inference_steps.placeholder = chosen.num_inference_steps;
  form.guidance_scale.placeholder = chosen.guidance_scale;
  form.flow_shift.placeholder = chosen.flow_shift ?? "";
  form.strength.defaultValue = chosen.strength; // and its value, until somebody moves it
  styles(chosen.styles ?? [], form.style?.value ?? kept.style ?? "");
}

function styles(names, chosen) {
  const chips = ["", ...names].map((name) => {
    const radio = make("input", { type: "radio", name: "style", value: name });
    radio.checked = name === chosen;
    const words = name ? name[0].toUpperCase() + name.slice(1).replaceAll("_", " ") : "Any style";
    return make("label", { class: "chip" }, radio, make("span", {}, words));
  });
  if (!names.includes(chosen)) chips[0].firstElementChild.checked = true;
  $("styles").replaceChildren($("styles").firstElementChild, ...chips);
  $("styles").hidden = !names.length;
}

/** All values by name, as text. */
export const values = () => Object.fromEntries(new FormData($("composer")));

/** Sets values by name; a control that is not there is passed over. A size may be one that the
 *  model does not offer: it can make more than those. */
export function set(given) {
  for (const [name, value] of Object.entries(given)) {
    const control = $("composer").elements.namedItem(name);
    if (!control || value === null || value === undefined) continue;
    control.value = value;
    if (name !== "size" || control.value === value) continue;
    control.add(new Option(pixels(value), value));
    control.value = value;
  }
}

/** The name of a number's control that holds something else, which the browser tells as nothing. */
export function unread() {
  const wrong = [...$("composer").elements].filter(({ name, validity }) => name && validity.badInput);
  return wrong.find((control) => !control.closest("[data-for][hidden]"))?.name;
}

/** Takes away all faults. */
export function clear() {
  for (const fault of $("composer").querySelectorAll(".fault")) fault.remove();
  for (const wrong of $("composer").querySelectorAll("[aria-invalid]")) {
    wrong.removeAttribute("aria-invalid");
    wrong.removeAttribute("aria-describedby");
  }
}

//: Parameters whose place on the page is not a control of that name.
const PLACES = {
  input_reference: "frames",
  last_frame: "frames",
  storyboard: "storyboard",
  video: "task",
  video_id: "task",
  from_video: "task",
  to_video: "task",
};

/** Shows what is wrong beside the control that it is about, and leads there. */
export function blame(message, param) {
  const name = (param ?? "").split(/[.[]/)[0];
  const control = $("composer").elements.namedItem(name);
  const place = control ? control.closest?.(".field") : $(PLACES[name] ?? "");
  const fault = make("p", { class: "fault", id: `fault-${name || "all"}`, role: "alert" }, message);
  if (control instanceof HTMLElement) {
    control.setAttribute("aria-invalid", "true");
    control.setAttribute("aria-describedby", fault.id);
  }
  if (place?.classList.contains("pill")) place.after(fault);
  else if (place && !place.hidden) place.append(fault);
  else $("faults").append(fault);
  if (control && $("options").contains(control)) show("options", true);
  if (control instanceof HTMLElement) control.focus();
}

/** Opens or closes a part of the composer that has a button of its own. */
export function show(id, on) {
  $(id).hidden = !on;
  $(`toggle-${id}`).setAttribute("aria-expanded", String(on));
}
