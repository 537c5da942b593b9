/** Everything that reads and computes, away from the thread that draws. */

import { channel, paint } from "./colours";
import { openComponents, readComponentsDocument, type Components } from "./components";
import { ExplorerError } from "./errors";
import { Remote } from "./remote";
import { openStore, type Store } from "./store";
import type { Answer, Calls, Request } from "./calls";

let loadedBytes = 0;
let store: Store;
let components: Components;

function remote(url: string): Remote {
  return new Remote(new URL(url), (bytes) => {
    loadedBytes += bytes;
    post({ kind: "loaded", bytes: loadedBytes });
  });
}

const calls: Calls = {
  async open(storeUrl, componentsUrl) {
    const group = remote(componentsUrl);
    const [opened, document] = await Promise.all([openStore(remote(storeUrl)), readComponentsDocument(group)]);
    store = opened;
    const { grid, bands, title, synthetic, valid, cells } = store;
    components = openComponents(group, document, store);
    return { grid, bands, title, synthetic, valid, cells: cells.length, components: components.count };
  },

  async colours(chosen, range) {
    const first = chosen.every((component) => component < 3);
    const scores = first ? await components.leading(3) : await Promise.all(chosen.map((one) => components.scores(one)));
    const channels = chosen.map((component, band) => channel(scores[first ? component : band]!, range));
    return paintGrid(channels);
  },

  async checkColours() {
    await components.scoresOfChunk(0);
  },
};

async function paintGrid(channels: ReturnType<typeof channel>[]): Promise<ImageBitmap> {
  const { rows, cols } = store.grid;
  const pixels = paint(rows * cols, store.cells, channels);
  return createImageBitmap(new ImageData(pixels, cols, rows), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
}

function post(answer: Answer, transfer: Transferable[] = []): void {
  self.postMessage(answer, { transfer });
}

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { id, call, args } = data;
  try {
    const value = await (calls[call] as (...args: unknown[]) => Promise<unknown>)(...args);
    post({ kind: "value", id, value }, value instanceof ImageBitmap ? [value] : []);
  } catch (error) {
    post({ kind: "error", id, ...describe(error) });
  }
};

function describe(error: unknown): { message: string; next: string; cancelled: boolean } {
  const cancelled = error instanceof DOMException && error.name === "AbortError";
  if (error instanceof ExplorerError) return { message: error.message, next: error.next, cancelled };
  const message = error instanceof Error ? error.message : String(error);
  return { message: `The page failed: ${message}`, next: "Reload the page; if it fails again, report it.", cancelled };
}
