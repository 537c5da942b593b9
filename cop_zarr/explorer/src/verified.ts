/** A Zarr store whose every object is compared with the length and CRC-32C that its document records. */

import type { AbsolutePath, AsyncReadable, GetOptions, RangeQuery } from "@zarrita/storage";
import { crc32c } from "./crc32c";
import type { Json, JsonObject } from "./document";
import { DamageError } from "./errors";

/** Length in bytes, CRC-32C. */
export type ObjectRecord = readonly [number, number];

/** Throw DamageError if the bytes of an object are not as recorded. */
export function check(key: string, bytes: Uint8Array | undefined, record: ObjectRecord): Uint8Array {
  if (bytes === undefined) throw new DamageError(key, "it is missing");
  if (bytes.length !== record[0])
    throw new DamageError(key, `it has ${bytes.length} bytes, not ${record[0]}`);
  if (crc32c(bytes) !== record[1]) throw new DamageError(key, "its CRC-32C is another");
  return bytes;
}

/** What is known of the chunks of an array that the document does not record one by one. */
export interface ChunkRecords {
  readonly prefix: string;
  /** The record of a whole object; undefined if it is not written. */
  object(key: string): ObjectRecord | undefined;
  /** The record of the chunk at an offset of a shard. */
  part(key: string, offset: number): ObjectRecord | undefined;
  /** The index of a shard, as its last bytes are. */
  index(key: string): Uint8Array | undefined;
}

/** A group, its consolidated metadata, and its objects. */
export class VerifiedStore implements AsyncReadable {
  chunks: ChunkRecords | undefined;
  readonly #nodes: JsonObject;
  readonly #objects: Map<string, ObjectRecord>;

  /** `prefix` is what the keys of `objects` begin with in the document. */
  constructor(
    readonly remote: AsyncReadable,
    document: JsonObject,
    objects: JsonObject,
    private readonly prefix = "",
  ) {
    const consolidated = document.consolidated_metadata as JsonObject | undefined;
    this.#nodes = (consolidated?.metadata ?? {}) as JsonObject;
    const entries = Object.entries(objects).filter(([, record]) => isRecord(record));
    this.#objects = new Map(
      entries.map(([key, record]) => [key.slice(prefix.length), record as [number, number]]),
    );
  }

  /** The metadata of an array, or undefined. */
  node(path: string): JsonObject | undefined {
    return Object.hasOwn(this.#nodes, path) ? (this.#nodes[path] as JsonObject) : undefined;
  }

  record(key: string): ObjectRecord | undefined {
    return this.#objects.get(key);
  }

  async get(path: AbsolutePath, options?: GetOptions): Promise<Uint8Array | undefined> {
    const key = path.slice(1);
    if (key.endsWith("/zarr.json")) {
      const node = this.node(key.slice(0, -"/zarr.json".length));
      return node && new TextEncoder().encode(JSON.stringify(node));
    }
    const chunk = this.chunks && key.startsWith(this.chunks.prefix);
    const record = chunk ? this.chunks!.object(key) : this.#objects.get(key);
    if (record === undefined) {
      if (chunk) return undefined;
      throw new DamageError("zarr.json", `it does not record ${key}`);
    }
    return check(this.prefix + key, await this.remote.get(path, options), record);
  }

  async getRange(
    path: AbsolutePath,
    range: RangeQuery,
    options?: GetOptions,
  ): Promise<Uint8Array | undefined> {
    const key = path.slice(1);
    if ("suffixLength" in range) return this.chunks?.index(key);
    const record = this.chunks?.part(key, range.offset);
    if (record === undefined)
      throw new DamageError(
        "integrity/embedding",
        `it does not record ${key} from byte ${range.offset} on`,
      );
    return check(
      `${key}, from byte ${range.offset} on,`,
      await this.remote.getRange!(path, range, options),
      record,
    );
  }
}

function isRecord(value: Json): boolean {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((number) => Number.isInteger(number) && Number(number) >= 0)
  );
}
