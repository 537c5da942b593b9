/** The group document of a store, `zarr.json`: parsed, and its SHA-256 compared. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { DamageError } from "./errors";

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

/** A number with the digits that the document has, since 0.0 and 0 are one number in JavaScript. */
class Digits {
  constructor(readonly text: string) {}
}

type Parsed = null | boolean | string | Digits | Parsed[] | { [name: string]: Parsed };

const TOKEN = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;

/** Parse JSON and keep the digits of its numbers. */
function parseDigits(text: string): Parsed {
  TOKEN.lastIndex = 0;
  const next = (): string => {
    const token = TOKEN.exec(text)?.[1];
    if (token === undefined) throw new SyntaxError("not JSON");
    return token;
  };
  const value = (token: string): Parsed => {
    if (token === "{") return members();
    if (token === "[") return items();
    if (token[0] === '"') return JSON.parse(token) as string;
    if (token === "true" || token === "false") return token === "true";
    return token === "null" ? null : new Digits(token);
  };
  const members = (): Parsed => {
    const found: { [name: string]: Parsed } = Object.create(null);
    let token = next();
    while (token !== "}") {
      next(); // the colon
      found[JSON.parse(token) as string] = value(next());
      token = next();
      if (token === ",") token = next();
    }
    return found;
  };
  const items = (): Parsed => {
    const found: Parsed[] = [];
    let token = next();
    while (token !== "]") {
      found.push(value(token));
      token = next();
      if (token === ",") token = next();
    }
    return found;
  };
  return value(next());
}

/** JSON with sorted keys, no white space, and ASCII only. */
function canonical(value: Parsed): string {
  if (value instanceof Digits) return value.text;
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const names = Object.keys(value).sort(byCodePoint);
    return `{${names.map((name) => `${ascii(name)}:${canonical(value[name]!)}`).join(",")}}`;
  }
  return typeof value === "string" ? ascii(value) : String(value);
}

function byCodePoint(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  const at = left.findIndex((letter, index) => letter !== right[index]);
  if (at < 0) return left.length - right.length;
  return at < right.length ? left[at]!.codePointAt(0)! - right[at]!.codePointAt(0)! : 1;
}

function ascii(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Parse a group document and its attribute `cop_zarr`; DamageError if it is not what its SHA-256 says. */
export function parseDocument(
  bytes: Uint8Array,
  key: string,
): { document: JsonObject; record: JsonObject } {
  let parsed: { [name: string]: Parsed };
  let document: JsonObject;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    document = JSON.parse(text) as JsonObject;
    parsed = parseDigits(text) as { [name: string]: Parsed };
  } catch {
    throw new DamageError(key, "it is not JSON");
  }
  const given = (parsed.attributes as { [name: string]: Parsed } | undefined)?.cop_zarr;
  if (given === undefined || given === null) return { document, record: {} };
  const attributes = parsed.attributes as { [name: string]: Parsed };
  try {
    attributes.cop_zarr = typeof given === "string" ? parseDigits(given) : given;
    const own = attributes.cop_zarr as { [name: string]: Parsed };
    const record = JSON.parse(canonical(own)) as JsonObject;
    delete own.sha256;
    const digest = bytesToHex(sha256(new TextEncoder().encode(canonical(parsed))));
    if (digest !== record.sha256) throw new DamageError(key, "it does not match its own SHA-256");
    return { document, record };
  } catch (error) {
    throw error instanceof DamageError
      ? error
      : new DamageError(key, "its attribute cop_zarr cannot be read");
  }
}
