/** Objects over HTTP: whole or by ranges, retried, counted. */

import { FetchStore } from "zarrita";
import type { AbsolutePath, AsyncReadable, GetOptions, RangeQuery } from "@zarrita/storage";
import { DeniedError, ExplorerError } from "./errors";

const RETRY_AFTER_MS = [300, 1000, 3000];
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A folder at a URL. */
export class Remote implements AsyncReadable {
  readonly #store: FetchStore;

  constructor(
    readonly url: URL,
    private readonly onLoaded: (bytes: number) => void,
  ) {
    this.#store = new FetchStore(url, { fetch: (request) => fetchWithRetries(request) });
  }

  /** The object, or undefined if there is none. */
  async get(key: AbsolutePath, options: GetOptions = {}): Promise<Uint8Array | undefined> {
    return this.#count(await this.#store.get(key, options));
  }

  /** A part of the object. A server that knows no ranges sends it all. */
  async getRange(
    key: AbsolutePath,
    range: RangeQuery,
    options: GetOptions = {},
  ): Promise<Uint8Array | undefined> {
    const bytes = this.#count(await this.#store.getRange(key, range, options));
    if (bytes === undefined || "suffixLength" in range || bytes.length <= range.length) return bytes;
    return bytes.subarray(range.offset, range.offset + range.length);
  }

  #count(bytes: Uint8Array | undefined): Uint8Array | undefined {
    this.onLoaded(bytes?.length ?? 0);
    return bytes;
  }
}

async function fetchWithRetries(request: Request): Promise<Response> {
  for (const pause of [...RETRY_AFTER_MS, undefined]) {
    const response = await fetchOnce(request.clone());
    if (!TRANSIENT.has(response.status) || pause === undefined) return checkStatus(response, request);
    await new Promise((resolve) => setTimeout(resolve, pause));
    request.signal.throwIfAborted();
  }
  throw new Error("unreachable");
}

/**
 * What the browser kept is used only after the server said that it is still the same. Parts are read anew:
 * of those it has kept, Chromium may give fewer bytes than were asked for (protomaps/PMTiles, issue 442).
 */
async function fetchOnce(request: Request): Promise<Response> {
  const cache = request.headers.has("Range") ? "no-store" : "no-cache";
  try {
    return await fetch(request, { cache, credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (error) {
    request.signal.throwIfAborted();
    const host = new URL(request.url).host;
    throw new ExplorerError(
      `${host} did not give what the page asked for: it does not answer, or it does not allow pages of ` +
        `${self.location.origin} to read it (CORS).`,
      "Check the address. If it is right, allow GET, HEAD and the header Range from this origin in the " +
        "CORS rules of the " +
        "bucket, or put the page beside the store.",
    );
  }
}

function checkStatus(response: Response, request: Request): Response {
  if (response.ok || response.status === 404) return response;
  const where = new URL(request.url);
  const said = `${where.host}${where.pathname} answered ${response.status} ${response.statusText}`.trim();
  if (response.status === 401 || response.status === 403) {
    throw new DeniedError(
      `${said}.`,
      "Check that the address is right and the store may be read by everyone.",
    );
  }
  throw new ExplorerError(`${said}.`, "Try again later.");
}
