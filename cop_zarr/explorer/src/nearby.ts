/** Cells near places, by geodesic distance on the WGS84 ellipsoid. */

import geodesic from "geographiclib-geodesic";
import { LATTICE_COLS, LATTICE_WEST, modulo, rowLat, STEP_DEG, type Grid } from "./grid";

/** A degree of latitude is longer than this everywhere. */
const MIN_DEGREE_KM = 110.5;

export type LonLat = [number, number];

function distanceKm(lat: number, otherLat: number, lonGap: number): number {
  return geodesic.Geodesic.WGS84.Inverse(lat, 0, otherLat, lonGap).s12! / 1000;
}

/** Add to `near` the cells whose centre is nearer than `km` to a place. */
export function markNear(near: Uint8Array, grid: Grid, [lon, lat]: LonLat, km: number): void {
  const place = (lon - LATTICE_WEST) / STEP_DEG - 0.5; // in columns of the lattice
  const fraction = place - Math.floor(place);
  for (let row = 0; row < grid.rows; row++) {
    const other = rowLat(grid, row);
    if (Math.abs(other - lat) * MIN_DEGREE_KM >= km) continue;
    const isNear = (gap: number) => distanceKm(lat, other, Math.min(gap, 360 - gap)) < km;
    const west = countNear((steps) => isNear((fraction + steps) * STEP_DEG));
    const east = countNear((steps) => isNear((1 - fraction + steps) * STEP_DEG));
    for (let step = -west + 1; step <= east; step++) {
      const col = modulo(Math.floor(place) + step - grid.colOffset, LATTICE_COLS);
      if (col < grid.cols) near[row * grid.cols + col] = 1;
    }
  }
}

/** How many cells from a place on are near, of those up to half around the globe: distances grow. */
function countNear(isNear: (steps: number) => boolean): number {
  let [low, high] = [0, LATTICE_COLS / 2 + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isNear(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
