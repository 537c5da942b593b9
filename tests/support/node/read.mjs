// Read windows of a store with zarrita.js: `node read.mjs STORE OUT`, the windows as JSON on standard input.
//
// A window is [[first, stop] of bands, of rows, of columns]. OUT becomes the values of all windows, one after the
// other, as float32 in little-endian, C order; standard output is what the store says of itself, as JSON.
import { readFileSync, writeFileSync } from "node:fs";
import { FileSystemStore } from "@zarrita/storage";
import * as zarr from "zarrita";

const [store, out] = process.argv.slice(2);
const windows = JSON.parse(readFileSync(0, "utf8"));

const opened = await zarr.withConsolidatedMetadata(new FileSystemStore(store));
const root = await zarr.open.v3(opened, { kind: "group" });
const open = (name) => zarr.open.v3(root.resolve(name), { kind: "array" });
const [embedding, valid] = [await open("embedding"), await open("valid")];

// The strides say in which order the values lie, which is that of the store's chunks.
function inOrder({ data, shape, stride }, at = (place) => data[place]) {
  const found = [];
  const walk = (axis, place) => {
    if (axis === shape.length) found.push(at(place));
    else for (let i = 0; i < shape[axis]; i++) walk(axis + 1, place + i * stride[axis]);
  };
  walk(0, 0);
  return found;
}

const parts = [];
const masks = [];
for (const window of windows) {
  const slices = window.map(([first, stop]) => zarr.slice(first, stop));
  parts.push(Buffer.from(Float32Array.from(inOrder(await zarr.get(embedding, slices))).buffer));
  const mask = await zarr.get(valid, slices.slice(1));
  masks.push(inOrder(mask, (place) => mask.data.get(place)));
}
writeFileSync(out, Buffer.concat(parts));
console.log(JSON.stringify({
  names: opened.contents().map(({ path }) => path),
  dimensions: embedding.dimensionNames,
  attributes: root.attrs,
  masks,
}));
