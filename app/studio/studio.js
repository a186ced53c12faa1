// The studio: a prompt box and the videos made so far. All state is the server's; this only shows it.

import * as api from "./api.js";

const POLL_MS = 1000;
const STAGES = {
  queued: "Waiting for a worker",
  text: "Reading the prompt",
  denoise: "Denoising",
  decode: "Decoding",
  upload: "Storing",
};

const $ = (id) => document.getElementById(id);
const cards = new Map(); // id -> {element, video}
let offered = [];
let picked = null; // the picked picture, as an ImageBitmap
let oldest = null;

// Models and the form

const model = () => offered.find((each) => each.id === $("model").value) ?? offered[0];

function showModel() {
  const chosen = model();
  if (!chosen) return;
  const sizes = [...new Set([chosen.default_size, ...chosen.sizes])];
  $("size").replaceChildren(...sizes.map((size) => new Option(size.replace("x", " × "), size)));
  $("seconds").value = Number(chosen.default_seconds.toFixed(2));
  $("seconds").max = chosen.max_seconds;
  $("steps").placeholder = chosen.num_inference_steps;
  $("guidance").placeholder = chosen.guidance_scale;
  $("pick").hidden = !chosen.modes.includes("image");
}

async function loadModels() {
  offered = await api.models();
  $("model").replaceChildren(...offered.map((each) => new Option(each.id, each.id)));
  const alive = offered.some((each) => each.workers > 0);
  $("service").textContent = alive ? model().id : "Waiting for a worker to load its model…";
  showModel();
  if (!alive) setTimeout(() => attempt(loadModels), 2000);
}

function showFault(message) {
  $("fault").textContent = message ?? "";
  $("fault").hidden = !message;
}

async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    if (error.status === 401) $("keydialog").showModal();
    else showFault(error.message);
  }
}

$("make").addEventListener("submit", async (event) => {
  event.preventDefault();
  showFault(null);
  $("go").disabled = true;
  await attempt(async () => {
    const fields = {
      prompt: $("prompt").value,
      model: $("model").value,
      size: $("size").value,
      seconds: $("seconds").value,
      seed: $("seed").value,
      num_inference_steps: $("steps").value,
      guidance_scale: $("guidance").value,
      negative_prompt: $("negative").value,
    };
    show(await api.create(fields, picked && (await cropped(picked, $("size").value))), true);
  });
  $("go").disabled = false;
});

$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("make").requestSubmit();
  }
});
$("model").addEventListener("change", showModel);
$("size").addEventListener("change", showPicture);

// The first frame: picked, dropped or pasted, and cropped to the chosen size as the server wants it

async function pick(file) {
  if (!file?.type.startsWith("image/")) return;
  showFault(null);
  try {
    picked = await createImageBitmap(file);
  } catch {
    return showFault("That file is not a picture this browser can read.");
  }
  await showPicture();
}

async function showPicture() {
  $("reference").hidden = !picked;
  URL.revokeObjectURL($("picture").src);
  if (picked) $("picture").src = URL.createObjectURL(await cropped(picked, $("size").value));
}

async function cropped(bitmap, size) {
  const [width, height] = size.split("x").map(Number);
  const canvas = new OffscreenCanvas(width, height);
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  return canvas.convertToBlob({ type: "image/png" });
}

$("pick").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => pick($("file").files[0]));
$("unpick").addEventListener("click", () => {
  picked = null;
  $("file").value = "";
  showPicture();
});
document.addEventListener("paste", (event) => pick(event.clipboardData.files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("make").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("make").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("make").classList.remove("over");
  pick(event.dataTransfer.files[0]);
});

// The videos

const isOpen = (video) => video.status === "queued" || video.status === "in_progress";

function show(video, first) {
  let card = cards.get(video.id);
  if (!card) {
    card = { element: $("card").content.firstElementChild.cloneNode(true) };
    cards.set(video.id, card);
    $("videos")[first ? "prepend" : "append"](card.element);
    wire(card);
  }
  const before = card.video?.status;
  card.video = video;
  const part = (selector) => card.element.querySelector(selector);
  part("h2").textContent = video.prompt;
  part(".facts").textContent = `${video.size} · ${video.seconds} s · seed ${video.seed} · ${video.model}`;
  part("progress").value = video.progress;
  part(".waiting p").textContent = said(video);
  part("progress").hidden = video.status === "failed";
  part(".waiting").hidden = video.status === "completed";
  part(".cancel").hidden = !isOpen(video);
  part(".download").hidden = video.status !== "completed";
  if (video.status === "completed" && before !== "completed") play(card, before !== undefined);
  $("none").hidden = cards.size > 0;
}

function said(video) {
  if (video.status === "failed") {
    return video.error.code === "cancelled" ? "Cancelled" : `Failed: ${video.error.message}`;
  }
  return `${STAGES[video.stage] ?? video.stage} · ${video.progress} %`;
}

async function play(card, autoplay) {
  const player = card.element.querySelector("video");
  await attempt(async () => {
    player.src = await api.contentUrl(card.video.id);
    player.hidden = false;
    player.setAttribute("aria-label", card.video.prompt);
    if (autoplay) player.play().catch(() => {}); // a browser may want a click first
  });
}

function wire(card) {
  const on = (name, action) =>
    card.element.querySelector(name).addEventListener("click", () => attempt(action));
  on(".cancel", async () => show(await api.cancel(card.video.id)));
  on(".delete", async () => {
    await api.remove(card.video.id);
    cards.delete(card.video.id);
    card.element.remove();
    $("none").hidden = cards.size > 0;
  });
  on(".download", async () => {
    const link = document.createElement("a");
    link.href = await api.contentUrl(card.video.id);
    link.download = `${card.video.prompt.slice(0, 60).trim() || "video"}.mp4`;
    link.click();
  });
  on(".again", async () => {
    $("prompt").value = card.video.prompt;
    $("seed").value = card.video.seed;
    $("prompt").focus();
  });
}

async function loadOlder() {
  const page = await api.list(oldest);
  for (const video of page.data) show(video, false);
  oldest = page.last_id ?? oldest;
  $("more").hidden = !page.has_more;
}

async function poll() {
  const open = [...cards.values()].filter((card) => isOpen(card.video));
  await Promise.all(
    open.map(async (card) => {
      try {
        show(await api.retrieve(card.video.id));
      } catch (error) {
        if (error.status === 404) {
          cards.delete(card.video.id);
          card.element.remove();
        } // otherwise the server is away for a moment, and the next poll will tell
      }
    }),
  );
  setTimeout(poll, document.hidden ? 5 * POLL_MS : POLL_MS);
}

$("more").addEventListener("click", () => attempt(loadOlder));
$("keydialog").addEventListener("close", () => {
  api.setKey($("key").value);
  start();
});

async function start() {
  showFault(null);
  await attempt(async () => {
    await loadModels();
    if (!cards.size) await loadOlder();
  });
}

await start();
poll();
