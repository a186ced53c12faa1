// The studio's beginning: its parts, its two views, and its key.

import * as api from "./api.js";
import * as composer from "./composer.js";
import { $, tell } from "./dom.js";
import { model } from "./fields.js";
import * as gallery from "./gallery.js";
import * as library from "./library.js";
import * as live from "./live.js";
import * as player from "./player.js";
import * as queue from "./queue.js";

const RETRY_MS = 2000;
let scrolled = 0; // where the gallery was left

// Views: `#/` is the gallery, `#/?q=words` a search in it, `#/video/ID` one video

async function route() {
  const [, id] = location.hash.match(/^#\/video\/([\w-]+)$/) ?? [];
  const words = new URLSearchParams(location.hash.split("?")[1]).get("q") ?? "";
  if (id) return showVideo(id);
  player.close();
  $("player").hidden = true;
  $("home").hidden = false;
  document.title = "Kinora";
  if (document.activeElement !== $("query")) $("query").value = words;
  window.scrollTo(0, scrolled);
  await attempt(() => library.find(words));
}

async function showVideo(id) {
  if (!$("home").hidden) scrolled = window.scrollY;
  $("home").hidden = true;
  $("player").hidden = false;
  window.scrollTo(0, 0);
  try {
    await player.open(id);
    document.title = `${library.get(id).prompt} · Kinora`;
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    tell(error.message, true);
    if (error.status === 404) leave();
  }
}

function leave() {
  const words = library.searched();
  location.hash = words ? `#/?${new URLSearchParams({ q: words })}` : "#/";
}

function made(video, kind) {
  if (kind !== "create" || !$("player").hidden) location.hash = `#/video/${encodeURIComponent(video.id)}`;
  else window.scrollTo({ top: 0, behavior: "smooth" });
}

// The service: its models, whether it is there, its key

async function attempt(action) {
  try {
    await action();
    return true;
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    if (error.status && error.status !== 401) tell(error.message, true);
    return false;
  }
}

async function loadModels() {
  const models = await api.models();
  const alive = models.some((each) => each.workers > 0);
  if (models.length) composer.offer(models);
  serviceSays(alive ? model().id : "Waiting for a worker…", alive);
  if (!alive) setTimeout(() => attempt(loadModels), RETRY_MS);
}

function serviceSays(words, well) {
  $("service").textContent = words;
  $("service").classList.toggle("well", well);
}

function onAway(away) {
  if (away) serviceSays("The server is away, trying again…", false);
  else attempt(loadModels);
}

function askForKey() {
  if ($("key-dialog").open) return;
  $("key-wrong").hidden = !api.key();
  $("key-dialog").showModal();
}

async function begin() {
  if (!(await attempt(loadModels))) return;
  await attempt(() => library.loadMore());
  await composer.resume();
}

function search() {
  const words = $("query").value.trim();
  history.replaceState(null, "", words ? `#/?${new URLSearchParams({ q: words })}` : "#/");
  scrolled = 0;
  route();
}

window.addEventListener("hashchange", route);
window.addEventListener("kinora:key", askForKey);
$("key-dialog").addEventListener("close", () => {
  api.setKey($("key").value);
  begin().then(route);
});
let typing = 0;
$("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, 200);
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});

queue.start();
gallery.start(() => {});
player.start(leave);
await composer.start(made);
await begin();
await route();
live.start(onAway);
document.documentElement.dataset.ready = "true";
