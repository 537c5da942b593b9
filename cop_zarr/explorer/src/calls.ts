/** What the page asks its worker, and what the worker answers. */

import type { Grid } from "./grid";
import type { Metric } from "./metrics";
import type { LonLat } from "./nearby";
import type { Region } from "./regions";

/** What is known of a store once it is open. */
export interface StoreInfo {
  grid: Grid;
  bands: number;
  title: string;
  synthetic: boolean;
  /** 1 where a cell has data, row by row. */
  valid: Uint8Array;
  /** Cells with data. */
  cells: number;
  /** Components kept. */
  components: number;
}

export interface PlacesQuery {
  likes: LonLat[];
  unlikes: LonLat[];
  metric: Metric;
  excludeKm: number;
  count: number;
}

/** Scores of the whole grid, NaN without data, how far they may be off (0: exact), and their colours. */
export interface ScoreMap {
  scores: Float32Array;
  margins: Float32Array;
  range: [number, number];
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

export interface SimilarPlace {
  lon: number;
  lat: number;
  score: number;
}

export interface RegionVector {
  /** NaN without any data. */
  vector: Float32Array;
  validCells: number;
  totalCells: number;
}

export interface Calls {
  open(storeUrl: string, componentsUrl: string): Promise<StoreInfo>;
  /** Share of the variance along each component. */
  varianceRatio(): Promise<Float64Array>;
  /** Colours of three components, counted from 0, between two percentiles: four bytes a cell. */
  colours(components: number[], range: [number, number]): Promise<Uint8ClampedArray<ArrayBuffer>>;
  /** Compare what the first colours were made of with its checksum. */
  checkColours(): Promise<void>;
  scoreMap(asked: PlacesQuery): Promise<ScoreMap>;
  places(asked: PlacesQuery): Promise<SimilarPlace[]>;
  regionVector(region: Region): Promise<RegionVector>;
  /** End what is being read for places, or for a region. */
  stop(what: "places" | "region"): Promise<void>;
}

export interface Request {
  id: number;
  call: keyof Calls;
  args: unknown[];
}

export type Answer =
  | { kind: "value"; id: number; value: unknown }
  | { kind: "error"; id: number; message: string; next: string; cancelled: boolean }
  | { kind: "progress"; text: string }
  | { kind: "loaded"; bytes: number };
