/** A map layer that draws one image of the grid, sharp cells, in each copy of the world. */

import type { FrameState } from "ol/Map";
import Layer from "ol/layer/Layer";
import { gridBounds, type Grid } from "./grid";

export type ImageName = "colours" | "scores";

export class RasterLayer extends Layer {
  readonly #images: Partial<Record<ImageName, ImageBitmap>> = {};
  #chosen: ImageName = "colours";
  readonly #canvas = document.createElement("canvas");
  readonly #bounds: [number, number, number, number];

  constructor(private readonly grid: Grid) {
    super({});
    this.#bounds = gridBounds(grid);
    this.#canvas.style.position = "absolute";
    this.#canvas.className = "raster";
  }

  /** Take the colours of an image, four bytes a cell, or forget it. */
  async show(name: ImageName, pixels: Uint8ClampedArray<ArrayBuffer> | undefined): Promise<void> {
    const image =
      pixels && (await createImageBitmap(new ImageData(pixels, this.grid.cols, this.grid.rows)));
    if (image) this.#images[name] = image;
    else delete this.#images[name];
    this.changed();
  }

  /** Draw this image, or until it is there, the colours. */
  choose(name: ImageName): void {
    this.#chosen = name;
    this.changed();
  }

  get shown(): ImageName {
    return this.#images[this.#chosen] ? this.#chosen : "colours";
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
    const image = this.#images[this.shown];
    if (image === undefined) return this.#canvas;
    context.imageSmoothingEnabled = false;
    const scale = pixelRatio / viewState.resolution;
    const [west, south, east, north] = this.#bounds;
    const left = viewState.center[0]! - width / 2 / scale;
    const top = viewState.center[1]! + height / 2 / scale;
    for (let turn = Math.ceil((left - east) / 360); west + 360 * turn < left + width / scale; turn++) {
      const x = (west + 360 * turn - left) * scale;
      context.drawImage(image, x, (top - north) * scale, (east - west) * scale, (north - south) * scale);
    }
    return this.#canvas;
  }
}
