/** Scores to colours. */

/** Percentiles of sorted values, interpolated linearly as NumPy does. */
export function percentile(sorted: Float32Array, percent: number): number {
  const at = (percent / 100) * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}

/** One component as a channel, and the scores at its ends. */
export interface Channel {
  scores: Float32Array;
  low: number;
  high: number;
}

export function channel(scores: Float32Array, range: [number, number]): Channel {
  const sorted = scores.filter(Number.isFinite).sort();
  if (sorted.length === 0) return { scores, low: 0, high: 0 };
  return { scores, low: percentile(sorted, range[0]), high: percentile(sorted, range[1]) };
}

/** Colours of a grid, four bytes a cell; cells without data, or without finite scores, are transparent.
 *
 * A channel that has no range, or is missing, is 128.
 */
export function paint(
  size: number,
  cells: Int32Array,
  channels: Channel[],
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * size);
  for (const cell of cells) pixels.fill(128, 4 * cell, 4 * cell + 3).fill(255, 4 * cell + 3, 4 * cell + 4);
  channels.forEach(({ scores, low, high }, band) => {
    for (let index = 0; index < cells.length; index++) {
      const [at, value] = [4 * cells[index]!, scores[index]!];
      if (!Number.isFinite(value)) pixels[at + 3] = 0;
      else if (high > low) pixels[at + band] = ((value - low) / (high - low)) * 255;
    }
  });
  return pixels;
}

/** Percentiles of the scores between which a map of scores has its colours. */
const SCORE_RANGE: [number, number] = [2, 99.95];

/** Viridis at equal steps (of matplotlib, CC0), dark for unlike. */
const RAMP = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [109, 205, 89],
  [180, 222, 44],
  [253, 231, 37],
] as const;

/** Of so many cells at most the percentiles are taken, at equal steps among all. */
const SAMPLE = 50_000;

/** The scores of the darkest and of the brightest colour. */
export function scoreRange(scores: Float32Array, metric: "cosine" | "l2"): [number, number] {
  const step = Math.max(1, Math.ceil(scores.length / SAMPLE));
  const some = Float32Array.from(
    { length: Math.ceil(scores.length / step) },
    (_, at) => scores[at * step]!,
  );
  const sorted = some.filter(Number.isFinite).sort();
  if (sorted.length === 0) return [0, 1];
  const [low, high] = SCORE_RANGE;
  if (metric === "cosine") return [percentile(sorted, low), percentile(sorted, high)];
  return [percentile(sorted, 100 - low), percentile(sorted, 100 - high)];
}

/** The ramp in 256 steps, each as the four bytes of a pixel. */
const STEPS = Uint32Array.from({ length: 256 }, (_, step) => {
  const at = (step / 255) * (RAMP.length - 1);
  const [below, above] = [RAMP[Math.floor(at)]!, RAMP[Math.min(RAMP.length - 1, Math.floor(at) + 1)]!];
  const colour = below.map((value, band) => Math.round(value + (above[band]! - value) * (at % 1)));
  return new Uint32Array(Uint8Array.from([...colour, 255]).buffer)[0]!;
});

/** Colours of scores, four bytes a cell; NaN is transparent. */
export function paintScores(
  scores: Float32Array,
  [low, high]: [number, number],
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint32Array(scores.length);
  const scale = high === low ? 0 : 255 / (high - low);
  for (let cell = 0; cell < scores.length; cell++) {
    const score = scores[cell]!;
    if (score !== score) continue; // NaN
    pixels[cell] = STEPS[Math.max(0, Math.min(255, Math.round((score - low) * scale)))]!;
  }
  return new Uint8ClampedArray(pixels.buffer);
}

/** The ramp as a CSS gradient. */
export const RAMP_CSS = `linear-gradient(to right, ${RAMP.map((rgb) => `rgb(${rgb.join(" ")})`).join(", ")})`;
