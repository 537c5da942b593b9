/** Coastlines of Natural Earth (public domain), 1:50 million, as short as they can be drawn at 0.25°. */

import { readFile } from "node:fs/promises";
import { mesh } from "topojson-client";

const STEP = 20; // per degree

/** JSON: lines, each of whole numbers in twentieths of a degree: the first point, then differences. */
export async function coastlines() {
  const file = new URL("node_modules/world-atlas/land-50m.json", import.meta.url);
  const world = JSON.parse(await readFile(file, "utf8"));
  const lines = mesh(world, world.objects.land).coordinates.flatMap(withoutFrame).map(deltas);
  return JSON.stringify(lines.filter((line) => line.length > 2));
}

/** Cut out the edges along the antimeridian and the south pole, which are no coast, and jumps over 180°. */
function withoutFrame(line) {
  const parts = [[]];
  line.forEach(([lon, lat], index) => {
    const [before] = index ? [line[index - 1]] : [[0, 0]];
    const frame =
      (Math.abs(lon) > 179.99 && Math.abs(before[0]) > 179.99) || (lat < -89.9 && before[1] < -89.9);
    if (index && (frame || Math.abs(lon - before[0]) > 180)) parts.push([]);
    parts.at(-1).push([lon, lat]);
  });
  return parts.filter((part) => part.length > 1);
}

function deltas(line) {
  const found = [];
  let [x, y] = [0, 0];
  for (const [lon, lat] of line) {
    const [nextX, nextY] = [Math.round(lon * STEP), Math.round(lat * STEP)];
    if (found.length && nextX === x && nextY === y) continue;
    found.push(nextX - x, nextY - y);
    [x, y] = [nextX, nextY];
  }
  return found;
}
