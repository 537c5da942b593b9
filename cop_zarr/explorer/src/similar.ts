/** Similar places: what is asked, the map of estimates, the exact list. */

import { ComponentBounds, type Estimate } from "./bounds";
import type { PlacesQuery, ScoreMap, SimilarPlace } from "./calls";
import type { ChunkReader } from "./chunks";
import { paintScores, scoreRange } from "./colours";
import type { Components } from "./components";
import { ExplorerError } from "./errors";
import { cellAt, cellCentre } from "./grid";
import { combine, score, type Metric } from "./metrics";
import { markNear, type LonLat } from "./nearby";
import { Search } from "./search";
import type { Store } from "./store";

/** A question, and what is known of its answer. */
interface Asked {
  query: Float64Array;
  estimate: Estimate;
}

/** Questions that are remembered, 6 MB each. */
const MAX_ASKED = 4;

export class Similar {
  #bounds: Promise<ComponentBounds> | undefined;
  readonly #asked = new Map<string, Asked>();

  constructor(
    private readonly store: Store,
    private readonly components: Components,
  ) {}

  /** The scores of all cells, exact where vectors have been read. */
  async map(asked: PlacesQuery, signal: AbortSignal): Promise<ScoreMap> {
    const { estimate } = await this.#ask(asked, signal);
    const size = this.store.grid.rows * this.store.grid.cols;
    const [scores, margins] = [new Float32Array(size).fill(NaN), new Float32Array(size)];
    const { cells } = this.store;
    const found = new Float32Array(cells.length);
    for (let number = 0; number < cells.length; number++) {
      found[number] = score(asked.metric, estimate.keys[number]!);
      scores[cells[number]!] = found[number]!;
      margins[cells[number]!] = estimate.margins[number]!;
    }
    const range = scoreRange(found, asked.metric);
    return { scores, margins, range, pixels: paintScores(scores, range) };
  }

  /** The places with the best scores, the best first. */
  async places(
    asked: PlacesQuery,
    signal: AbortSignal,
    progress: (chunks: number) => void,
  ): Promise<SimilarPlace[]> {
    const reader = await this.store.reader();
    const { query, estimate } = await this.#ask(asked, signal);
    const left = new Uint8Array(this.store.valid.length);
    if (asked.excludeKm > 0)
      for (const like of asked.likes) markNear(left, this.store.grid, like, asked.excludeKm);
    const search = new Search(this.store, reader, asked.metric, query, estimate, left);
    const found = await search.best(asked.count, signal, progress);
    return found.map(({ cell, key }) => {
      const [lon, lat] = cellCentre(this.store.grid, cell);
      return { lon, lat, score: score(asked.metric, key) };
    });
  }

  async #ask(asked: PlacesQuery, signal: AbortSignal): Promise<Asked> {
    const text = JSON.stringify([asked.likes, asked.unlikes, asked.metric]);
    const known = this.#asked.get(text);
    if (known !== undefined) return known;
    const reading = (this.#bounds ??= ComponentBounds.read(this.components).catch((error) => {
      this.#bounds = undefined;
      throw error;
    }));
    const [bounds, [likes, unlikes]] = await Promise.all([reading, this.#likesAndUnlikes(asked, signal)]);
    signal.throwIfAborted();
    const query = this.#combined(asked.metric, likes, unlikes);
    const found = { query, estimate: bounds.estimate(asked.metric, query) };
    this.#asked.set(text, found);
    if (this.#asked.size > MAX_ASKED) this.#asked.delete(this.#asked.keys().next().value!);
    return found;
  }

  async #likesAndUnlikes(
    asked: PlacesQuery,
    signal: AbortSignal,
  ): Promise<[Float32Array[], Float32Array[]]> {
    const reader = await this.store.reader();
    return Promise.all([
      this.#vectors(reader, asked.likes, signal),
      this.#vectors(reader, asked.unlikes, signal),
    ]);
  }

  #combined(metric: Metric, likes: Float32Array[], unlikes: Float32Array[]): Float64Array {
    if (metric === "l2" && unlikes.length > 0) {
      throw new ExplorerError(
        "Unlike places cannot be combined with the metric l2.",
        "Choose cosine, or remove them.",
      );
    }
    const query = combine(metric, likes, unlikes);
    if (query === undefined || query.some(Number.isNaN)) {
      throw new ExplorerError(
        "The places leave no direction to be like.",
        "Remove one, or choose another.",
      );
    }
    return query;
  }

  async #vectors(reader: ChunkReader, places: LonLat[], signal: AbortSignal): Promise<Float32Array[]> {
    const { grid, valid } = this.store;
    const found = new Array<Float32Array>(places.length);
    const cells = places.map(([lon, lat]) => {
      const cell = cellAt(grid, lon, lat);
      if (valid[cell]) return cell;
      throw new ExplorerError(`There is no data at ${lon}, ${lat}.`, "Choose a cell that has colours.");
    });
    const take = (chunk: number, values: Float32Array) =>
      cells.forEach((cell, place) => {
        if (reader.chunkOf(cell) === chunk) found[place] = reader.vectorOf(cell, values).slice();
      });
    await reader.map([...new Set(cells.map((cell) => reader.chunkOf(cell)))], take, signal);
    return found;
  }
}
