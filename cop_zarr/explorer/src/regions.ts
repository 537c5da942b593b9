/** Boxes and polygons that people draw: in unwrapped degrees, checked. */

import { ExplorerError } from "./errors";
import { modulo, normalLon } from "./grid";
import type { LonLat } from "./nearby";

/** A box (west, south, east, north; east may lie beyond 180), or a ring without its last point. */
export type Region =
  { kind: "box"; bounds: [number, number, number, number] } | { kind: "polygon"; ring: LonLat[] };

const DECIMALS = 5;
const MAX_VERTICES = 1000;

function rounded(value: number): number {
  return Number(value.toFixed(DECIMALS));
}

function clipLat(lat: number): number {
  return rounded(Math.max(-90, Math.min(90, lat)));
}

/** A box with its west edge within -180 … 180. */
export function makeBox(west: number, south: number, east: number, north: number): Region {
  const turned = normalLon(rounded(west));
  const width = rounded(east - west);
  const box: Region = {
    kind: "box",
    bounds: [rounded(turned), clipLat(south), rounded(turned + width), clipLat(north)],
  };
  if (
    ![west, south, east, north].every(Number.isFinite) ||
    !(width > 0 && width <= 360 && box.bounds[3] > box.bounds[1])
  ) {
    throw new ExplorerError(
      "A box is four numbers in degrees: west, south, east, north, with south below north.",
      "West may be greater than east: then it crosses 180°.",
    );
  }
  return box;
}

/** A polygon with its westernmost point within -180 … 180. */
export function makePolygon(points: LonLat[]): Region {
  let ring = points.map(([lon, lat]): LonLat => [rounded(lon), clipLat(lat)]);
  ring = ring.filter((point, index) => !samePoint(point, ring[modulo(index - 1, ring.length)]!));
  const west = Math.min(...ring.map(([lon]) => lon));
  const turn = normalLon(west) - west;
  ring = ring.map(([lon, lat]) => [rounded(lon + turn), lat]);
  const finite = ring.every((point) => point.every(Number.isFinite));
  const width = Math.max(...ring.map(([lon]) => lon)) - Math.min(...ring.map(([lon]) => lon));
  if (!finite || ring.length < 3 || ring.length > MAX_VERTICES || width > 360 || !(ringArea(ring) !== 0)) {
    throw new ExplorerError(
      `A polygon has 3 to ${MAX_VERTICES} corners, in degrees, within one turn of the globe.`,
      "Draw it again.",
    );
  }
  if (ring.some(([lon], index) => Math.abs(lon - ring[(index + 1) % ring.length]![0]) >= 180)) {
    throw new ExplorerError("An edge of the polygon is 180° long or more.", "Add a corner on the way.");
  }
  if (crossesItself(ring))
    throw new ExplorerError("The polygon crosses itself.", "Draw it so that no two edges cross.");
  return { kind: "polygon", ring };
}

function samePoint(a: LonLat, b: LonLat): boolean {
  return a !== b && a[0] === b[0] && a[1] === b[1];
}

/** Signed area in square degrees: positive if it goes round counterclockwise. */
export function ringArea(ring: LonLat[]): number {
  return ring.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = ring[(index + 1) % ring.length]!;
    return sum + (x * nextY - nextX * y) / 2;
  }, 0);
}

function crossesItself(ring: LonLat[]): boolean {
  const edges = ring.map((point, index) => [point, ring[(index + 1) % ring.length]!] as const);
  return edges.some(([a, b], first) =>
    edges.some(([c, d], second) => {
      const neighbours = second - first === 1 || (first === 0 && second === edges.length - 1);
      if (second <= first) return false;
      if (neighbours) return doublesBack(first === 0 && second !== 1 ? [c, a, b] : [a, b, d]);
      return meet(a, b, c, d);
    }),
  );
}

function side(a: LonLat, b: LonLat, point: LonLat): number {
  return Math.sign((b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]));
}

function doublesBack([a, b, c]: [LonLat, LonLat, LonLat]): boolean {
  const ahead = (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]);
  return side(a, b, c) === 0 && ahead < 0;
}

function meet(a: LonLat, b: LonLat, c: LonLat, d: LonLat): boolean {
  const [one, two, three, four] = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
  if (one !== two && three !== four) return true;
  const between = (from: LonLat, to: LonLat, point: LonLat) =>
    Math.min(from[0], to[0]) <= point[0] &&
    point[0] <= Math.max(from[0], to[0]) &&
    Math.min(from[1], to[1]) <= point[1] &&
    point[1] <= Math.max(from[1], to[1]);
  return (
    (one === 0 && between(a, b, c)) ||
    (two === 0 && between(a, b, d)) ||
    (three === 0 && between(c, d, a)) ||
    (four === 0 && between(c, d, b))
  );
}

/** West, south, east, north. */
export function regionBounds(region: Region): [number, number, number, number] {
  if (region.kind === "box") return region.bounds;
  const [lons, lats] = [region.ring.map(([lon]) => lon), region.ring.map(([, lat]) => lat)];
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}

/** Numbers in a text: four are a box, six or more the corners of a polygon. */
export function parseRegion(text: string): Region {
  const numbers = text
    .trim()
    .split(/[\s,;]+/)
    .map(Number);
  if (numbers.length === 4) {
    const [west, south, east, north] = numbers as [number, number, number, number];
    return makeBox(west, south, east < west ? east + 360 : east, north);
  }
  if (numbers.length < 6 || numbers.length % 2) {
    throw new ExplorerError(
      "A region is four numbers (west, south, east, north) or three or more corners (longitude, latitude).",
      "For example 100 20 120 40, or 100 20, 120 20, 110 40.",
    );
  }
  return makePolygon(
    Array.from({ length: numbers.length / 2 }, (_, at) => [numbers[2 * at]!, numbers[2 * at + 1]!]),
  );
}
