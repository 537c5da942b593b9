/** The vector of a region as files. */

import type { RegionVector } from "./calls";
import { queryPython, regionGeometry } from "./code";
import { regionBounds, type Region } from "./regions";

export interface Download {
  name: string;
  type: string;
  text: string;
}

/** Shortest decimals that are the same float32. */
export function float32Text(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(Number(value.toPrecision(9)));
}

/** Numbers as JSON has them: null for NaN. */
function jsonNumbers(vector: Float32Array): string {
  const texts = Array.from(vector, (value) => (Number.isFinite(value) ? float32Text(value) : "null"));
  return `[${texts.join(", ")}]`;
}

function properties(region: Region, found: RegionVector, store: string): string {
  const facts = {
    store,
    query: queryPython(region),
    bbox_4326: regionBounds(region),
    valid_cells: found.validCells,
    total_cells: found.totalCells,
    weights: "coverage",
    empty: "skip",
    pooling: "mean",
  };
  return `${JSON.stringify(facts).slice(0, -1)}, "vector": ${jsonNumbers(found.vector)}}`;
}

export function asJson(region: Region, found: RegionVector, store: string): Download {
  return { name: "region.json", type: "application/json", text: `${properties(region, found, store)}\n` };
}

export function asCsv(found: RegionVector): Download {
  const rows = Array.from(
    found.vector,
    (value, band) => `${band},${Number.isFinite(value) ? float32Text(value) : ""}`,
  );
  return { name: "region.csv", type: "text/csv", text: `band,value\n${rows.join("\n")}\n` };
}

export function asGeoJson(region: Region, found: RegionVector, store: string): Download {
  const geometry = JSON.stringify(regionGeometry(region));
  const facts = properties(region, found, store);
  const text = `{"type": "Feature", "geometry": ${geometry}, "properties": ${facts}}\n`;
  return { name: "region.geojson", type: "application/geo+json", text };
}

export function save({ name, type, text }: Download): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // a slow browser begins to read it later
}
