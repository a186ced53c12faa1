// Everything that one version of OpenAI's client for Node can do, tried on a running service.
//
// The environment gives ADDRESS (of `/v1`), KEYS (JSON: `ordinary`, `narrow` that may only see models, `slow`
// with one request a minute) and CLIENT, the folder where npm installed that version. Arguments choose what
// to try. Prints a JSON line [name, outcome] for each: "yes", "absent" where the client has no such method,
// or what went wrong. Names are those of the Python client's methods.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { once } from "node:events";
import { deflateSync } from "node:zlib";

const require = createRequire(`${process.env.CLIENT}/`);
const OpenAI = require("openai");
const { toFile } = OpenAI;
const KEYS = JSON.parse(process.env.KEYS);
const SMALL = { size: "64x64", seconds: "1" };
const QUICK = { num_inference_steps: 1, fps: 8 };
const PATIENCE_MS = 120_000;
const POLL_MS = 300;

const connect = (apiKey) =>
  new OpenAI({ baseURL: process.env.ADDRESS, apiKey, maxRetries: 0, timeout: PATIENCE_MS });
const client = connect(KEYS.ordinary);
const make = (more = {}) => client.videos.create({ prompt: "a red ball", ...SMALL, ...QUICK, ...more });
const bytes = async (response) => Buffer.from(await response.arrayBuffer());
const download = async (id, query, options) => bytes(await client.videos.downloadContent(id, query, options));

async function until(look, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    assert(Date.now() < deadline, `waited in vain: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function finished(video) {
  const ended = (seen) => !["queued", "in_progress"].includes(seen.status);
  const done = await until(() => client.videos.retrieve(video.id), ended);
  assert.deepEqual([done.status, done.progress, done.error], ["completed", 100, null]);
  return done;
}

async function collect(pages) {
  const ids = [];
  for await (const each of pages) ids.push(each.id);
  return ids;
}

async function refuses(kind, call) {
  try {
    await call();
  } catch (fault) {
    assert(fault instanceof kind, `${fault}`);
    return fault;
  }
  throw new Error(`it should have thrown ${kind.name}`);
}

// A red PNG of 64x64 pixels, written by hand: Node has no image library.
function picture() {
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(64 * 3, Buffer.from([255, 0, 0]))]);
  const header = Buffer.from([0, 0, 0, 64, 0, 0, 0, 64, 8, 2, 0, 0, 0]);
  const chunk = (name, data) => {
    const tagged = Buffer.concat([Buffer.from(name), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(tagged));
    return Buffer.concat([length, tagged, sum]);
  };
  const pixels = deflateSync(Buffer.concat(Array(64).fill(row)));
  const parts = [chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), ...parts]);
}

function crc32(data) {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

// A receiver of webhooks on this machine that says yes to each.
async function receiver() {
  const received = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    received.push([Buffer.concat(parts).toString(), request.headers]);
    response.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}/hook`;
  return { url, close: () => server.close(), next: async () => (await until(() => received, (r) => r.length)).shift() };
}

const png = () => toFile(picture(), "a.png", { type: "image/png" });
const endpoint = (url = "http://127.0.0.1:9/hook") =>
  client.webhooks.create({ name: "test", url, event_types: ["video.completed"] });

async function webhooks(trial) {
  const made = await endpoint();
  await trial(made);
  await client.webhooks.delete(made.id);
}

const batchOf = async (lines) => {
  const text = lines.map((line) => JSON.stringify({ method: "POST", url: "/v1/videos", ...line })).join("\n");
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "a.jsonl"), purpose: "batch" });
  return client.batches.create({ input_file_id: file.id, endpoint: "/v1/videos", completion_window: "24h" });
};
const readLines = async (id) =>
  (await bytes(await client.files.content(id))).toString().trim().split("\n").map((line) => JSON.parse(line));

