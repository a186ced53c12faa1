// Follows the videos that are being made: a stream of events for the first few, a list for the rest.

import * as api from "./api.js";
import * as library from "./library.js";
import { isOpen } from "./words.js";

//: A browser opens six connections to a server over HTTP/1.1, for all its tabs.
const STREAMS = 2;
const LOOK_MS = 3000;
const RETRY_MS = 1000;

const streams = new Map(); // id -> AbortController
let away = false;

/** Starts following; `onAway` is told when the server is gone and when it is back. */
export function start(onAway) {
  library.onChange(direct);
  document.addEventListener("visibilitychange", direct);
  look(onAway);
  direct();
}

async function look(onAway) {
  try {
    if (!document.hidden) await library.refresh();
    if (away) onAway(false);
    away = false;
  } catch (error) {
    if (error.status === 0 && !away) onAway(true);
    away = error.status === 0;
  }
  setTimeout(() => look(onAway), away ? RETRY_MS : LOOK_MS);
}

/** Opens and closes streams so that the first open videos have one while the page is seen. */
function direct() {
  const wanted = document.hidden ? [] : library.open().slice(0, STREAMS).map((video) => video.id);
  for (const [id, stop] of streams) {
    if (wanted.includes(id)) continue;
    stop.abort();
    streams.delete(id);
  }
  for (const id of wanted) {
    if (streams.has(id)) continue;
    const stop = new AbortController();
    streams.set(id, stop);
    follow(id, stop.signal).finally(() => {
      if (streams.get(id) === stop) streams.delete(id);
      direct();
    });
  }
}

async function follow(id, signal) {
  let last = null;
  while (!signal.aborted) {
    try {
      const answer = await api.events(id, last, signal);
      for await (const { event, id: number, data } of eventsOf(answer.body)) {
        last = number ?? last;
        if (event === "deleted") return library.forget(id);
        if (data) library.put(JSON.parse(data));
      }
      if (!isOpen(library.get(id))) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) return library.forget(id);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** The events of a text/event-stream, as they arrive. */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) yield parsed(block);
  }
}

function parsed(block) {
  const event = { data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = line.match(/^([^:]*):? ?(.*)$/);
    if (name === "data") event.data += event.data ? `\n${value}` : value;
    else if (name) event[name] = value;
  }
  return event;
}
