/** The principal components that a store keeps: the group `components/`, checked and read. */

import { openArray, readArray, type Store } from "./store";
import { prefixEnd, prefixFrame } from "./blosc_prefix";
import { parseDocument, type JsonObject } from "./document";
import { DamageError, DeniedError, ExplorerError } from "./errors";
import type { Remote } from "./remote";
import { check, VerifiedStore } from "./verified";
import Blosc from "numcodecs/blosc";

/** Components in a chunk of scores. */
export const CHUNK_COMPONENTS = 8;
const PREFIX = "components/";
/** What a decoder is made from; only an encoder looks at it. */
const BLOSC = { id: "blosc", cname: "lz4", clevel: 5, shuffle: 2, blocksize: 0 } as const;
/** Chunks of scores smaller than this are read whole at once. */
const SMALL_BYTES = 1 << 20;

export class Components {
  readonly #scores = new Map<number, Promise<Float32Array[]>>();
  #leading: Promise<Float32Array[]> | undefined;

  constructor(
    private readonly remote: Remote,
    private readonly objects: VerifiedStore,
    private readonly store: Store,
    readonly count: number,
  ) {}

  /** Numbers of leading components of which the remainder is kept. */
  get leadingCounts(): number[] {
    const found = [];
    for (let count = CHUNK_COMPONENTS; count < this.count; count += CHUNK_COMPONENTS) found.push(count);
    return [...found, this.count];
  }

  /** Scores along one component, counted from 0, of the cells with data. */
  async scores(component: number): Promise<Float32Array> {
    const found = await this.scoresOfChunk(Math.floor(component / CHUNK_COMPONENTS));
    return found[component % CHUNK_COMPONENTS]!;
  }

  /** Scores along the components of one chunk. */
  scoresOfChunk(chunk: number): Promise<Float32Array[]> {
    let found = this.#scores.get(chunk);
    if (found === undefined) {
      found = this.#readScores(chunk);
      this.#scores.set(chunk, found);
      found.catch(() => this.#scores.delete(chunk));
    }
    return found;
  }

  async #readScores(chunk: number): Promise<Float32Array[]> {
    if (chunk === 0 && this.#leading !== undefined) return this.#rest!();
    const array = await openArray(this.objects, "scores");
    const { data } = await array.getChunk([chunk, 0, 0]);
    return this.#ofCells(
      data as Float32Array,
      Math.min(CHUNK_COMPONENTS, this.count - chunk * CHUNK_COMPONENTS),
    );
  }

  #rest: (() => Promise<Float32Array[]>) | undefined;

