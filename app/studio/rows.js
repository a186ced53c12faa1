// How pictures of different shapes fill rows of one width, without cutting any of them.

/** The place of each picture: {top, left, width, height}, in order, and the height of all.
 *
 *  `shapes` are widths over heights. A row is full when its pictures, at the wanted height, are
 *  wider than `width`; it is then made just as wide. The last row keeps the wanted height. */
export function arrange(shapes, width, wanted, gap) {
  const places = [];
  let top = 0;
  let from = 0;
  let sum = 0;
  const close = (to, height) => {
    let left = 0;
    for (let at = from; at < to; at += 1) {
      places.push({ top, left, width: shapes[at] * height, height });
      left += shapes[at] * height + gap;
    }
    top += height + gap;
    from = to;
    sum = 0;
  };
  for (const [at, shape] of shapes.entries()) {
    sum += shape;
    const room = width - gap * (at - from);
    if (sum * wanted >= room) close(at + 1, room / sum);
  }
  if (from < shapes.length) close(shapes.length, wanted);
  return { places, height: Math.max(0, top - gap) };
}

/** The first place that ends below `y`; places are ordered by their tops. */
export function firstBelow(places, y) {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle].top + places[middle].height < y) low = middle + 1;
    else high = middle;
  }
  return low;
}
