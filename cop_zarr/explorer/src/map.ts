/** The map: plate carrée, one image of cells, coastlines, graticule. */

import Feature from "ol/Feature";
import OlMap from "ol/Map";
import View from "ol/View";
import { defaults as defaultControls } from "ol/control/defaults";
import LineString from "ol/geom/LineString";
import Graticule from "ol/layer/Graticule";
import VectorLayer from "ol/layer/Vector";
import VectorSource from "ol/source/Vector";
import Fill from "ol/style/Fill";
import Stroke from "ol/style/Stroke";
import Style from "ol/style/Style";
import Text from "ol/style/Text";
import type { Grid } from "./grid";
import { RasterLayer } from "./raster";

export interface Palette {
  coast: string;
  grid: string;
  text: string;
  halo: string;
}

export class GlobeMap {
  readonly ol: OlMap;
  readonly raster: RasterLayer;
  readonly #coast = new VectorLayer({ source: new VectorSource({ wrapX: true }), updateWhileAnimating: false });
  #graticule: Graticule | undefined;

  constructor(target: HTMLElement, grid: Grid) {
    this.raster = new RasterLayer(grid);
    this.ol = new OlMap({
      target,
      controls: defaultControls({ attribution: false, rotate: false }),
      layers: [this.raster, this.#coast],
      view: new View({
        projection: "EPSG:4326",
        center: [0, 0],
        zoom: 1,
        minZoom: -1,
        maxZoom: 9,
        enableRotation: false,
        multiWorld: true,
        extent: [-1e9, -90, 1e9, 90],
        constrainOnlyCenter: true,
      }),
    });
  }

  /** Draw the coastlines of a file. */
  async loadCoastlines(url: string): Promise<void> {
    const lines = (await (await fetch(url)).json()) as number[][];
    for (const line of lines) {
      const points: number[][] = [];
      let [x, y] = [0, 0];
      for (let at = 0; at < line.length; at += 2) {
        x += line[at]!;
        y += line[at + 1]!;
        points.push([x / 20, y / 20]);
      }
      this.#coast.getSource()!.addFeature(new Feature(new LineString(points)));
    }
  }

  /** Take the colours of lines and labels. */
  paint(palette: Palette): void {
    this.#coast.setStyle(new Style({ stroke: new Stroke({ color: palette.coast, width: 1 }) }));
    if (this.#graticule) this.ol.removeLayer(this.#graticule);
    const label = () =>
      new Text({
        font: "11px system-ui, sans-serif",
        fill: new Fill({ color: palette.text }),
        stroke: new Stroke({ color: palette.halo, width: 3 }),
      });
    this.#graticule = new Graticule({
      strokeStyle: new Stroke({ color: palette.grid, width: 0.7 }),
      showLabels: true,
      wrapX: true,
      intervals: [60, 30, 10, 5, 2, 1],
      lonLabelStyle: label(),
      latLabelStyle: label(),
    });
    this.ol.getLayers().insertAt(1, this.#graticule);
  }
}

