/** What lies over the map: pins of places, the region, and the tools that draw one. */

import Feature from "ol/Feature";
import type OlMap from "ol/Map";
import Point from "ol/geom/Point";
import Polygon from "ol/geom/Polygon";
import Draw, { createBox } from "ol/interaction/Draw";
import VectorLayer from "ol/layer/Vector";
import VectorSource from "ol/source/Vector";
import Circle from "ol/style/Circle";
import Fill from "ol/style/Fill";
import Stroke from "ol/style/Stroke";
import Style from "ol/style/Style";
import Text from "ol/style/Text";
import type { SimilarPlace } from "./calls";
import { regionGeometry } from "./code";
import type { LonLat } from "./nearby";
import type { Region } from "./regions";

const COLOURS = { like: "#0a7d33", unlike: "#c02626", found: "#1d4ed8" };

function pin(text: string, colour: string, zIndex: number): Style {
  return new Style({
    image: new Circle({
      radius: 10,
      fill: new Fill({ color: colour }),
      stroke: new Stroke({ color: "#fff", width: 2 }),
    }),
    text: new Text({ text, font: "bold 11px system-ui, sans-serif", fill: new Fill({ color: "#fff" }) }),
    zIndex,
  });
}

export class Overlay {
  readonly #pins = new VectorSource({ wrapX: true });
  readonly #region = new VectorSource({ wrapX: true });
  #draw: Draw | undefined;

  constructor(private readonly map: OlMap) {
    const stroke = (color: string, width: number) => new Style({ stroke: new Stroke({ color, width }) });
    map.addLayer(
      new VectorLayer({ source: this.#region, style: [stroke("#fff", 5), stroke("#d9480f", 2.5)] }),
    );
    map.addLayer(new VectorLayer({ source: this.#pins, declutter: false }));
  }

  showPlaces(likes: LonLat[], unlikes: LonLat[], found: SimilarPlace[]): void {
    this.#pins.clear();
    found.forEach(({ lon, lat }, index) => this.#pin([lon, lat], String(index + 1), COLOURS.found, -index));
    for (const like of likes) this.#pin(like, "+", COLOURS.like, 1);
    for (const unlike of unlikes) this.#pin(unlike, "−", COLOURS.unlike, 1);
  }

  #pin(place: LonLat, text: string, colour: string, zIndex: number): void {
    const feature = new Feature(new Point(place));
    feature.setStyle(pin(text, colour, zIndex));
    this.#pins.addFeature(feature);
  }

  showRegion(region: Region | undefined): void {
    this.#region.clear();
    if (region) this.#region.addFeature(new Feature(new Polygon(regionGeometry(region).coordinates)));
  }

  get drawing(): boolean {
    return this.#draw !== undefined;
  }

  /** Let a box or a polygon be drawn, and give its corners. */
  draw(kind: "box" | "polygon", done: (corners: LonLat[]) => void): void {
    this.stopDrawing();
    const draw =
      kind === "box"
        ? new Draw({ type: "Circle", geometryFunction: createBox() })
        : new Draw({ type: "Polygon" });
    draw.on("drawend", ({ feature }) => {
      const ring = (feature.getGeometry() as Polygon).getCoordinates()[0]!.slice(0, -1) as LonLat[];
      setTimeout(() => this.stopDrawing()); // after the click that ended it
      done(ring);
    });
    this.#draw = draw;
    this.map.addInteraction(draw);
  }

  stopDrawing(): void {
    if (this.#draw) this.map.removeInteraction(this.#draw);
    this.#draw = undefined;
  }
}