  /**
   * Scores along the first components, from the beginning of their chunk.
   *
   * Its checksum is that of the whole chunk: what is returned is not checked until `scoresOfChunk(0)` is.
   */
  leading(components: number): Promise<Float32Array[]> {
    const record = this.objects.record("scores/c/0/0/0");
    if (record === undefined || record[0] < SMALL_BYTES || this.#scores.has(0))
      return this.scoresOfChunk(0);
    this.#leading ??= this.#readLeading(record[0], Math.min(components, this.count));
    return this.#leading;
  }

  async #readLeading(length: number, components: number): Promise<Float32Array[]> {
    const key = "/scores/c/0/0/0";
    const depth = Math.min(CHUNK_COMPONENTS, this.count);
    const wanted = 4 * components * this.store.grid.rows * this.store.grid.cols;
    const parts: Uint8Array[] = [];
    let end = Math.min(length, Math.ceil((length * components) / depth) + (64 << 10));
    let frame = new Uint8Array(0);
    while (true) {
      const range = { offset: frame.length, length: end - frame.length };
      const part = await this.remote.getRange(key, range);
      if (part === undefined || part.length !== range.length)
        throw new DamageError(`components${key}`, "a part of it is missing");
      parts.push(part);
      frame = concatenate(parts);
      const needed = prefixEnd(frame, wanted);
      if (needed === undefined || needed > length)
        throw new DamageError(`components${key}`, "it is no Blosc frame");
      if (needed <= frame.length) break;
      end = needed;
    }
    this.#rest = async () => {
      const rest =
        frame.length < length
          ? await this.remote.getRange(key, { offset: frame.length, length: length - frame.length })
          : new Uint8Array(0);
      const whole = check(`components${key}`, rest && concatenate([frame, rest]), [
        length,
        this.objects.record(key.slice(1))![1],
      ]);
      return this.#ofCells(await decode(whole), depth);
    };
    return this.#ofCells(await decode(prefixFrame(frame, wanted)), components);
  }

  #ofCells(values: Float32Array, components: number): Float32Array[] {
    const { grid, cells } = this.store;
    const size = grid.rows * grid.cols;
    return Array.from({ length: components }, (_, component) => {
      const plane = values.subarray(component * size, (component + 1) * size);
      const found = new Float32Array(cells.length);
      for (let cell = 0; cell < cells.length; cell++) found[cell] = plane[cells[cell]!]!;
      return found;
    });
  }

  /** What the first `leadingCounts[number]` components leave, of the cells with data. */
  async remainder(number: number): Promise<Float32Array> {
    const array = await openArray(this.objects, "remainder");
    return this.#ofCells((await array.getChunk([number, 0, 0])).data as Float32Array, 1)[0]!;
  }

  /** Lengths of the vectors of the cells with data. */
  async length(): Promise<Float32Array> {
    return this.#ofCells((await readArray(this.objects, "length")).data as Float32Array, 1)[0]!;
  }

  async mean(): Promise<Float64Array> {
    return (await readArray(this.objects, "mean")).data as Float64Array;
  }

  /** Unit vectors one after the other. */
  async axes(): Promise<Float64Array> {
    return (await readArray(this.objects, "axes")).data as Float64Array;
  }

  async varianceRatio(): Promise<Float64Array> {
    return (await readArray(this.objects, "explained_variance_ratio")).data as Float64Array;
  }
}

async function decode(frame: Uint8Array): Promise<Float32Array> {
  const bytes = await Blosc.fromConfig(BLOSC).decode(frame);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

function concatenate(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const found = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    found.set(part, at);
    at += part.length;
  }
  return found;
}

/** The document of the group; undefined if there is none. */
export async function readComponentsDocument(remote: Remote): Promise<Uint8Array | undefined> {
  try {
    return await remote.get("/zarr.json");
  } catch (error) {
    if (error instanceof DeniedError) return undefined; // whoever may not list is denied what is not there
    throw error;
  }
}

/** Open the components of a store, in a folder of their own. */
export function openComponents(
  remote: Remote,
  bytes: Uint8Array | Error | undefined,
  store: Store,
): Components {
  if (bytes instanceof Error) throw bytes;
  if (bytes === undefined) {
    throw new ExplorerError(
      "The store keeps no principal components, which colours and similar places are made of.",
      "Derive them once, where the store can be written: cop-zarr components STORE --count 64.",
    );
  }
  const { document, record } = parseDocument(bytes, "components/zarr.json");
  if (record.format !== "cop-zarr-components")
    throw new DamageError("components/zarr.json", "it is not that of components");
  if (Number(record.version) > 1) {
    throw new ExplorerError(
      `The components have version ${Number(record.version)} of their format; this page reads version 1.`,
      "Write the page anew with a newer cop-zarr: pip install --upgrade cop-zarr.",
    );
  }
  if (record.store_sha256 !== store.sha256) {
    throw new ExplorerError(
      "The components beside the store are those of another store.",
      "Derive them again: cop-zarr components STORE --overwrite.",
    );
  }
  const objects = new VerifiedStore(remote, document, (record.objects ?? {}) as JsonObject, PREFIX);
  return new Components(remote, objects, store, Number(record.count));
}
