/** Everything that reads and computes, away from the thread that draws. */

import type { Answer, Calls, Request } from "./calls";
import { channel, paint } from "./colours";
import { openComponents, readComponentsDocument, type Components } from "./components";
import { ExplorerError } from "./errors";
import { regionVector } from "./pooling";
import { Remote } from "./remote";
import { Similar } from "./similar";
import { openStore, type Store } from "./store";

let loadedBytes = 0;
let store: Store;
let components: Components | undefined;
let similar: Similar | undefined;
let withoutComponents: unknown;
let [searching, pooling] = [new AbortController(), new AbortController()];

function remote(url: string): Remote {
  return new Remote(new URL(url), (bytes) => {
    loadedBytes += bytes;
    post({ kind: "loaded", bytes: loadedBytes });
  });
}

function tell(text: string): void {
  post({ kind: "progress", text });
}

const calls: Calls = {
  async open(storeUrl, componentsUrl) {
    const group = remote(componentsUrl);
    const document = readComponentsDocument(group).catch((error) => error);
    store = await openStore(remote(storeUrl));
    try {
      components = openComponents(group, await document, store);
      similar = new Similar(store, components);
    } catch (error) {
      withoutComponents = error;
    }
    const { grid, bands, title, synthetic, valid, cells } = store;
    return {
      grid,
      bands,
      title,
      synthetic,
      valid,
      cells: cells.length,
      components: components?.count ?? 0,
    };
  },

  async varianceRatio() {
    return need(components).varianceRatio();
  },

  async colours(chosen, range) {
    const { rows, cols } = store.grid;
    if (components === undefined) return paint(rows * cols, store.cells, []);
    const first = chosen.every((component) => component < 3);
    const leading = first ? await components.leading(3) : [];
    const kept = components;
    const scores = await Promise.all(chosen.map((one) => leading[one] ?? kept.scores(one)));
    return paint(
      rows * cols,
      store.cells,
      scores.map((values) => channel(values, range)),
    );
  },

  async checkColours() {
    await need(components).scoresOfChunk(0);
  },

  async scoreMap(asked) {
    searching.abort();
    searching = new AbortController();
    return need(similar).map(asked, searching.signal);
  },

  async places(asked) {
    return need(similar).places(asked, searching.signal, (chunks) =>
      tell(`Comparing vectors: ${chunks} chunks read …`),
    );
  },

  regionVector(region) {
    pooling.abort();
    pooling = new AbortController();
    return regionVector(store, region, pooling.signal, (done, all) =>
      tell(`Reading the region: ${done} of ${all} chunks …`),
    );
  },

  async stop(what) {
    (what === "places" ? searching : pooling).abort();
  },
};

/** What needs components, or the error that there are none. */
function need<Kind>(found: Kind | undefined): Kind {
  if (found === undefined) throw withoutComponents;
  return found;
}

function post(answer: Answer): void {
  self.postMessage(answer);
}

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { id, call, args } = data;
  try {
    post({
      kind: "value",
      id,
      value: await (calls[call] as (...args: unknown[]) => Promise<unknown>)(...args),
    });
  } catch (error) {
    post({ kind: "error", id, ...describe(error) });
  }
};

function describe(error: unknown): { message: string; next: string; cancelled: boolean } {
  const cancelled = error instanceof DOMException && error.name === "AbortError";
  if (error instanceof ExplorerError) return { message: error.message, next: error.next, cancelled };
  const message = error instanceof Error ? error.message : String(error);
  return {
    message: `The page failed: ${message}.`,
    next: "Reload it; if it fails again, report it.",
    cancelled,
  };
}
