// Prompts to begin with, in the words that the included model was taught.

const PROMPTS = [
  "a red ball bounces on the grass, realistic",
  "a blue car drives left in the city, cartoon",
  "a yellow star spins at night, neon",
  "a purple rocket flies up at night, realistic",
  "a white bird flies up in the sky, cartoon",
  "a person walks right in the desert, cartoon",
  "a green house in the snow, watercolour",
  "Pencil sketch: a fish on a white background",
  "black and white film of a boat on the sea",
  "a red heart pulses in a room, cartoon",
  "an orange ring bounces on a checkerboard, realistic",
  "a turquoise diamond swings in the rain, realistic",
  "a brown tree left of a white house, cartoon",
  "a green cross moves in a circle on a gradient background, cartoon",
  "a pink moon zigzags on a black background",
  "a big golden star grows in the night sky",
  "a blue heart floats upwards at sunset, 3d render",
  "a tiny green donut rolls left over the sea",
  "a pink square slides to the right among the clouds, flat cartoon",
  "a white triangle rises slowly under the stars",
  "a yellow cube hops in a green meadow, cartoon",
  "a red ball left of a blue star on a white background, cartoon",
  "a red ball and a blue cube",
  "a green triangle on the left and a red heart on the right, cartoon",
  "a purple star grows next to an orange ball in the night sky",
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
