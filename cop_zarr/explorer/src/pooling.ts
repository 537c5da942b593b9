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
  const members = new Map<number, number[]>();
  for (const cell of weights.keys()) {
    if (!store.valid[cell]) continue;
    const cells = members.get(reader.chunkOf(cell));
    if (cells === undefined) members.set(reader.chunkOf(cell), [cell]);
    else cells.push(cell);
  }
  const chunks = [...members.keys()].sort((a, b) => a - b);
  checkSize(
    region,
    chunks.reduce((sum, chunk) => sum + reader.table.length(chunk), 0),
  );
  const parts = new Map<number, Float64Array>();
  const add = (chunk: number, values: Float32Array) => {
    const sums = new Float64Array(reader.bands);
    for (const cell of members.get(chunk)!) {
      const [vector, weight] = [reader.vectorOf(cell, values), weights.get(cell)!];
      for (let band = 0; band < sums.length; band++) sums[band]! += weight * vector[band]!;
    }
    parts.set(chunk, sums);
  };
  await reader.map(chunks, add, signal, progress);
  const cells = chunks.flatMap((chunk) => members.get(chunk)!);
  const total = cells.reduce((sum, cell) => sum + weights.get(cell)!, 0);
  const sums = new Float64Array(reader.bands); // in the order of chunks, whichever came first
  for (const chunk of chunks) parts.get(chunk)!.forEach((part, band) => (sums[band]! += part));
  const vector = Float32Array.from(sums, (sum) => sum / total);
  return { vector, validCells: cells.length, totalCells: weights.size };
}
