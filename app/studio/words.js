// How states, times and sizes are said.

const STAGES = {
  queued: "Waiting",
  text: "Reading the prompt",
  denoise: "Developing",
  decode: "Drawing the frames",
  encode: "Drawing the frames",
  upload: "Storing",
};

export const isOpen = (video) => video.status === "queued" || video.status === "in_progress";

/** What is happening to a video, in a few words. */
export function state(video) {
  if (video.status === "failed") return fault(video);
  if (video.status === "completed") return "Finished";
  if (video.status === "queued") {
    const { queue_position: ahead } = video;
    if (ahead === null || ahead === undefined) return "Waiting";
    return ahead ? `Waiting, ${ahead} before it` : "Waiting, next in line";
  }
  const stage = STAGES[video.stage] ?? video.stage;
  return `${stage}, ${video.progress} %${remaining(video.eta_seconds)}`;
}

export function fault(video) {
  if (video.error?.code === "cancelled") return "Cancelled";
  return `Failed: ${video.error?.message ?? "no reason was given."}`;
}

function remaining(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return ` · ${Math.max(1, Math.round(seconds))} s left`;
  if (seconds < 3600) return ` · ${Math.round(seconds / 60)} min left`;
  return ` · ${(seconds / 3600).toFixed(1)} h left`;
}

export const pixels = (size) => size.replace("x", " × ");

/** Width and height of a video, as numbers. */
export function sides(size) {
  const [width, height] = size.split("x").map(Number);
  return { width, height };
}

export const length = (seconds) => `${Number(Number(seconds).toFixed(2))} s`;

/** When something was made: a time today, a date before. */
export function moment(unix) {
  const date = new Date(unix * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return today
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}

/** A file's name made of the prompt. */
export function fileName(video, suffix) {
  const plain = video.prompt.replace(/[^\p{L}\p{N} ,-]/gu, "").trim().slice(0, 60).trim();
  return `${plain || "video"}.${suffix}`;
}
