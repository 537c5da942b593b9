/** A store that is open: its grid, which cells have data, its chunks. */

import * as zarr from "zarrita";
import { ChunkReader, IntegrityTable } from "./chunks";
import { parseDocument, type JsonObject } from "./document";
import { DamageError, ExplorerError } from "./errors";
import { gridFromCorner, type Grid } from "./grid";
import type { Remote } from "./remote";
import { VerifiedStore } from "./verified";

/** The newest version of the format that the page knows. */
const FORMAT_VERSION = 2;
const ENCODINGS = ["float32", "float16", "int8"];

export class Store {
  #reader: Promise<ChunkReader> | undefined;

  constructor(
    readonly title: string,
    readonly sha256: string,
    readonly synthetic: boolean,
    readonly grid: Grid,
    readonly bands: number,
    /** 1 where a cell has data, row by row. */
    readonly valid: Uint8Array,
    /** The cells with data, in order. */
    readonly cells: Int32Array,
    private readonly objects: VerifiedStore,
  ) {
    this.numbers = new Int32Array(grid.rows * grid.cols).fill(-1);
    cells.forEach((cell, number) => (this.numbers[cell] = number));
  }

  /** Of each cell of the grid its number among those with data; -1 without. */
  readonly numbers: Int32Array;

  /** What reads vectors; the integrity table is read when it is first asked for. */
  reader(): Promise<ChunkReader> {
    this.#reader ??= this.#openReader().catch((error) => {
      this.#reader = undefined;
      throw error;
    });
    return this.#reader;
  }

  async #openReader(): Promise<ChunkReader> {
    const [embedding, table] = await Promise.all([
      openArray(this.objects, "embedding"),
      readArray(this.objects, "integrity/embedding"),
    ]);
    const side = embedding.chunks[1]!;
    const outer = (this.objects.node("embedding") as any).chunk_grid.configuration.chunk_shape[1] as number;
    const [, rows, cols] = table.shape as [number, number, number];
    const records = new IntegrityTable(table.data as Uint32Array, rows, cols, outer / side);
    this.objects.chunks = records;
    const scale = embedding.dtype === "int8" ? await readScale(this.objects) : undefined;
    return new ChunkReader(embedding, records, this.bands, side, this.grid, scale);
  }
}

/** Open the store in a folder; ExplorerError if there is none, or one of a newer format. */
export async function openStore(remote: Remote): Promise<Store> {
  const bytes = await remote.get("/zarr.json");
  if (bytes === undefined) throw notAStore(remote, "there is no zarr.json");
  const { document, record } = parseRoot(remote, bytes);
  const objects = new VerifiedStore(remote, document, (record.objects ?? {}) as JsonObject);
  const attributes = document.attributes as JsonObject;
  const [bands, rows, cols] = (objects.node("embedding")?.shape ?? []) as number[] as [
    number,
    number,
    number,
  ];
  const transform = attributes["spatial:transform"] as number[] | undefined;
  const grid = transform && gridFromCorner(transform[2]!, transform[5]!, rows, cols);
  if (grid === undefined) throw notAStore(remote, "its grid is none of the product's");
  const valid = new Uint8Array(
    ((await readArray(objects, "valid")).data as unknown as { buffer: ArrayBuffer }).buffer,
  ).slice(0, rows * cols);
  const cells = Int32Array.from(valid.keys()).filter((cell) => valid[cell]);
  const source = (record.source ?? {}) as JsonObject;
  return new Store(
    String(attributes.title ?? ""),
    String(record.sha256),
    source.synthetic === true,
    grid,
    bands,
    valid,
    cells,
    objects,
  );
}

function parseRoot(remote: Remote, bytes: Uint8Array): { document: JsonObject; record: JsonObject } {
  const raw = safeRecord(bytes);
  if (raw === undefined || raw.format !== "cop-zarr")
    throw notAStore(remote, "its zarr.json is not that of a cop-zarr store");
  if (Number(raw.version) > FORMAT_VERSION) {
    throw new ExplorerError(
      `The store has version ${Number(raw.version)} of the format; ` +
        `this page reads up to version ${FORMAT_VERSION}.`,
      "Write the page anew with a newer cop-zarr: pip install --upgrade cop-zarr.",
    );
  }
  const encoding = "encoding" in raw ? (raw.encoding as JsonObject | null)?.name : "float32";
  if (!ENCODINGS.includes(String(encoding))) {
    throw new ExplorerError(
      `The store has the encoding ${JSON.stringify(encoding)}; this page reads ${ENCODINGS.join(", ")}.`,
      "Write the page anew with a newer cop-zarr: pip install --upgrade cop-zarr.",
    );
  }
  if (encoding === "float16" && !("Float16Array" in self)) {
    throw new ExplorerError(
      "The store has the encoding float16, which this browser does not know.",
      "Use a newer browser.",
    );
  }
  return parseDocument(bytes, "zarr.json");
}

/** The attribute `cop_zarr` before anything is believed. */
function safeRecord(bytes: Uint8Array): JsonObject | undefined {
  try {
    const given = JSON.parse(new TextDecoder().decode(bytes)).attributes.cop_zarr;
    return (typeof given === "string" ? JSON.parse(given) : given) as JsonObject;
  } catch {
    return undefined;
  }
}

function notAStore(remote: Remote, why: string): ExplorerError {
  return new ExplorerError(
    `${remote.url.host}${remote.url.pathname} is no store of cop-zarr: ${why}.`,
    "Give the address of the store's folder, the one with zarr.json in it, as ?store=URL.",
  );
}

export async function openArray(
  objects: VerifiedStore,
  path: string,
): Promise<zarr.Array<zarr.DataType, VerifiedStore>> {
  if (objects.node(path) === undefined) throw new DamageError("zarr.json", `it does not describe ${path}`);
  return zarr.open.v3(zarr.root(objects).resolve(path), { kind: "array" });
}

/** By what to multiply the integers of each cell. */
async function readScale(objects: VerifiedStore): Promise<Float32Array> {
  const scale = (await readArray(objects, "scale")).data as Float32Array;
  if (!scale.every((value) => value >= 0 && value < Infinity))
    throw new DamageError("scale", "it has values that are no scale");
  return scale;
}

/** Read an array of one chunk. */
export async function readArray(objects: VerifiedStore, path: string) {
  const array = await openArray(objects, path);
  return array.getChunk(array.shape.map(() => 0));
}
