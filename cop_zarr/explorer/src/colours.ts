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
  for (let index = 0; index < cells.length; index++) {
    const at = 4 * cells[index]!;
    let known = true;
    pixels.fill(128, at, at + 3);
    channels.forEach(({ scores, low, high }, band) => {
      const value = scores[index]!;
      known &&= Number.isFinite(value);
      pixels[at + band] = high > low ? ((value - low) / (high - low)) * 255 : 128;
    });
    pixels[at + 3] = known ? 255 : 0;
  }
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
  const step = Math.ceil(scores.length / SAMPLE);
  const sorted = scores.filter((score, index) => index % step === 0 && Number.isFinite(score)).sort();
  if (sorted.length === 0) return [0, 1];
  const [low, high] = SCORE_RANGE;
  if (metric === "cosine") return [percentile(sorted, low), percentile(sorted, high)];
  return [percentile(sorted, 100 - low), percentile(sorted, 100 - high)];
}

/** Colours of scores, four bytes a cell; NaN is transparent. */
export function paintScores(
  scores: Float32Array,
  [low, high]: [number, number],
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * scores.length);
  for (let cell = 0; cell < scores.length; cell++) {
    if (Number.isNaN(scores[cell]!)) continue;
    const part = high === low ? 1 : Math.min(1, Math.max(0, (scores[cell]! - low) / (high - low)));
    const at = part * (RAMP.length - 1);
    const step = Math.min(RAMP.length - 2, Math.floor(at));
    for (let band = 0; band < 3; band++) {
      pixels[4 * cell + band] =
        RAMP[step]![band]! + (RAMP[step + 1]![band]! - RAMP[step]![band]!) * (at - step);
    }
    pixels[4 * cell + 3] = 255;
  }
  return pixels;
}

/** The ramp as a CSS gradient. */
export const RAMP_CSS = `linear-gradient(to right, ${RAMP.map((rgb) => `rgb(${rgb.join(" ")})`).join(", ")})`;
