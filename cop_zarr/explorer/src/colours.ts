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

/** Colours of a grid, four bytes a cell; cells without data, or without finite scores, are transparent. */
export function paint(size: number, cells: Int32Array, channels: Channel[]): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * size);
  for (let index = 0; index < cells.length; index++) {
    const at = 4 * cells[index]!;
    let known = true;
    channels.forEach(({ scores, low, high }, band) => {
      const value = scores[index]!;
      known &&= Number.isFinite(value);
      pixels[at + band] = high > low ? ((value - low) / (high - low)) * 255 : 128;
    });
    pixels[at + 3] = known ? 255 : 0;
  }
  return pixels;
}
