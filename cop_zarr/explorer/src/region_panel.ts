/** A region that is drawn or typed, and its vector. */

import type { App } from "./app";
import type { RegionVector } from "./calls";
import { queryCommand, queryPython } from "./code";
import { byId, copy, showStatus } from "./dom";
import { asCsv, asGeoJson, asJson, save } from "./downloads";
import type { LonLat } from "./nearby";
import { makeBox, makePolygon, parseRegion, type Region } from "./regions";
import type { State } from "./state";
import { vectorPlot } from "./vector_plot";

const TOOLS = { box: "draw-box", polygon: "draw-polygon" } as const;

export class RegionPanel {
  #shown = "";
  #vector: RegionVector | undefined;

  constructor(private readonly app: App) {
    for (const kind of ["box", "polygon"] as const) byId(TOOLS[kind]).onclick = () => this.#toggle(kind);
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.#stop());
    byId("typed-region").onsubmit = (event) => {
      event.preventDefault();
      void app.run(() =>
        app.change({ region: parseRegion(byId<HTMLInputElement>("typed-region-text").value) }),
      );
    };
    const region = () => app.state.region!;
    byId("region-python").onclick = () => copy(queryPython(region()));
    byId("region-command").onclick = () => copy(queryCommand(region(), app.storeName));
    byId("region-json").onclick = () => save(asJson(region(), this.#vector!, app.storeName));
    byId("region-csv").onclick = () => save(asCsv(this.#vector!));
    byId("region-geojson").onclick = () => save(asGeoJson(region(), this.#vector!, app.storeName));
    byId("clear-region").onclick = () => app.change({ region: undefined });
    app.add((state) => this.show(state));
  }

  #toggle(kind: "box" | "polygon"): void {
    const drawing = byId(TOOLS[kind]).ariaPressed === "true";
    this.#stop();
    if (drawing) return;
    byId(TOOLS[kind]).ariaPressed = "true";
    byId("map").classList.add("drawing");
    showStatus(
      kind === "box" ? "Click two opposite corners." : "Click the corners; click the last one twice.",
    );
    this.app.overlay.draw(kind, (corners) => this.app.run(() => this.#drawn(kind, corners)));
  }

  #stop(): void {
    this.app.overlay.stopDrawing();
    for (const id of Object.values(TOOLS)) byId(id).ariaPressed = "false";
    byId("map").classList.remove("drawing");
  }

  #drawn(kind: "box" | "polygon", corners: LonLat[]): void {
    for (const id of Object.values(TOOLS)) byId(id).ariaPressed = "false";
    byId("map").classList.remove("drawing");
    this.app.change({ region: kind === "box" ? boxAround(corners) : makePolygon(corners) });
  }

  async show({ region }: State): Promise<void> {
    const wanted = JSON.stringify(region ?? null);
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    this.app.overlay.showRegion(region);
    byId("region-answer").hidden = true;
    if (region === undefined) return this.app.engine.call("stop", "region");
    showStatus("Reading the region …");
    try {
      const found = await this.app.engine.call("regionVector", region);
      if (wanted === this.#shown) this.#tell(found);
    } catch (error) {
      if (wanted === this.#shown) this.#shown = "";
      throw error;
    }
  }

  #tell(found: RegionVector): void {
    this.#vector = found;
    const [valid, total] = [found.validCells, found.totalCells].map((count) => count.toLocaleString("en"));
    byId("region-count").textContent = found.validCells
      ? `Mean of ${valid} cells with data, of ${total} touched, weighted by coverage.`
      : `None of the ${total} cells touched has data, so there is no vector.`;
    byId("region-plot").replaceChildren(...(found.validCells ? [vectorPlot(found.vector)] : []));
    byId("region-answer").hidden = false;
    this.app.engine.mark("region");
    showStatus("The region's vector is there.");
  }
}

function boxAround(corners: LonLat[]): Region {
  const [lons, lats] = [corners.map(([lon]) => lon), corners.map(([, lat]) => lat)];
  return makeBox(Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats));
}
