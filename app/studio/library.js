// The videos that the page knows, newest first. The server has them; this is a copy that follows.

import * as api from "./api.js";
import { isOpen } from "./words.js";

const PAGE = 100; // the most that the server tells at once
const NEWEST = 24;
const videos = new Map();
const listeners = new Set();

let listed = []; // ids in the order of the present search
let after = null;
let complete = false;
let loading = null;
let search = "";
let announced = false;

export const get = (id) => videos.get(id);
export const searched = () => search;
export const isComplete = () => complete;
export const open = () => [...videos.values()].filter(isOpen).sort(oldestFirst);
export const finished = () =>
  listed.map((id) => videos.get(id)).filter((video) => video && !isOpen(video));

/** Calls `listener` after changes, at most once a frame. */
export const onChange = (listener) => listeners.add(listener);

function oldestFirst(one, other) {
  const running = (video) => (video.status === "in_progress" ? 0 : 1);
  return running(one) - running(other) || one.created_at - other.created_at;
}

function changed() {
  if (announced) return;
  announced = true;
  setTimeout(() => {
    announced = false;
    for (const listener of listeners) listener();
  }, 16);
}

/** Takes what the server said about a video; what it did not say stays. */
export function put(video) {
  const known = videos.get(video.id);
  videos.set(video.id, known ? { ...known, ...video } : video);
  changed();
}

/** Takes a video that was just made, in front of all others. */
export function add(video) {
  if (!listed.includes(video.id)) listed.unshift(video.id);
  put(video);
}

export function forget(id) {
  videos.delete(id);
  listed = listed.filter((each) => each !== id);
  changed();
}

/** The video, asked for when it is not known. Raises Fault. */
export async function fetched(id) {
  if (!videos.has(id)) put(await api.retrieve(id));
  return videos.get(id);
}

/** Loads the next page; calls during a load share it. Raises Fault. */
export function loadMore() {
  if (complete) return Promise.resolve();
  loading ??= load().finally(() => {
    loading = null;
  });
  return loading;
}

async function load() {
  const asked = search;
  const page = await api.list({ after, search: asked, limit: PAGE }).catch((fault) => {
    if (fault.param !== "after") throw fault;
    return api.list({ search: asked, limit: PAGE }); // the last one is gone: from the beginning
  });
  if (asked !== search) return;
  const known = new Set(listed);
  for (const video of page.data) {
    put(video);
    if (!known.has(video.id)) listed.push(video.id);
  }
  after = page.last_id ?? after;
  complete = !page.has_more;
  changed();
}

/** Looks for videos whose prompt holds these words. Raises Fault. */
export async function find(words) {
  if (words === search && listed.length) return;
  search = words;
  listed = [];
  after = null;
  complete = false;
  loading = null;
  changed();
  await loadMore();
}

/** Takes over what is new, and how far the open videos are. Raises Fault. */
export async function refresh() {
  const [newest, waiting] = await Promise.all([
    api.list({ limit: NEWEST }),
    api.list({ limit: NEWEST, order: "asc", status: "queued,in_progress" }),
  ]);
  const fresh = newest.data.filter((video) => !videos.has(video.id)).map((video) => video.id);
  if (!search) listed = [...fresh.filter((id) => !listed.includes(id)), ...listed];
  for (const video of [...newest.data, ...waiting.data]) take(video);
  const told = new Set([...newest.data, ...waiting.data].map((video) => video.id));
  const untold = open().filter((video) => !told.has(video.id));
  await Promise.all(untold.slice(0, 10).map(ask));
}

/** Takes a listed video unless an event has told more about it already. */
function take(video) {
  const known = videos.get(video.id);
  if (known && !isOpen(known)) return;
  if (known?.status === video.status && known.progress >= video.progress) return;
  const { queue_position: _, ...told } = video; // lists do not tell it
  put(told);
}

async function ask(video) {
  try {
    put(await api.retrieve(video.id));
  } catch (error) {
    if (error.status !== 404) throw error;
    forget(video.id);
  }
}
