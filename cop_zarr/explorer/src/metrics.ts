/** Scores of vectors, with the bits that cop-zarr computes: sums in the order of NumPy's. */

export type Metric = "cosine" | "l2";

/** Most terms that are summed without being halved; NumPy's PW_BLOCKSIZE. */
const BLOCK = 128;

/** The sum of `term(first) … term(first + count - 1)`, pairwise. */
function pairwise(term: (index: number) => number, first: number, count: number): number {
  if (count < 8) {
    let sum = 0;
    for (let index = first; index < first + count; index++) sum += term(index);
    return sum;
  }
  if (count > BLOCK) {
    const half = (count >> 1) - ((count >> 1) % 8);
    return pairwise(term, first, half) + pairwise(term, first + half, count - half);
  }
  const sums = Array.from({ length: 8 }, (_, lane) => term(first + lane)) as number[];
  let index = first + 8;
  for (const stop = first + count - (count % 8); index < stop; index += 8) {
    for (let lane = 0; lane < 8; lane++) sums[lane]! += term(index + lane);
  }
  const [a, b, c, d, e, f, g, h] = sums as [number, number, number, number, number, number, number, number];
  let sum = a + b + (c + d) + (e + f + (g + h));
  for (; index < first + count; index++) sum += term(index);
  return sum;
}

type Vector = Float32Array | Float64Array;

export function dot(a: Vector, b: Vector): number {
  return pairwise((band) => a[band]! * b[band]!, 0, a.length);
}

export function unit(vector: Vector): Float64Array {
  const length = Math.sqrt(dot(vector, vector));
  return Float64Array.from(vector, (value) => value / length);
}

/** The key of a vector, the larger the better; NaN if it never matches. */
export function key(metric: Metric, vector: Vector, query: Float64Array): number {
  if (metric === "cosine") {
    return Math.min(1, Math.max(-1, dot(vector, query) / Math.sqrt(dot(vector, vector))));
  }
  const found = -Math.sqrt(pairwise((band) => square(vector[band]! - query[band]!), 0, vector.length));
  return Number.isFinite(found) ? found : NaN;
}

/** What a key is called where people see it. */
export function score(metric: Metric, found: number): number {
  return metric === "cosine" ? found : -found;
}

export function meanOf(vectors: Vector[]): Float64Array {
  const sum = new Float64Array(vectors[0]!.length);
  for (const vector of vectors) vector.forEach((value, band) => (sum[band]! += value));
  return sum.map((value) => value / vectors.length);
}

/** The query that likes and unlikes make; undefined if they cancel each other. */
export function combine(metric: Metric, likes: Vector[], unlikes: Vector[]): Float64Array | undefined {
  if (metric === "l2") return meanOf(likes);
  let query = meanOf(likes.map(unit));
  if (unlikes.length > 0) {
    const others = meanOf(unlikes.map(unit));
    query = query.map((value, band) => value - others[band]!);
  }
  return query.some((value) => Math.abs(value) > 1e-12) ? unit(query) : undefined;
}

function square(value: number): number {
  return value * value;
}
