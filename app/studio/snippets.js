// A video's request as a program, to make it again outside this page.

//: Fields of the request, apart from those that the Python client has parameters for.
const EXTRAS = [
  "seed",
  "negative_prompt",
  "num_inference_steps",
  "guidance_scale",
  "guidance_scale_2",
  "flow_shift",
  "fps",
  "style",
  "loop",
  "storyboard",
];

function fields(video) {
  const own = { prompt: video.prompt, model: video.model, size: video.size };
  if (!video.storyboard) own.seconds = video.seconds;
  const extras = {};
  for (const name of EXTRAS) {
    if (video[name] || video[name] === 0) extras[name] = video[name];
  }
  return { own, extras };
}

/** As a shell command. */
export function curl(video) {
  const { own, extras } = fields(video);
  const body = JSON.stringify({ ...own, ...extras }).replaceAll("'", "'\\''");
  return [
    `curl ${location.origin}/v1/videos \\`,
    '  -H "Authorization: Bearer $KINORA_API_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${body}'`,
  ].join("\n");
}

/** As a program for the official client. */
export function python(video) {
  const { own, extras } = fields(video);
  const lines = Object.entries(own).map(([name, value]) => `    ${name}=${literal(value)},`);
  return [
    "import os",
    "",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${location.origin}/v1", api_key=os.environ.get("KINORA_API_KEY", "any"))`,
    "video = client.videos.create_and_poll(",
    ...lines,
    `    extra_body=${literal(extras)},`,
    ")",
    'client.videos.download_content(video.id).write_to_file("video.mp4")',
    "",
  ].join("\n");
}

/** A value as Python writes it. */
function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`);
  return `{${pairs.join(", ")}}`;
}
