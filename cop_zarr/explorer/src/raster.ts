/** A map layer that draws one image of the grid, sharp cells, in each copy of the world. */

import type { FrameState } from "ol/Map";
import Layer from "ol/layer/Layer";
import { gridBounds, type Grid } from "./grid";

export class RasterLayer extends Layer {
  image: ImageBitmap | undefined;
  readonly #canvas = document.createElement("canvas");
  readonly #bounds: [number, number, number, number];

  constructor(grid: Grid) {
    super({});
    this.#bounds = gridBounds(grid);
    this.#canvas.style.position = "absolute";
    this.#canvas.className = "raster";
  }

  show(image: ImageBitmap | undefined): void {
    this.image = image;
    this.changed();
  }

  override render(frame: FrameState | null): HTMLElement {
    if (frame === null) return this.#canvas;
    const { size, pixelRatio, viewState } = frame;
    const [width, height] = [Math.round(size[0]! * pixelRatio), Math.round(size[1]! * pixelRatio)];
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      Object.assign(this.#canvas, { width, height });
      Object.assign(this.#canvas.style, { width: `${size[0]}px`, height: `${size[1]}px` });
    }
    const context = this.#canvas.getContext("2d")!;
    context.clearRect(0, 0, width, height);
    if (this.image === undefined) return this.#canvas;
    context.imageSmoothingEnabled = false;
    const scale = pixelRatio / viewState.resolution;
    const [west, south, east, north] = this.#bounds;
    const left = viewState.center[0]! - width / 2 / scale;
    const top = viewState.center[1]! + height / 2 / scale;
    for (let turn = Math.ceil((left - east) / 360); west + 360 * turn < left + width / scale; turn++) {
      const x = (west + 360 * turn - left) * scale;
      context.drawImage(this.image, x, (top - north) * scale, (east - west) * scale, (north - south) * scale);
    }
    return this.#canvas;
  }
}
