/** What the page asks its worker, and what the worker answers. */

import type { Grid } from "./grid";

/** What is known of a store once it is open. */
export interface StoreInfo {
  grid: Grid;
  bands: number;
  title: string;
  synthetic: boolean;
  valid: Uint8Array;
  /** Cells with data. */
  cells: number;
  /** Components kept. */
  components: number;
}

export interface Calls {
  open(storeUrl: string, componentsUrl: string): Promise<StoreInfo>;
  /** Colours of three components, counted from 0, between two percentiles. */
  colours(components: number[], range: [number, number]): Promise<ImageBitmap>;
  /** Compare what the first colours were made of with its checksum. */
  checkColours(): Promise<void>;
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
