// The few things that every module does with the page.

export const $ = (id) => document.getElementById(id);

/** A new element: properties are set, `class` and names with a dash as attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class" || name === "role" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** One of the drawings in icons.svg; decoration, so its button has words too. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `/studio/icons.svg#${name}`);
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(use);
  return drawing;
}

/** Says something in passing, to eyes and to screen readers. */
export function tell(text, wrong = false) {
  const notice = make("p", { class: wrong ? "notice wrong" : "notice", textContent: text });
  $("notices").append(notice);
  setTimeout(() => notice.remove(), wrong ? 8000 : 3500);
}

/** Asks before something that cannot be undone. */
export function confirmed(question, yes) {
  const dialog = $("confirm");
  $("confirm-question").textContent = question;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
