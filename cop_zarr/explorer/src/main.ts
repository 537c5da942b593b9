/** The page: opens the store that the address names, and shows it. */

import type { MapBrowserEvent } from "ol";
import { App } from "./app";
import { ColoursPanel } from "./colours_panel";
import { byId, placeText, scoreText, showProblem, showStatus } from "./dom";
import { ExplorerError } from "./errors";
import { cellAt, normalLon } from "./grid";
import { GlobeMap } from "./map";
import { Overlay } from "./overlay";
import { PlacesPanel } from "./places_panel";
import { RegionPanel } from "./region_panel";
import { Engine } from "./rpc";

function setting(name: string): string | undefined {
  return document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content || undefined;
}

function folder(url: URL): URL {
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

/** Where store and components are, and what the store is called. */
function addresses(): { store: string; components: string; name: string } {
  const given = new URLSearchParams(location.search).get("store");
  let store: URL;
  try {
    store = folder(new URL(given ?? setting("store") ?? "./store/", document.baseURI));
    if (!/^https?:$/.test(store.protocol) || store.username || store.password)
      throw new TypeError(store.protocol);
  } catch {
    throw new ExplorerError(
      "?store= must be the address of a store: https://…, without a password, or relative to the page.",
      "Correct the address of this page.",
    );
  }
  const kept = given === null ? setting("components") : undefined;
  const inside = new URL(store);
  inside.pathname += "components/";
  const components = kept === undefined ? inside : folder(new URL(kept, document.baseURI));
  const name =
    (given === null && setting("store-name")) || `${store.origin}${store.pathname.replace(/\/$/, "")}`;
  return { store: store.href, components: components.href, name };
}

/** Tell where the pointer is, or the middle of the map, and what is there. */
function showWhere(app: App, places: PlacesPanel, [x, y]: number[]): void {
  const [lon, lat] = [normalLon(x!), y!];
  if (Math.abs(lat) > 90) return void (byId("where").textContent = "");
  const cell = cellAt(app.info.grid, lon, lat);
  const words = placeText(Number(lon.toFixed(2)), Number(lat.toFixed(2)));
  const { scores } = places;
  let what = "";
  if (!app.info.valid[cell]) what = " · no data";
  else if (scores && app.map.raster.shown === "scores")
    what = ` · ${scoreText(scores.scores[cell]!, scores.margins[cell]!)}`;
  byId("where").textContent = words + what;
}

function listen(app: App, places: PlacesPanel): void {
  const { ol } = app.map;
  const choose = (point: number[]) => app.run(() => places.choose([normalLon(point[0]!), point[1]!]));
  ol.on("click", (event: MapBrowserEvent) => {
    showWhere(app, places, event.coordinate); // a finger does not hover
    if (!app.overlay.drawing) void choose(event.coordinate);
  });
  ol.on("pointermove", (event: MapBrowserEvent) => showWhere(app, places, event.coordinate));
  const middle = () => ol.getView().getCenter()!;
  byId("map").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === byId("map")) void choose(middle());
  });
  ol.getView().on("change:center", () => {
    if (byId("map").matches(":focus-visible")) showWhere(app, places, middle());
  });
}

async function start(): Promise<void> {
  const engine = new Engine();
  engine.onLoaded = (bytes) => (byId("loaded").textContent = `${(bytes / 1e6).toFixed(1)} MB loaded`);
  engine.onProgress = showStatus;
  const { store, components, name } = addresses();
  showStatus("Opening the store …");
  const info = await engine.call("open", store, components);
  byId("title").textContent = info.title;
  byId("controls").hidden = false;
  byId("synthetic").hidden = !info.synthetic;
  const map = new GlobeMap(byId("map"), info.grid);
  const app = new App(engine, info, map, new Overlay(map.ol), name);
  map.setView(app.state);
  void map.loadCoastlines("coastlines.json");
  const colours = new ColoursPanel(app);
  await app.run(() => colours.show(app.state));
  map.ol.once("rendercomplete", () => engine.mark("picture"));
  listen(app, new PlacesPanel(app));
  new RegionPanel(app);
  app.show();
  await app.run(async () => {
    try {
      await engine.call("checkColours");
    } catch (error) {
      if (info.components > 0) await map.raster.show("colours", undefined); // of which nothing is known any more
      throw error;
    }
  });
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  showStatus("");
  showProblem(error);
});
