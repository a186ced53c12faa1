// The videos that the page knows, newest first. The server has them; this is a copy that follows.

import * as api from "./api.js";
import { isOpen } from "./words.js";

const PAGE = 100; // the most that the server tells at once
const NEWEST = 24;
const videos = new Map();
const gone = new Set(); // ids; an answer that was on its way may still name them
const listeners = new Set();

let listed = []; // ids of the present search, newest first
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
  if (gone.has(video.id)) return;
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
  gone.add(id);
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
  page.data.forEach(put);
  list([...listed, ...idsOf(page.data)]);
  after = page.last_id ?? after;
  complete = !page.has_more;
  changed();
}

/** Lists these, each once. Within a second they stay as they were given. */
function list(ids) {
  const made = (id) => videos.get(id).created_at;
  const there = [...new Set(ids)].filter((id) => videos.has(id));
  const sorted = there.sort((one, other) => made(other) - made(one));
  if (sorted.length > listed.length) changed();
  listed = sorted;
}

const idsOf = (told) => told.map((video) => video.id);

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
    newestToListed(),
    api.list({ limit: NEWEST, order: "asc", status: "queued,in_progress" }),
  ]);
  [...newest, ...waiting.data].forEach(take);
  if (!search) list([...idsOf(newest), ...listed, ...idsOf(waiting.data)]);
  const told = new Set(idsOf([...newest, ...waiting.data]));
  const untold = open().filter((video) => !told.has(video.id));
  await Promise.all(untold.slice(0, 10).map(ask));
}

/** The newest videos, as many pages as it takes to reach those that are listed. */
async function newestToListed() {
  let page = await api.list({ limit: NEWEST });
  const newest = page.data;
  // Before the first load nothing is listed, and that load's business is the rest.
  const loaded = () => !search && (after || complete);
  // The last of a page decides: one that was just made here is listed in front of others' unseen.
  while (page.has_more && loaded() && !listed.includes(page.last_id)) {
    page = await api.list({ after: page.last_id, limit: PAGE });
    newest.push(...page.data);
  }
  return newest;
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
