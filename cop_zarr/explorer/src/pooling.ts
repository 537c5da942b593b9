/** The mean vector of a region: cells with data, each weighted by the part of it that is inside. */

import type { RegionVector } from "./calls";
import { queryPython } from "./code";
import { coverage } from "./coverage";
import { ExplorerError } from "./errors";
import type { Region } from "./regions";
import type { Store } from "./store";

/** More than this is left to cop-zarr: some 50° x 50° of land. */
const MAX_BYTES = 256 << 20;

function checkSize(region: Region, bytes: number): void {
  if (bytes <= MAX_BYTES) return;
  throw new ExplorerError(
    `The region takes ${Math.round(bytes / 1e6)} MB of the store, more than ${Math.round(MAX_BYTES / 1e6)} MB.`,
    `Draw a smaller one, or run: ${queryPython(region)}`,
  );
}

export async function regionVector(
  store: Store,
  region: Region,
  signal: AbortSignal,
  progress: (done: number, all: number) => void,
): Promise<RegionVector> {
  const weights = coverage(store.grid, region);
  if (weights.size === 0) throw new ExplorerError("The region is outside of the store.", "Choose another.");
  const reader = await store.reader();
  const { side, bands, table } = reader;
  const members = new Map<number, number[]>();
  for (const cell of weights.keys()) {
    if (!store.valid[cell]) continue;
    const [row, col] = [Math.floor(cell / store.grid.cols), cell % store.grid.cols];
    const chunk = Math.floor(row / side) * table.cols + Math.floor(col / side);
    const cells = members.get(chunk);
    if (cells === undefined) members.set(chunk, [cell]);
    else cells.push(cell);
  }
  checkSize(
    region,
    [...members.keys()].reduce((sum, chunk) => sum + table.length(chunk), 0),
  );
  const sums = new Float64Array(bands);
  let [validCells, total] = [0, 0];
  const add = (chunk: number, values: Float32Array) => {
    for (const cell of members.get(chunk)!) {
      const [row, col] = [Math.floor(cell / store.grid.cols) % side, (cell % store.grid.cols) % side];
      const [at, weight] = [(col * side + row) * bands, weights.get(cell)!];
      for (let band = 0; band < bands; band++) sums[band]! += weight * values[at + band]!;
      total += weight;
      validCells++;
    }
  };
  await reader.map(
    [...members.keys()].sort((a, b) => a - b),
    add,
    signal,
    progress,
  );
  return { vector: Float32Array.from(sums, (sum) => sum / total), validCells, totalCells: weights.size };
}
