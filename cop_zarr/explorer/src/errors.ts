/** What went wrong, in words for whoever looks at the page. */

export class ExplorerError extends Error {
  /** What to do next. */
  readonly next: string;

  constructor(message: string, next: string) {
    super(message);
    this.name = "ExplorerError";
    this.next = next;
  }
}

/** What may not be read, or on object storage, what is not there. */
export class DeniedError extends ExplorerError {}

/** An object of the store that is not what the store says it is. */
export class DamageError extends ExplorerError {
  constructor(key: string, detail: string) {
    super(
      `${key} is damaged: ${detail}.`,
      "Verify the store with cop-zarr verify, and mend it with cop-zarr repair.",
    );
    this.name = "DamageError";
  }
}
