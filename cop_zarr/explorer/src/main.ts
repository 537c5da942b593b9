/** The page: opens the store that the address names, and shows it. */

import { Engine } from "./rpc";
import { GlobeMap } from "./map";
import { ExplorerError } from "./errors";

const engine = new Engine();
const status = document.querySelector<HTMLElement>("#status")!;
const problem = document.querySelector<HTMLElement>("#problem")!;
const loaded = document.querySelector<HTMLElement>("#loaded")!;
engine.onLoaded = (bytes) => (loaded.textContent = `${(bytes / 1e6).toFixed(1)} MB loaded`);

function setting(name: string): string | undefined {
  return document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content || undefined;
}

function folder(url: URL): URL {
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function storeUrls(): [string, string] {
  const given = new URLSearchParams(location.search).get("store");
  let url: URL;
  try {
    url = folder(new URL(given ?? setting("store") ?? "store/", document.baseURI));
    if (!/^https?:$/.test(url.protocol) || url.username) throw new TypeError(url.protocol);
  } catch {
    throw new ExplorerError("?store= must be the address of a store: https://…, or one relative to the page.", "Correct the address of this page.");
  }
  const kept = given === null ? setting("components") : undefined;
  const components = new URL(url);
  components.pathname += "components/";
  return [url.href, kept === undefined ? components.href : folder(new URL(kept, document.baseURI)).href];
}

function tell(error: unknown): void {
  const known = error instanceof ExplorerError;
  problem.textContent = known ? `${error.message} ${error.next}` : `The page failed: ${error}`;
  problem.hidden = false;
}

async function start(): Promise<void> {
  status.textContent = "Opening the store …";
  const info = await engine.call("open", ...storeUrls());
  const map = new GlobeMap(document.querySelector<HTMLElement>("#map")!, info.grid);
  map.paint({ coast: "#222c", grid: "#0003", text: "#333", halo: "#fff" });
  (window as any).globe = map;
  const coast = map.loadCoastlines("coastlines.json");
  status.textContent = "Reading colours …";
  map.raster.show(await engine.call("colours", [0, 1, 2], [2, 98]));
  await new Promise((resolve) => map.ol.once("rendercomplete", resolve));
  performance.mark("picture");
  status.textContent = "Checking colours …";
  await coast;
  await engine.call("checkColours");
  status.textContent = "";
}

start().catch(tell);
