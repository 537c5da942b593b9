/** The map: plate carrée, one image of cells, coastlines, graticule. */

import Feature from "ol/Feature";
import OlMap from "ol/Map";
import View from "ol/View";
import { defaults as defaultControls } from "ol/control/defaults";
import LineString from "ol/geom/LineString";
import { defaults as defaultInteractions } from "ol/interaction/defaults";
import Graticule from "ol/layer/Graticule";
import VectorLayer from "ol/layer/Vector";
import VectorSource from "ol/source/Vector";
import Fill from "ol/style/Fill";
import Stroke from "ol/style/Stroke";
import Style from "ol/style/Style";
import Text from "ol/style/Text";
import { gridBounds, normalLon, type Grid } from "./grid";
import type { LonLat } from "./nearby";
import { RasterLayer } from "./raster";

export interface MapView {
  lon: number;
  lat: number;
  zoom: number | undefined;
}

const LIGHT = { coast: "#1c2226b0", grid: "#00000030", text: "#2b3338", halo: "#ffffffd0" };
const DARK = { coast: "#e6ebeea0", grid: "#ffffff30", text: "#cdd6db", halo: "#0d1114d0" };
/** A fifth of a degree takes so many pixels at the closest: a cell is 64 wide. */
const CLOSEST = 9;

export class GlobeMap {
  /** Called when the map comes to rest somewhere else than it was told to. */
  onMoved: (view: MapView) => void = () => {};
  readonly ol: OlMap;
  readonly raster: RasterLayer;
  readonly #coast = new VectorLayer({ source: new VectorSource({ wrapX: true }) });
  #graticule: Graticule | undefined;
  #told = "";

  constructor(
    target: HTMLElement,
    private readonly grid: Grid,
  ) {
    this.raster = new RasterLayer(grid);
    this.ol = new OlMap({
      target,
      controls: defaultControls({ attribution: false, rotate: false }),
      interactions: defaultInteractions({
        altShiftDragRotate: false,
        pinchRotate: false,
        doubleClickZoom: false,
      }),
      layers: [this.raster, this.#coast],
      view: new View({
        projection: "EPSG:4326",
        center: [0, 0],
        zoom: 1,
        minZoom: -1,
        maxZoom: CLOSEST,
        enableRotation: false,
        multiWorld: true,
        extent: [-1e9, -90, 1e9, 90],
        constrainOnlyCenter: true,
      }),
    });
    this.ol.on("moveend", () => {
      if (this.#view() !== this.#told) this.onMoved(JSON.parse(this.#view()) as MapView);
    });
  }

  #view(): string {
    const view = this.ol.getView();
    const [lon, lat] = view.getCenter()!;
    const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
    return JSON.stringify({
      lon: rounded(normalLon(lon!), 4),
      lat: rounded(lat!, 4),
      zoom: rounded(view.getZoom()!, 2),
    });
  }

  /** Go where a state says; without a zoom, the whole store is shown. */
  setView({ lon, lat, zoom }: MapView): void {
    const view = this.ol.getView();
    if (zoom === undefined) {
      const [west, south, east, north] = gridBounds(this.grid);
      view.fit([west, Math.max(-90, south), east, Math.min(90, north)], {
        size: this.ol.getSize() ?? [800, 400],
      });
    } else {
      view.setCenter([lon, lat]);
      view.setZoom(zoom);
    }
    this.#told = this.#view();
  }

  /** Move to a place on the copy of the world that is looked at. */
  goTo([lon, lat]: LonLat): void {
    const view = this.ol.getView();
    const here = view.getCenter()![0]!;
    const there = lon + 360 * Math.round((here - lon) / 360);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    view.animate({ center: [there, lat], zoom: Math.max(view.getZoom()!, 3), duration: still ? 0 : 400 });
  }

  /** Draw the coastlines of a file. */
  async loadCoastlines(url: string): Promise<void> {
    const lines = (await (await fetch(url)).json()) as number[][];
    const features = lines.map((line) => {
      const points: number[][] = [];
      let [x, y] = [0, 0];
      for (let at = 0; at < line.length; at += 2) {
        x += line[at]!;
        y += line[at + 1]!;
        points.push([x / 20, y / 20]);
      }
      return new Feature(new LineString(points));
    });
    this.#coast.getSource()!.addFeatures(features);
  }

  /** Take the colours of lines and labels from the page's theme. */
  paint(): void {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    const palette = dark ? DARK : LIGHT;
    this.#coast.setStyle(new Style({ stroke: new Stroke({ color: palette.coast, width: 1 }) }));
    if (this.#graticule) this.ol.removeLayer(this.#graticule);
    const label = (textBaseline: "bottom" | "middle", textAlign: "center" | "end", offsetX = 0) =>
      new Text({
        font: "11px system-ui, sans-serif",
        textBaseline,
        textAlign,
        offsetX,
        fill: new Fill({ color: palette.text }),
        stroke: new Stroke({ color: palette.halo, width: 3 }),
      });
    this.#graticule = new Graticule({
      strokeStyle: new Stroke({ color: palette.grid, width: 0.7 }),
      showLabels: true,
      wrapX: true,
      intervals: [60, 30, 10, 5, 2, 1],
      maxLines: 300,
      lonLabelStyle: label("bottom", "center"),
      latLabelStyle: label("middle", "end", -6),
    });
    this.ol.getLayers().insertAt(1, this.#graticule);
  }
}
