/** What the page shows, all of it, as the fragment of its address. */

import type { Metric } from "./metrics";
import type { LonLat } from "./nearby";
import { makeBox, makePolygon, type Region } from "./regions";
import { normalLon } from "./grid";

export type Theme = "system" | "light" | "dark";
export type Layer = "similarity" | "colours";

export interface State {
  lon: number;
  lat: number;
  /** Undefined: the whole store fits. */
  zoom: number | undefined;
  /** Three components for red, green and blue, counted from 1. */
  components: [number, number, number];
  /** Percentiles of scores that are darkest and brightest. */
  range: [number, number];
  theme: Theme;
  likes: LonLat[];
  unlikes: LonLat[];
  metric: Metric;
  excludeKm: number;
  layer: Layer;
  region: Region | undefined;
}

export const MAX_PLACES = 50;
const MAX_KM = 20_100; // half around the globe

export const DEFAULTS: State = {
  lon: 0,
  lat: 0,
  zoom: undefined,
  components: [1, 2, 3],
  range: [2, 98],
  theme: "system",
  likes: [],
  unlikes: [],
  metric: "cosine",
  excludeKm: 0,
  layer: "similarity",
  region: undefined,
};

type Reader = (text: string) => Partial<State> | undefined;

function numbers(text: string): number[] | undefined {
  const found = text.split(/[,;]/).map((part) => (part.trim() === "" ? NaN : Number(part)));
  return found.every(Number.isFinite) ? found : undefined;
}

function within(value: number | undefined, low: number, high: number): value is number {
  return value !== undefined && value >= low && value <= high;
}

function pairs(text: string): LonLat[] | undefined {
  const found = numbers(text);
  if (found === undefined || found.length % 2 || found.length > 2 * MAX_PLACES) return undefined;
  const points = Array.from({ length: found.length / 2 }, (_, at): LonLat => [
    found[2 * at]!,
    found[2 * at + 1]!,
  ]);
  return points.every(([lon, lat]) => within(lon, -540, 540) && within(lat, -90, 90)) ? points : undefined;
}

function places(text: string): LonLat[] | undefined {
  return pairs(text)?.map(([lon, lat]) => [normalLon(lon), lat]);
}

function polygon(text: string): Region | undefined {
  const found = numbers(text);
  if (found === undefined || found.length % 2) return undefined;
  return makePolygon(
    Array.from({ length: found.length / 2 }, (_, at): LonLat => [found[2 * at]!, found[2 * at + 1]!]),
  );
}

function oneNumber(name: "lon" | "lat" | "zoom" | "excludeKm", low: number, high: number): Reader {
  return (text) => {
    const found = numbers(text);
    return found?.length === 1 && within(found[0], low, high) ? { [name]: found[0] } : undefined;
  };
}

function oneWord<Name extends "theme" | "metric" | "layer">(name: Name, ...words: State[Name][]): Reader {
  return (text) => (words.includes(text as State[Name]) ? { [name]: text } : undefined);
}

const READERS: Record<string, Reader> = {
  lon: oneNumber("lon", -180, 180),
  lat: oneNumber("lat", -90, 90),
  zoom: oneNumber("zoom", -1, 9),
  components: (text) => {
    const found = numbers(text);
    const good = found?.length === 3 && found.every((one) => Number.isInteger(one) && one >= 1);
    return good ? { components: found as [number, number, number] } : undefined;
  },
  range: (text) => {
    const found = numbers(text);
    const good = found?.length === 2 && 0 <= found[0]! && found[0]! < found[1]! && found[1]! <= 100;
    return good ? { range: found as [number, number] } : undefined;
  },
  theme: oneWord("theme", "light", "dark"),
  like: (text) => {
    const likes = places(text);
    return likes && { likes };
  },
  unlike: (text) => {
    const unlikes = places(text);
    return unlikes && { unlikes };
  },
  metric: oneWord("metric", "cosine", "l2"),
  exclude_km: oneNumber("excludeKm", 0, MAX_KM),
  show: oneWord("layer", "similarity", "colours"),
  box: (text) => {
    const found = numbers(text);
    return found?.length === 4
      ? { region: makeBox(found[0]!, found[1]!, found[2]!, found[3]!) }
      : undefined;
  },
  polygon: (text) => {
    const region = polygon(text);
    return region && { region };
  },
};

/** The state that a fragment says, and the parts of it that say nothing. */
export function parseState(fragment: string): { state: State; ignored: string[] } {
  const state = { ...DEFAULTS };
  const ignored: string[] = [];
  for (const part of fragment.replace(/^#/, "").split("&").filter(Boolean)) {
    const [name, ...rest] = part.split("=");
    const found = readPart(name!, rest.join("="));
    if (found === undefined) ignored.push(part.length > 60 ? `${part.slice(0, 60)}…` : part);
    else Object.assign(state, found);
  }
  if (state.likes.length === 0) state.unlikes = [];
  return { state, ignored };
}

function readPart(name: string, text: string): Partial<State> | undefined {
  try {
    return Object.hasOwn(READERS, name) ? READERS[name]!(decodeURIComponent(text)) : undefined;
  } catch {
    return undefined;
  }
}

function pointsText(points: LonLat[]): string {
  return points.map((point) => point.join(",")).join(";");
}

/** The fragment that says a state; what is as by default is left out. */
export function formatState(state: State): string {
  const parts: [string, string | false][] = [
    ["lon", state.zoom !== undefined && String(state.lon)],
    ["lat", state.zoom !== undefined && String(state.lat)],
    ["zoom", state.zoom !== undefined && String(state.zoom)],
    ["components", String(state.components) !== String(DEFAULTS.components) && state.components.join(",")],
    ["range", String(state.range) !== String(DEFAULTS.range) && state.range.join(",")],
    ["theme", state.theme !== DEFAULTS.theme && state.theme],
    ["like", state.likes.length > 0 && pointsText(state.likes)],
    ["unlike", state.unlikes.length > 0 && pointsText(state.unlikes)],
    ["metric", state.metric !== DEFAULTS.metric && state.metric],
    ["exclude_km", state.excludeKm !== DEFAULTS.excludeKm && String(state.excludeKm)],
    ["show", state.layer !== DEFAULTS.layer && state.layer],
    ["box", state.region?.kind === "box" && state.region.bounds.join(",")],
    ["polygon", state.region?.kind === "polygon" && pointsText(state.region.ring)],
  ];
  return parts
    .filter(([, text]) => text !== false)
    .map(([name, text]) => `${name}=${text}`)
    .join("&");
}
