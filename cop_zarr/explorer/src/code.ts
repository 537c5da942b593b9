/** The line of Python, and the command, that give what the page shows. */

import type { PlacesQuery } from "./calls";
import { STEP_DEG } from "./grid";
import { regionBounds, type Region } from "./regions";

/** A query refuses a box narrower or lower than this, less than a cell, unless told what to do. */
const SUBPIXEL_DEG = STEP_DEG * (1 - 1e-6);

function isSubpixel(region: Region): boolean {
  const [west, south, east, north] = regionBounds(region);
  return east - west < SUBPIXEL_DEG || north - south < SUBPIXEL_DEG;
}

/** GeoJSON of a region; a box over 180° runs on beyond it. */
export function regionGeometry(region: Region): { type: "Polygon"; coordinates: number[][][] } {
  const [west, south, east, north] = regionBounds(region);
  const corners =
    region.kind === "polygon"
      ? region.ring
      : [
          [west, south],
          [east, south],
          [east, north],
          [west, north],
        ];
  return { type: "Polygon", coordinates: [[...corners, corners[0]!]] };
}

/** A box as `query` takes it: east is less than west if it crosses 180°. */
function boxNumbers(region: Region): number[] {
  const [west, south, east, north] = regionBounds(region);
  return [west, south, east > 180 && east - west < 360 ? Number((east - 360).toFixed(5)) : east, north];
}

function pythonRegion(region: Region): string {
  if (region.kind === "box") return `(${boxNumbers(region).join(", ")})`;
  return JSON.stringify(regionGeometry(region)).replaceAll(/([,:])(?=\S)/g, "$1 ");
}

export function queryPython(region: Region): string {
  const subpixel = isSubpixel(region) ? ', subpixel="touch"' : "";
  return `store.query(${pythonRegion(region)}, weights="coverage", empty="skip"${subpixel})`;
}

export function queryCommand(region: Region, store: string): string {
  const options = `--weights coverage --empty skip${isSubpixel(region) ? " --subpixel touch" : ""}`;
  if (region.kind === "box") {
    return `cop-zarr query ${quote(store)} --bbox ${boxNumbers(region).join(" ")} ${options}`;
  }
  const geometry = quote(JSON.stringify(regionGeometry(region)));
  return `echo ${geometry} | cop-zarr query ${quote(store)} --geojson - ${options}`;
}

export function similarPython(asked: PlacesQuery): string {
  const list = (places: number[][]) => `[${places.map((place) => `(${place.join(", ")})`).join(", ")}]`;
  const parts = [
    list(asked.likes),
    asked.unlikes.length > 0 && `negatives=${list(asked.unlikes)}`,
    `k=${asked.count}`,
    asked.metric !== "cosine" && `metric="${asked.metric}"`,
    asked.excludeKm > 0 && `exclude_km=${asked.excludeKm}`,
  ];
  return `store.similar(${parts.filter(Boolean).join(", ")})`;
}

export function similarCommand(asked: PlacesQuery, store: string): string {
  const parts = [
    `cop-zarr similar ${quote(store)}`,
    ...asked.likes.map((place) => `--point ${place.join(" ")}`),
    ...asked.unlikes.map((place) => `--not-point ${place.join(" ")}`),
    `-k ${asked.count}`,
    asked.metric !== "cosine" && `--metric ${asked.metric}`,
    asked.excludeKm > 0 && `--exclude-km ${asked.excludeKm}`,
  ];
  return parts.filter(Boolean).join(" ");
}

/** A word for the shell. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}
