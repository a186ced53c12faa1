// Prompts to begin with, in the words that the included model was taught.

const PROMPTS = [
  "a red ball bounces on the grass, realistic",
  "a big golden star grows in the night sky",
  "a blue heart floats upwards at sunset, 3d render",
  "a tiny green donut rolls left over the sea",
  "a pink square slides to the right among the clouds, flat cartoon",
  "Pencil sketch: a big star grows on a white background",
  "a purple ring sinks quickly in the dark, glossy 3d",
  "an orange ball drifting right in front of a sunset",
  "a white triangle rises slowly under the stars",
  "black and white film of a ball jumping on a lawn",
  "a violet sphere flies up by the ocean, photorealistic",
  "a scarlet heart gets bigger on a black background",
  "a yellow cube hops in a green meadow, cartoon",
  "an emerald pyramid stands still at dusk, realistic 3d",
  "a snow white hoop moves down gently in a blue sky with clouds",
  "a cobalt star shrinks above the waves, 2d animation",
  "a red ball left of a blue star on a white background, cartoon",
  "a pink heart and a white ring at night, 3d render",
  "a big orange square next to a small purple ball on the grass, realistic",
  "a red ball and a blue cube",
  "a green triangle on the left and a red heart on the right, cartoon",
  "a purple star grows next to an orange ball in the night sky",
  "Pencil sketch: a heart moves up beside a square on a white background",
];

/** `count` of them, in another order each time. */
export function suggestions(count) {
  const left = [...PROMPTS];
  const drawn = [];
  while (drawn.length < count && left.length) {
    drawn.push(...left.splice(Math.floor(Math.random() * left.length), 1));
  }
  return drawn;
}
