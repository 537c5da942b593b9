/** Chunks of vectors: read, checked, decoded, the last used kept. */

import * as zarr from "zarrita";
import { crc32c } from "./crc32c";
import { DamageError, ExplorerError } from "./errors";
import type { Grid } from "./grid";
import type { ChunkRecords, ObjectRecord, VerifiedStore } from "./verified";

/** Decoded chunks that are kept: 200 kB each of the published product. */
const KEPT_BYTES = 128 << 20;
/** Chunks asked for at once; a browser opens six connections to a server, or shares one. */
const AT_ONCE = 24;
const PREFIX = "embedding/c/";
const NOTHING = 0xffffffffffffffffn;

/** The integrity table: length, CRC-32C, and with shards the offset of each chunk. */
export class IntegrityTable implements ChunkRecords {
  readonly prefix = PREFIX;

  constructor(
    readonly values: Uint32Array,
    readonly rows: number,
    readonly cols: number,
    /** Chunks along a side of a shard; 1 without shards. */
    readonly side: number,
  ) {
    if (side > 1) this.#checkOffsets();
  }

  length(chunk: number): number {
    return this.values[chunk]!;
  }

  object(key: string): ObjectRecord | undefined {
    const [row, col] = this.#place(key);
    return row < this.rows && col < this.cols ? this.#record(row * this.cols + col) : undefined;
  }

  part(key: string, offset: number): ObjectRecord | undefined {
    const chunk = this.#members(key).find(
      (member) => this.length(member) > 0 && this.#offset(member) === offset,
    );
    return chunk === undefined ? undefined : this.#record(chunk);
  }

  index(key: string): Uint8Array | undefined {
    const [shardRow, shardCol] = this.#place(key);
    const [words, bytes] = [
      new BigUint64Array(2 * this.side ** 2),
      new Uint8Array(16 * this.side ** 2 + 4),
    ];
    words.fill(NOTHING);
    for (const chunk of this.#members(key)) {
      if (this.length(chunk) === 0) continue;
      const [row, col] = [
        Math.floor(chunk / this.cols) - shardRow * this.side,
        (chunk % this.cols) - shardCol * this.side,
      ];
      words.set([BigInt(this.#offset(chunk)), BigInt(this.length(chunk))], 2 * (row * this.side + col));
    }
    bytes.set(new Uint8Array(words.buffer));
    new DataView(bytes.buffer).setUint32(bytes.length - 4, crc32c(bytes.subarray(0, -4)), true);
    return bytes;
  }

  #record(chunk: number): ObjectRecord | undefined {
    const length = this.length(chunk);
    return length === 0 ? undefined : [length, this.values[this.rows * this.cols + chunk]!];
  }

  #offset(chunk: number): number {
    return this.values[2 * this.rows * this.cols + chunk]!;
  }

  #place(key: string): [number, number] {
    const [row, col] = key
      .slice(PREFIX.length + 2)
      .split("/")
      .map(Number);
    return [row!, col!];
  }

  /** The chunks of a shard, row by row. */
  #members(key: string): number[] {
    const [shardRow, shardCol] = this.#place(key);
    const found = [];
    for (let row = shardRow * this.side; row < Math.min(this.rows, (shardRow + 1) * this.side); row++) {
      for (let col = shardCol * this.side; col < Math.min(this.cols, (shardCol + 1) * this.side); col++) {
        found.push(row * this.cols + col);
      }
    }
    return found;
  }

  #checkOffsets(): void {
    for (let row = 0; row < this.rows; row += this.side) {
      for (let col = 0; col < this.cols; col += this.side) {
        let sum = 0;
        for (const chunk of this.#members(`${PREFIX}0/${row / this.side}/${col / this.side}`)) {
          if (this.length(chunk) && this.#offset(chunk) !== sum)
            throw new DamageError("integrity/embedding", "offsets are not the sums of lengths");
          sum += this.length(chunk);
        }
      }
    }
  }
}

/** What decodes a chunk of any encoding to float32, in the order (longitude, latitude, band). */
export class ChunkReader {
  readonly #kept = new Map<number, Float32Array>();
  #keptBytes = 0;

  constructor(
    private readonly array: zarr.Array<zarr.DataType, VerifiedStore>,
    readonly table: IntegrityTable,
    readonly bands: number,
    readonly side: number,
    private readonly grid: Grid,
    /** Of int8: by what to multiply the integers of each cell. */
    private readonly scale?: Float32Array,
  ) {}

  /** The chunk that holds a cell (row x cols + col). */
  chunkOf(cell: number): number {
    const [row, col] = [Math.floor(cell / this.grid.cols), cell % this.grid.cols];
    return Math.floor(row / this.side) * this.table.cols + Math.floor(col / this.side);
  }

  /** A cell's vector in the values of its chunk. */
  vectorOf(cell: number, values: Float32Array): Float32Array {
    const [row, col] = [Math.floor(cell / this.grid.cols), cell % this.grid.cols];
    const at = ((col % this.side) * this.side + (row % this.side)) * this.bands;
    return values.subarray(at, at + this.bands);
  }

  /** Read chunks, several at a time, and call `use` with each as it arrives. */
  async map(
    chunks: readonly number[],
    use: (chunk: number, values: Float32Array) => void,
    signal: AbortSignal,
    progress?: (done: number, all: number) => void,
  ): Promise<void> {
    let [next, done] = [0, 0];
    const work = async (): Promise<void> => {
      while (next < chunks.length) {
        const chunk = chunks[next++]!;
        use(chunk, await this.#read(chunk, signal));
        progress?.(++done, chunks.length);
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, chunks.length) }, work));
  }

  async #read(chunk: number, signal: AbortSignal): Promise<Float32Array> {
    signal.throwIfAborted();
    if (this.table.length(chunk) === 0) {
      throw new DamageError("integrity/embedding", "it has no chunk where cells have data");
    }
    const kept = this.#kept.get(chunk);
    if (kept !== undefined) {
      this.#kept.delete(chunk);
      this.#kept.set(chunk, kept);
      return kept;
    }
    const [row, col] = [Math.floor(chunk / this.table.cols), chunk % this.table.cols];
    const values = this.#toFloat32(await this.#decode(row, col, signal), row, col);
    this.#keep(chunk, values);
    return values;
  }

  async #decode(row: number, col: number, signal: AbortSignal): Promise<ArrayLike<number>> {
    try {
      return (await this.array.getChunk([0, row, col], { signal })).data as ArrayLike<number>;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ExplorerError) throw error;
      throw new DamageError(`the chunk in row ${row}, column ${col}`, "it cannot be decoded");
    }
  }

  #toFloat32(data: ArrayLike<number>, row: number, col: number): Float32Array {
    if (data instanceof Float32Array) return data;
    const values = Float32Array.from(data);
    if (this.scale === undefined) return values;
    const [firstRow, firstCol] = [row * this.side, col * this.side];
    const { rows, cols } = this.grid;
    for (let at = firstRow; at < Math.min(rows, firstRow + this.side); at++) {
      for (let along = firstCol; along < Math.min(cols, firstCol + this.side); along++) {
        const cell = at * cols + along;
        const vector = this.vectorOf(cell, values);
        for (let band = 0; band < vector.length; band++) vector[band] = vector[band]! * this.scale[cell]!;
      }
    }
    return values;
  }

  #keep(chunk: number, values: Float32Array): void {
    this.#kept.set(chunk, values);
    this.#keptBytes += values.byteLength;
    for (const [oldest, held] of this.#kept) {
      if (this.#keptBytes <= KEPT_BYTES) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= held.byteLength;
    }
  }
}
