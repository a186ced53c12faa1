// What the composer can ask for, and the request that each kind becomes.

/** Kind -> its words; `needs` is the model's mode without which it cannot be asked for. */
export const KINDS = {
  create: { needs: "text", go: "Make", prompt: "Describe a video" },
  remix: { needs: "edit", go: "Remix", prompt: "What should be different?", title: "Remix of" },
  edit: { needs: "edit", go: "Edit", prompt: "What should it become?", title: "Edit of" },
  extend: { needs: "extend", go: "Extend", prompt: "What happens then?", title: "Goes on from" },
  lead: { needs: "lead_in", go: "Extend", prompt: "What happens before?", title: "Leads up to" },
  loop: { needs: "loop", go: "Loop", prompt: "How does it come back?", title: "Loops" },
  blend: { needs: "lead_in", go: "Blend", prompt: "What happens between?", title: "Blend of" },
};

//: Fields of the form that a kind sends beside those that all kinds send.
const ALL = ["model", "seed", "negative_prompt", "num_inference_steps", "guidance_scale", "style"];
const OWN = {
  create: ["size", "seconds", "fps", "n", "flow_shift"],
  remix: ["strength"],
  edit: ["strength"],
  extend: ["seconds"],
  lead: ["seconds"],
  loop: ["seconds"],
  blend: ["seconds"],
};

/** The path and the fields to post. `task` is {kind, video, target, file}; `form` the values by
 *  name; `inputs` what create may start from: {first, last, shots, loop}. */
export function request(task, form, inputs = {}) {
  const fields = { prompt: form.prompt };
  for (const name of [...ALL, ...OWN[task.kind]]) fields[name] = form[name];
  const source = task.file ?? (task.video && { id: task.video.id });
  switch (task.kind) {
    case "create":
      return { path: "/v1/videos", fields: { ...fields, ...starting(inputs) } };
    case "remix":
      return { path: `/v1/videos/${encodeURIComponent(task.video.id)}/remix`, fields };
    case "edit":
      return { path: "/v1/videos/edits", fields: { ...fields, video: source } };
    case "extend":
      return { path: "/v1/videos/extensions", fields: { ...fields, video: source } };
    case "lead":
      return {
        path: "/v1/videos/extensions",
        fields: { ...fields, video: source, direction: "backward" },
      };
    case "loop":
      return { path: "/v1/videos/extensions", fields: { ...fields, video: source, loop: true } };
    case "blend":
      return {
        path: "/v1/videos/blends",
        fields: { ...fields, from_video: source, to_video: { id: task.target.id } },
      };
  }
}

function starting({ first, last, shots, loop }) {
  const fields = { input_reference: first, last_frame: last };
  if (loop) fields.loop = true;
  if (shots) Object.assign(fields, { storyboard: shots, seconds: undefined });
  return fields;
}
