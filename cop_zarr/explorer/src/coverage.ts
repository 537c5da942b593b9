/** Which part of each cell is inside a region: exact areas in the plane of longitude and latitude. */

import {
  LATTICE_COLS,
  LATTICE_NORTH,
  LATTICE_ROWS,
  LATTICE_WEST,
  modulo,
  STEP_DEG,
  type Grid,
} from "./grid";
import type { LonLat } from "./nearby";
import { regionBounds, ringArea, type Region } from "./regions";

/** An overlap of less than this part of a cell is rounding. */
const TOUCH_TOLERANCE = 1e-6;

/** Weights, 0 to 1, by cell (row x cols + col); those of 0 are left out. */
export function coverage(grid: Grid, region: Region): Map<number, number> {
  const [west, south, east, north] = regionBounds(region);
  const firstCol = Math.floor((west - LATTICE_WEST) / STEP_DEG);
  const firstRow = Math.max(0, Math.floor((LATTICE_NORTH - north) / STEP_DEG));
  const rows = Math.min(LATTICE_ROWS, Math.floor((LATTICE_NORTH - south) / STEP_DEG) + 1) - firstRow;
  const cols = Math.floor((east - LATTICE_WEST) / STEP_DEG) + 1 - firstCol;
  const corners =
    region.kind === "polygon"
      ? region.ring
      : ([
          [west, south],
          [east, south],
          [east, north],
          [west, north],
        ] as LonLat[]);
  const sign = Math.sign(ringArea(corners));
  const points = corners.map(([lon, lat]): LonLat => [
    (lon - LATTICE_WEST) / STEP_DEG - firstCol,
    (LATTICE_NORTH - lat) / STEP_DEG - firstRow,
  ]);
  const parts = ringCoverage(points, rows, cols).map((part) => part * sign);
  const fractions = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    const latticeRow = firstRow + row;
    const polar = latticeRow === 0 || latticeRow === LATTICE_ROWS - 1;
    const half = polar ? 2 : 1; // of these rows, the half up to the pole is the cell
    for (let col = 0; col < cols; col++) {
      const [gridRow, gridCol] = [
        latticeRow - grid.rowOffset,
        modulo(firstCol + col - grid.colOffset, LATTICE_COLS),
      ];
      if (gridRow < 0 || gridRow >= grid.rows || gridCol >= grid.cols) continue;
      const cell = gridRow * grid.cols + gridCol;
      const part = parts[row * cols + col]! * half;
      if (part > 0) fractions.set(cell, Math.min(1, (fractions.get(cell) ?? 0) + part));
    }
  }
  return withoutRounding(fractions);
}

function withoutRounding(fractions: Map<number, number>): Map<number, number> {
  const sum = [...fractions.values()].reduce((total, part) => total + part, 0);
  const least = TOUCH_TOLERANCE * Math.min(1, sum);
  return new Map([...fractions].filter(([, part]) => part > least));
}

/**
 * Signed areas of the unit cells of a raster inside a ring; y grows downwards.
 *
 * Each piece of an edge within a cell adds what lies to the east of it: a part of its own cell, and its
 * height in every cell further east. The sum over all edges is the area inside.
 */
function ringCoverage(ring: LonLat[], rows: number, cols: number): Float64Array {
  const [own, beyond] = [new Float64Array(rows * cols), new Float64Array(rows * cols)];
  ring.forEach(([x0, y0], index) => {
    const [x1, y1] = ring[(index + 1) % ring.length]!;
    for (const [startX, startY, stopX, stopY] of pieces(x0, y0, x1, y1)) {
      const row = Math.min(rows - 1, Math.max(0, Math.floor((startY + stopY) / 2)));
      const col = Math.min(cols - 1, Math.max(0, Math.floor((startX + stopX) / 2)));
      const height = stopY - startY;
      own[row * cols + col]! += height * (1 - ((startX + stopX) / 2 - col));
      beyond[row * cols + col]! += height;
    }
  });
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let at = row * cols; at < (row + 1) * cols; at++) {
      const height = beyond[at]!;
      own[at]! += sum;
      sum += height;
    }
  }
  return own;
}

/** An edge cut where it crosses lines between cells. */
function pieces(x0: number, y0: number, x1: number, y1: number): [number, number, number, number][] {
  const cuts = [0, 1];
  for (const [from, to] of [
    [x0, x1],
    [y0, y1],
  ] as const) {
    for (let line = Math.ceil(Math.min(from, to)); line <= Math.max(from, to); line++) {
      const part = (line - from) / (to - from);
      if (part > 0 && part < 1) cuts.push(part);
    }
  }
  cuts.sort((a, b) => a - b);
  const at = (part: number): LonLat =>
    part === 1 ? [x1, y1] : [x0 + (x1 - x0) * part, y0 + (y1 - y0) * part];
  return cuts.slice(1).map((part, index) => [...at(cuts[index]!), ...at(part)]);
}