const TRIED = {
  async "videos.create"() {
    const video = await make({ model: "sora-2" });
    assert.deepEqual([video.object, video.status, video.model], ["video", "queued", "sora-2"]);
    await finished(video);
    const body = { prompt: "a red ball", ...SMALL, ...QUICK, metadata: { made: "here" } };
    const json = await client.post("/videos", { body });
    assert.deepEqual([json.size, json.metadata], ["64x64", { made: "here" }]);
    await client.videos.delete(json.id);
  },
  async "videos.create (reference)"() {
    const image_url = `data:image/png;base64,${picture().toString("base64")}`;
    const made = [];
    for (const input_reference of [await png(), { image_url }]) made.push(await make({ input_reference, seed: 3 }));
    const [a, b] = [await download((await finished(made[0])).id), await download((await finished(made[1])).id)];
    assert(a.equals(b), "the same picture and seed gave different clips");
  },
  async "videos.retrieve"() {
    const found = await client.videos.retrieve(video.id);
    assert.deepEqual([found.id, found.seconds, found.size], [video.id, video.seconds, "64x64"]);
    const { data, response } = await client.videos.retrieve((await make()).id).withResponse();
    assert(Number(response.headers.get("openai-poll-after-ms")) > 0);
    await client.videos.delete(data.id);
  },
  async "videos.list"() {
    const newest = await collect(client.videos.list({ limit: 1 }));
    assert(newest.includes(video.id) && newest.length > 1 && new Set(newest).size === newest.length);
    assert.deepEqual(newest.reverse(), await collect(client.videos.list({ limit: 2, order: "asc" })));
  },
  async "videos.delete"() {
    const gone = await client.videos.delete((await make()).id);
    assert.deepEqual([gone.object, gone.deleted], ["video.deleted", true]);
    await refuses(OpenAI.NotFoundError, () => client.videos.retrieve(gone.id));
  },
  async "videos.download_content"() {
    assert(clip.equals(await download(video.id, { variant: "video" })));
  },
  async "videos.download_content (thumbnail)"() {
    assert.equal((await download(video.id, { variant: "thumbnail" })).subarray(8, 12).toString(), "WEBP");
  },
  async "videos.download_content (spritesheet)"() {
    assert.equal((await download(video.id, { variant: "spritesheet" })).subarray(0, 3).toString("hex"), "ffd8ff");
  },
  async "videos.download_content (streaming)"() {
    const parts = [];
    for await (const part of (await client.videos.downloadContent(video.id)).body) parts.push(part);
    assert(clip.equals(Buffer.concat(parts)));
  },
  async "videos.download_content (Range)"() {
    const range = (value) => client.videos.downloadContent(video.id, {}, { headers: { Range: value } });
    const part = await range("bytes=4-7");
    assert.deepEqual([part.status, (await bytes(part)).toString()], [206, "ftyp"]);
    assert.equal((await refuses(OpenAI.APIError, () => range("bytes=999999999-"))).status, 416);
  },
  async "videos.remix"() {
    const made = await client.videos.remix(video.id, { prompt: "a blue ball", seed: 1 });
    assert.equal(made.remixed_from_video_id, video.id);
    await finished(made);
  },
  async "videos.edit"() {
    const fields = { prompt: "a blue ball", num_inference_steps: 2 };
    await finished(await client.videos.edit({ ...fields, video: await toFile(clip, "a.mp4") }));
    await client.videos.delete((await client.videos.edit({ ...fields, video: { id: video.id } })).id);
  },
  async "videos.extend"() {
    const fields = { prompt: "it rolls on", seconds: "1", num_inference_steps: 1 };
    const longer = await finished(await client.videos.extend({ ...fields, video: await toFile(clip, "a.mp4") }));
    assert.equal(longer.frames, video.frames + 8);
  },
  async "videos.create_character"() {
    const create = async () => client.videos.createCharacter({ name: "Ada", video: await toFile(clip, "a.mp4") });
    assert.equal((await refuses(OpenAI.BadRequestError, create)).param, "model");
  },
  async "videos.get_character"() {
    await refuses(OpenAI.NotFoundError, () => client.videos.getCharacter("char_none"));
  },
  async "images.generate"() {
    const fields = { prompt: "a red ball", size: "64x64", n: 2, response_format: "b64_json", num_inference_steps: 1 };
    const { data } = await client.images.generate(fields);
    assert.deepEqual(data.map((each) => each.b64_json.slice(0, 8)), ["iVBORw0K", "iVBORw0K"]);
  },
  async "images.edit"() {
    const fields = { image: await png(), prompt: "a blue ball", num_inference_steps: 2 };
    assert.match((await client.images.edit(fields)).data[0].b64_json, /^iVBORw0K/);
  },
  async "models.list"() {
    const [model] = await collect(client.models.list());
    assert.equal(model, (await client.models.retrieve(model)).id);
  },
  async "models.retrieve"() {
    assert.equal((await client.models.retrieve("sora-2-pro")).owned_by, "kinora");
    await refuses(OpenAI.NotFoundError, () => client.models.retrieve("org/none"));
  },
  async "files.create"() {
    const file = await client.files.create({ file: await png(), purpose: "vision" });
    assert.deepEqual([file.object, file.purpose, file.bytes], ["file", "vision", picture().length]);
    await finished(await make({ input_reference: { file_id: file.id } }));
  },
  async "files.retrieve"() {
    const file = await client.files.create({ file: await png(), purpose: "vision" });
    assert.equal((await client.files.retrieve(file.id)).filename, "a.png");
    assert(picture().equals(await bytes(await client.files.content(file.id))));
  },
  async "files.list"() {
    const file = await client.files.create({ file: await png(), purpose: "vision" });
    assert((await collect(client.files.list({ limit: 1 }))).includes(file.id));
  },
  async "files.delete"() {
    const file = await client.files.create({ file: await png(), purpose: "vision" });
    assert((await client.files.delete(file.id)).deleted);
    await refuses(OpenAI.NotFoundError, () => client.files.retrieve(file.id));
  },
  async "batches.create"() {
    const body = { prompt: "a red ball", ...SMALL, ...QUICK };
    const { id } = await batchOf([{ custom_id: "right", body }, { custom_id: "wrong", body: { ...body, seconds: "-1" } }]);
    const ended = (seen) => ["completed", "failed", "expired"].includes(seen.status);
    const done = await until(() => client.batches.retrieve(id), ended);
    assert.deepEqual([done.status, done.request_counts.completed, done.request_counts.failed], ["completed", 1, 1]);
    const [[right], [wrong]] = [await readLines(done.output_file_id), await readLines(done.error_file_id)];
    assert.deepEqual([right.custom_id, right.response.status_code, wrong.custom_id], ["right", 200, "wrong"]);
  },
  async "batches.cancel"() {
    const body = { prompt: "x", ...SMALL, num_inference_steps: 200 };
    const { id } = await batchOf([{ custom_id: "a", body }]);
    assert.match((await client.batches.cancel(id)).status, /^cancell(ing|ed)$/);
    await until(() => client.batches.retrieve(id), (seen) => seen.status === "cancelled");
  },
  "webhooks.create": () => webhooks((made) => assert.match(made.signing_secret, /^whsec_/)),
  "webhooks.retrieve": () =>
    webhooks(async (made) => assert.equal((await client.webhooks.retrieve(made.id)).url, made.url)),
  "webhooks.update": () =>
    webhooks(async (made) => assert.equal((await client.webhooks.update(made.id, { name: "other" })).name, "other")),
  "webhooks.list": () => webhooks(async (made) => assert((await collect(client.webhooks.list())).includes(made.id))),
  async "webhooks.delete"() {
    const made = await endpoint();
    assert((await client.webhooks.delete(made.id)).deleted);
    await refuses(OpenAI.NotFoundError, () => client.webhooks.retrieve(made.id));
  },
  "webhooks.rotate_secret": () =>
    webhooks(async (made) =>
      assert.notEqual((await client.webhooks.rotateSecret(made.id)).signing_secret, made.signing_secret)),
  async "webhooks.test"() {
    const listener = await receiver();
    const made = await endpoint(listener.url);
    assert.equal((await client.webhooks.test(made.id, { event_type: "video.completed" })).status_code, 200);
    const [body, headers] = await listener.next();
    assert.equal((await client.webhooks.unwrap(body, headers, made.signing_secret)).type, "video.completed");
    await client.webhooks.delete(made.id);
    listener.close();
  },
  async "webhooks.event_types.list"() {
    assert.match(JSON.stringify(await client.webhooks.eventTypes.list()), /video\.completed/);
  },
  async "webhooks.unwrap"() {
    const listener = await receiver();
    const body = { name: "test", url: listener.url, event_types: ["video.completed", "video.failed"] };
    const made = await client.post("/webhook_endpoints", { body });
    const { id } = await finished(await make());
    let [text, headers] = await listener.next();
    while (JSON.parse(text).data.id !== id) [text, headers] = await listener.next(); // of a video made before
    const event = await client.webhooks.unwrap(text, headers, made.signing_secret);
    assert.deepEqual([event.type, event.data.id], ["video.completed", id]);
    const forged = () => client.webhooks.unwrap(`${text} `, headers, made.signing_secret);
    await refuses(OpenAI.InvalidWebhookSignatureError, forged);
    await client.delete(`/webhook_endpoints/${made.id}`);
    listener.close();
  },
  async "videos (errors)"() {
    const bad = await refuses(OpenAI.BadRequestError, () => make({ size: "7x7" }));
    assert.deepEqual([bad.param, bad.type], ["size", "invalid_request_error"]);
    assert(bad.requestID);
    assert.equal((await refuses(OpenAI.BadRequestError, () => make({ colour: "red" }))).param, "colour");
    const missing = await refuses(OpenAI.NotFoundError, () => client.videos.retrieve("video_none"));
    assert.equal(missing.code, "video_not_found");
    const endless = await make({ seconds: "2", num_inference_steps: 200 });
    await refuses(OpenAI.ConflictError, () => client.videos.downloadContent(endless.id));
    await client.videos.delete(endless.id);
    await refuses(OpenAI.AuthenticationError, () => connect("nonsense").models.list());
    await refuses(OpenAI.PermissionDeniedError, () => connect(KEYS.narrow).videos.list());
    const slow = connect(KEYS.slow);
    await slow.models.list();
    const limited = await refuses(OpenAI.RateLimitError, () => slow.models.list());
    assert(Number(limited.headers.get("retry-after")) > 0);
  },
};

const has = (method) =>
  method
    .replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
    .split(".")
    .reduce((found, name) => found?.[name], client) !== undefined;

async function outcome(name) {
  if (!has(name.split(" ")[0])) return "absent";
  try {
    await TRIED[name]();
    return "yes";
  } catch (fault) {
    const line = fault.stack.split("\n").find((each) => each.includes("node_client.mjs"));
    return `${fault.name} ${fault.message.slice(0, 300)} ${line?.trim()}`;
  }
}

const video = await finished(await make());
const clip = await download(video.id);
const chosen = process.argv.slice(2);
for (const name of chosen.length ? chosen : Object.keys(TRIED)) {
  console.log(JSON.stringify([name, await outcome(name)]));
}
process.exit(0);
