/**
 * The best cells for a query, exactly, from estimates of their keys.
 *
 * Chunks are read in the order of the best key that a cell of theirs may have, and the exact keys of their
 * cells computed, until no chunk that is left can reach the keys that are found.
 */

import type { ChunkReader } from "./chunks";
import type { Estimate } from "./bounds";
import { key, type Metric } from "./metrics";
import type { Store } from "./store";

/** Chunks that are read before the keys found are compared again. */
const BATCH_CHUNKS = 16;

export interface Found {
  /** row x cols + col. */
  cell: number;
  key: number;
}

export class Search {
  /** Of each chunk the best key that a cell of it may have; -Infinity if none is wanted. */
  readonly #bounds: Float64Array;
  #pool: Found[] = [];

  /** `left` is 1 for cells of the grid that are left out. */
  constructor(
    private readonly store: Store,
    private readonly reader: ChunkReader,
    private readonly metric: Metric,
    private readonly query: Float64Array,
    private readonly estimate: Estimate,
    private readonly left: Uint8Array,
  ) {
    const { rows, cols } = reader.table;
    this.#bounds = new Float64Array(rows * cols).fill(-Infinity);
    for (let number = 0; number < store.cells.length; number++) {
      const cell = store.cells[number]!;
      if (left[cell]) continue;
      const [key, margin] = [estimate.keys[number]!, estimate.margins[number]!];
      // a key of NaN has no bound yet, or is known not to match
      const bound = margin === Infinity ? Infinity : key + margin;
      const chunk = reader.chunkOf(cell);
      if (bound > this.#bounds[chunk]!) this.#bounds[chunk] = bound;
    }
  }

  /** The `count` cells with the largest keys, or all; equal ones by row and column. */
  async best(count: number, signal: AbortSignal, progress: (chunks: number) => void): Promise<Found[]> {
    let read = 0;
    const bounds = this.#bounds;
    const order = [...bounds.keys()].filter((chunk) => bounds[chunk]! > -Infinity);
    order.sort((a, b) => (bounds[a] === bounds[b] ? a - b : bounds[b]! - bounds[a]!));
    while (read < order.length) {
      const floor = this.#pool[count - 1]?.key ?? -Infinity;
      if (floor > bounds[order[read]!]!) break;
      const chunks = order.slice(read, read + BATCH_CHUNKS).filter((chunk) => bounds[chunk]! >= floor);
      await this.reader.map(chunks, (chunk, values) => this.#score(chunk, values), signal);
      read += chunks.length;
      this.#pool.sort((a, b) => b.key - a.key || a.cell - b.cell);
      this.#pool.length = Math.min(this.#pool.length, count);
      progress(read);
    }
    return this.#pool;
  }

  /** Add the cells of a chunk to the pool; their estimates become exact. */
  #score(chunk: number, values: Float32Array): void {
    const { grid, numbers } = this.store;
    const { side, table } = this.reader;
    const [firstRow, firstCol] = [Math.floor(chunk / table.cols) * side, (chunk % table.cols) * side];
    for (let row = firstRow; row < Math.min(grid.rows, firstRow + side); row++) {
      for (let col = firstCol; col < Math.min(grid.cols, firstCol + side); col++) {
        const cell = row * grid.cols + col;
        const number = numbers[cell]!;
        if (number < 0 || this.left[cell]) continue;
        const found = key(this.metric, this.reader.vectorOf(cell, values), this.query);
        this.estimate.keys[number] = found;
        this.estimate.margins[number] = 0;
        if (!Number.isNaN(found)) this.#pool.push({ cell, key: found });
      }
    }
  }
}
