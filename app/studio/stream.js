// A video's finished parts, played while the later ones are still being made.

import * as api from "./api.js";

const LOOK_MS = 1500;
// H.264 High, as the parts are; within the family a browser takes any level.
const TYPE = 'video/mp4; codecs="avc1.64002a"';
const PLAYABLE = globalThis.MediaSource?.isTypeSupported(TYPE) ?? false;

/** Seconds of a video that can be watched already. */
export async function seconds(id) {
  if (!PLAYABLE) return 0;
  return (await parts(id)).reduce((sum, part) => sum + part.seconds, 0);
}

/** Plays the parts in a video element as they come. `length` is the whole video's, in seconds. */
export async function play(element, id, length, signal) {
  const source = new MediaSource();
  const url = URL.createObjectURL(source);
  const opened = new Promise((resolve) => source.addEventListener("sourceopen", resolve, { once: true }));
  element.src = url;
  element.removeAttribute("poster");
  await opened;
  URL.revokeObjectURL(url);
  const buffer = source.addSourceBuffer(TYPE);
  source.duration = length;
  const append = async (name) => {
    const bytes = await (await api.streamed(id, `stream/${name}`)).arrayBuffer();
    if (signal.aborted) return;
    buffer.appendBuffer(bytes);
    await new Promise((resolve) => buffer.addEventListener("updateend", resolve, { once: true }));
  };
  await append("init.mp4");
  element.play().catch(() => {}); // a browser may want a click first
  for (let next = 0; !signal.aborted; ) {
    const there = await parts(id);
    while (next < there.length && !signal.aborted) await append(there[next++].name);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** The parts that are done: their names and lengths. None before the first and after the end. */
async function parts(id) {
  try {
    const text = await (await api.streamed(id, "stream.m3u8")).text();
    const lines = text.matchAll(/^#EXTINF:([\d.]+),\nstream\/(.+)$/gm);
    return [...lines].map(([, seconds, name]) => ({ name, seconds: Number(seconds) }));
  } catch (error) {
    if (!(error instanceof api.Fault)) throw error;
    return [];
  }
}
