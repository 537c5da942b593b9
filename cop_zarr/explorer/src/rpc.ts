/** Calls to the worker. */

import type { Answer, Calls, Request } from "./calls";
import { ExplorerError } from "./errors";

export class Cancelled extends Error {}

/** The worker, and what it tells without being asked. */
export class Engine {
  onProgress: (text: string) => void = () => {};
  onLoaded: (bytes: number) => void = () => {};
  readonly #worker = new Worker("worker.js");
  readonly #waiting = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void }
  >();
  #last = 0;
  #loaded = 0;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#receive(data);
    this.#worker.onerror = () => {
      const error = new ExplorerError(
        "The page's worker.js cannot be run.",
        "Reload the page; if it fails again, write it anew: cop-zarr explore STORE --to FOLDER --overwrite.",
      );
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  call<Name extends keyof Calls>(call: Name, ...args: Parameters<Calls[Name]>): ReturnType<Calls[Name]> {
    const id = ++this.#last;
    const answer = new Promise<never>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#worker.postMessage({ id, call, args } satisfies Request);
    return answer as unknown as ReturnType<Calls[Name]>;
  }

  /** Note when something was shown, and how much had been loaded, for whoever measures. */
  mark(name: string): void {
    performance.mark(name, { detail: this.#loaded });
  }

  #receive(answer: Answer): void {
    if (answer.kind === "loaded") {
      this.#loaded = answer.bytes;
      return this.onLoaded(answer.bytes);
    }
    if (answer.kind === "progress") return this.onProgress(answer.text);
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.kind === "value") waiting?.resolve(answer.value as never);
    else
      waiting?.reject(answer.cancelled ? new Cancelled() : new ExplorerError(answer.message, answer.next));
  }
}
