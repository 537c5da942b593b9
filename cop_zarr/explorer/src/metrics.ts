/** Scores of vectors, with the bits that cop-zarr computes: sums in the order of NumPy's. */

export type Metric = "cosine" | "l2";

/** Most terms that are summed without being halved; NumPy's PW_BLOCKSIZE. */
const BLOCK = 128;

type Vector = Float32Array | Float64Array;
type Term = (a: Vector, b: Vector, band: number) => number;

const product: Term = (a, b, band) => a[band]! * b[band]!;
const squaredGap: Term = (a, b, band) => (a[band]! - b[band]!) * (a[band]! - b[band]!);

/** A function that sums the terms of some bands, pairwise. */
function pairwise(term: Term): (a: Vector, b: Vector, first: number, count: number) => number {
  return function sum(a, b, first, count): number {
    if (count > BLOCK) {
      const half = (count >> 1) - ((count >> 1) % 8);
      return sum(a, b, first, half) + sum(a, b, first + half, count - half);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = [0, 0, 0, 0, 0, 0, 0, 0];
    let band = first;
    for (const stop = first + count - (count % 8); band < stop; band += 8) {
      s0 += term(a, b, band);
      s1 += term(a, b, band + 1);
      s2 += term(a, b, band + 2);
      s3 += term(a, b, band + 3);
      s4 += term(a, b, band + 4);
      s5 += term(a, b, band + 5);
      s6 += term(a, b, band + 6);
      s7 += term(a, b, band + 7);
    }
    let found = s0 + s1 + (s2 + s3) + (s4 + s5 + (s6 + s7));
    for (const stop = first + count; band < stop; band++) found += term(a, b, band);
    return found;
  };
}

const sumProducts = pairwise(product);
const sumSquaredGaps = pairwise(squaredGap);

export function dot(a: Vector, b: Vector): number {
  return sumProducts(a, b, 0, a.length);
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
  const found = -Math.sqrt(sumSquaredGaps(vector, query, 0, vector.length));
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
