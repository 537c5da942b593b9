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
  readonly #unread = new Map<number, number>(); // chunk: the best key that a cell of it may have
  readonly #wanted = new Map<number, number[]>(); // chunk: numbers of its cells
  #pool: Found[] = [];

  /** `left` is 1 for cells of the grid that are left out. */
  constructor(
    private readonly store: Store,
    private readonly reader: ChunkReader,
    private readonly metric: Metric,
    private readonly query: Float64Array,
    private readonly estimate: Estimate,
    left: Uint8Array,
  ) {
    const { cells, grid } = store;
    cells.forEach((cell, number) => {
      if (left[cell]) return;
      const chunk = this.#chunkOf(Math.floor(cell / grid.cols), cell % grid.cols);
      const bound = estimate.margins[number] === Infinity ? Infinity : estimate.keys[number]! + estimate.margins[number]!;
      this.#unread.set(chunk, Math.max(bound, this.#unread.get(chunk) ?? -Infinity));
      const wanted = this.#wanted.get(chunk);
      if (wanted === undefined) this.#wanted.set(chunk, [number]);
      else wanted.push(number);
    });
  }

  #chunkOf(row: number, col: number): number {
    const side = this.reader.side;
    return Math.floor(row / side) * this.reader.table.cols + Math.floor(col / side);
  }

  /** The `count` cells with the largest keys, or all; equal ones by row and column. */
  async best(count: number, signal: AbortSignal, progress: (chunks: number) => void): Promise<Found[]> {
    let read = 0;
    const order = [...this.#unread.keys()].sort((a, b) => this.#unread.get(b)! - this.#unread.get(a)! || a - b);
    while (read < order.length) {
      const floor = this.#pool[count - 1]?.key ?? -Infinity;
      if (floor > this.#unread.get(order[read]!)!) break;
      let chunks = order.slice(read, read + BATCH_CHUNKS);
      chunks = chunks.filter((chunk) => this.#unread.get(chunk)! >= floor);
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
    const { grid, cells } = this.store;
    const { side, bands } = this.reader;
    for (const number of this.#wanted.get(chunk)!) {
      const cell = cells[number]!;
      const [row, col] = [Math.floor(cell / grid.cols) % side, (cell % grid.cols) % side];
      const at = (col * side + row) * bands;
      const found = key(this.metric, values.subarray(at, at + bands), this.query);
      this.estimate.keys[number] = found;
      this.estimate.margins[number] = 0;
      if (!Number.isNaN(found)) this.#pool.push({ cell, key: found });
    }
  }
}
