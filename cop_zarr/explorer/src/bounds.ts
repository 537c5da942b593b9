/**
 * Estimates of scores from principal components, and how far they may be off, without reading a vector.
 *
 * A vector is x = m + A'p + r: mean, axes times scores, and a remainder at right angles to all axes. The
 * lengths R of r and |x| are kept, so that r . m is known. Of a product with a query q, only
 * r . (q_r - t m_r) is not, where _r is what the axes leave of a vector, and t = 1 / |x|; it is at most
 * R |q_r - t m_r|.
 * cop_zarr/analysis/component_bounds.py derives the same bounds, and what rounding adds to them.
 */

import type { Components } from "./components";
import { dot, type Metric } from "./metrics";

/** Leading components that estimates are made of: 26 MB of scores for the published product.
 *
 * Measured on a stand-in of it: 16 more would spare less than a tenth of the chunks that are read.
 */
const MAX_COMPONENTS = 16;
const ROUNDOFF = 2 ** -24;
const MIN_SQUARE = 1e-20;

/** Keys of the cells with data as estimated, and by how much they may be larger or smaller. */
export interface Estimate {
  keys: Float64Array;
  margins: Float64Array;
}

/** What all queries need of the components of a store. */
export class ComponentBounds {
  private constructor(
    private readonly scores: Float32Array[],
    private readonly remainder: Float32Array,
    private readonly mean: Float64Array,
    private readonly axes: Float64Array[],
    /** Squared lengths of the scores, lengths of vectors, their products r . m, and the rounding of all. */
    private readonly squares: Float64Array,
    private readonly lengths: Float32Array,
    private readonly toMean: Float64Array,
    private readonly slack: Float64Array,
  ) {
    this.meanLeft = this.#project(mean).left;
  }

  private readonly meanLeft: Float64Array;

  static async read(components: Components): Promise<ComponentBounds> {
    const number = Math.min(components.leadingCounts.length, Math.ceil(MAX_COMPONENTS / 8)) - 1;
    const count = components.leadingCounts[number]!;
    const chunks = Array.from({ length: number + 1 }, (_, chunk) => components.scoresOfChunk(chunk));
    const [mean, allAxes, remainder, lengths, ...scores] = await Promise.all([
      components.mean(),
      components.axes(),
      components.remainder(number),
      components.length(),
      ...chunks,
    ]);
    const axes = Array.from({ length: count }, (_, axis) =>
      allAxes.subarray(axis * mean.length, (axis + 1) * mean.length),
    );
    const planes = scores.flat();
    const [squares, along] = [new Float64Array(lengths.length), new Float64Array(lengths.length)];
    planes.forEach((plane, axis) => {
      const meanAlong = dot(axes[axis]!, mean);
      for (let cell = 0; cell < plane.length; cell++) {
        squares[cell]! += plane[cell]! ** 2;
        along[cell]! += plane[cell]! * meanAlong;
      }
    });
    const rounding =
      2 ** -23 + Math.sqrt(2 * mean.length * (1 + 2 * Math.sqrt(components.count)) * 2 ** -53);
    const meanSquare = dot(mean, mean);
    const [toMean, slack] = [new Float64Array(lengths.length), new Float64Array(lengths.length)];
    for (let cell = 0; cell < lengths.length; cell++) {
      const distance = squares[cell]! + remainder[cell]! ** 2;
      toMean[cell] = (lengths[cell]! ** 2 - meanSquare - distance) / 2 - along[cell]!;
      slack[cell] = (rounding + 4 * (count + 8) * ROUNDOFF) * Math.sqrt(distance);
    }
    return new ComponentBounds(planes, remainder, mean, axes, squares, lengths, toMean, slack);
  }

  estimate(metric: Metric, query: Float64Array): Estimate {
    const found = metric === "cosine" ? this.#cosines(query) : this.#distances(query);
    found.keys.forEach((key, cell) => {
      if (!Number.isFinite(key + found.margins[cell]!)) found.margins[cell] = Infinity;
    });
    return found;
  }

  /** Products of the scores of all cells with those of a vector, and what the axes leave of the vector. */
  #project(vector: Float64Array): { along: number[]; left: Float64Array; products: Float64Array } {
    const along = this.axes.map((axis) => dot(axis, vector));
    const [left, products] = [Float64Array.from(vector), new Float64Array(this.lengths.length)];
    this.axes.forEach((axis, number) =>
      axis.forEach((value, band) => (left[band]! -= along[number]! * value)),
    );
    this.scores.forEach((plane, axis) => {
      const factor = along[axis]!;
      for (let cell = 0; cell < plane.length; cell++) products[cell]! += plane[cell]! * factor;
    });
    return { along, left, products };
  }

  #cosines(query: Float64Array): Estimate {
    const { left, products } = this.#project(query);
    const meanLeft = this.meanLeft;
    const [meanQuery, a, b, c] = [
      dot(this.mean, query),
      dot(meanLeft, meanLeft),
      dot(left, meanLeft),
      dot(left, left),
    ];
    const [keys, margins] = [new Float64Array(products.length), new Float64Array(products.length)];
    for (let cell = 0; cell < keys.length; cell++) {
      const t = this.lengths[cell]! ** 2 > MIN_SQUARE ? 1 / this.lengths[cell]! : NaN;
      const distance = Math.sqrt(this.squares[cell]! + this.remainder[cell]! ** 2);
      keys[cell] = (products[cell]! + meanQuery + this.toMean[cell]! * t) * t;
      const unknown = this.remainder[cell]! * Math.sqrt(Math.max(0, (a * t - 2 * b) * t + c)) * t;
      margins[cell] = unknown + (4 + 3 * t * distance) * t * this.slack[cell]! + 4 * ROUNDOFF;
    }
    return { keys, margins };
  }

  #distances(query: Float64Array): Estimate {
    const gap = query.map((value, band) => value - this.mean[band]!);
    const { along, left, products } = this.#project(gap);
    const [inPlane, beside] = [
      along.reduce((sum, value) => sum + value ** 2, 0),
      Math.sqrt(dot(left, left)),
    ];
    const length = Math.sqrt(dot(gap, gap));
    const [keys, margins] = [new Float64Array(products.length), new Float64Array(products.length)];
    for (let cell = 0; cell < keys.length; cell++) {
      const apart = this.squares[cell]! - 2 * products[cell]! + inPlane;
      const rest = this.remainder[cell]!;
      const rounding = 8 * (along.length + 8) * ROUNDOFF * (Math.sqrt(this.squares[cell]!) + length) ** 2;
      const nearest =
        Math.sqrt(Math.max(0, apart + (rest - beside) ** 2 - rounding)) - 2 * this.slack[cell]!;
      const farthest =
        Math.sqrt(Math.max(0, apart + (rest + beside) ** 2 + rounding)) + 2 * this.slack[cell]!;
      const middle = Math.sqrt(Math.max(0, apart + rest ** 2 + beside ** 2));
      keys[cell] = -middle;
      margins[cell] = Math.max(middle - Math.max(0, nearest), farthest - middle);
    }
    return { keys, margins };
  }
}
