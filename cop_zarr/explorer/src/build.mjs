/** Bundle the page into ../page, or into a folder named on the command line. */

import { build } from "esbuild";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { coastlines } from "./coastlines.mjs";
import { licences } from "./licences.mjs";

const source = fileURLToPath(new URL(".", import.meta.url));
const target = process.argv[2] ?? `${source}../page`;

await mkdir(target, { recursive: true });
const { metafile } = await build({
  absWorkingDir: source,
  entryPoints: [
    { in: "main.ts", out: "explorer" },
    { in: "explorer.css", out: "explorer" },
    { in: "worker.ts", out: "worker" },
  ],
  outdir: target,
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  target: "es2022",
  legalComments: "none",
  metafile: true,
  alias: { "numcodecs/zstd": "./absent.ts", "numcodecs/lz4": "./absent.ts" }, // no store has these
});
await writeFile(`${target}/coastlines.json`, await coastlines());
await writeFile(`${target}/LICENSES.txt`, await licences(source, Object.keys(metafile.inputs)));
await cp(`${source}index.html`, `${target}/index.html`);
