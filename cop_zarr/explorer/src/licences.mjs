/** The licences of what is bundled. */

import { readFile, readdir } from "node:fs/promises";

const RULE = `\n${"-".repeat(78)}\n\n`;
const HEAD =
  "The explorer's page contains parts of these packages, coastlines of Natural Earth (public domain),\n" +
  "and colours of viridis (CC0). numcodecs contains Blosc, and with it what follows in the end.\n";

/** One text with the licence of each package that a file of the bundle comes from. */
export async function licences(source, inputs) {
  const packages = inputs.map((input) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]);
  const names = [...new Set([...packages.filter(Boolean), "world-atlas"])].sort();
  const texts = await Promise.all(
    names.map((name) => packageLicence(`${source}node_modules/${name}`, name)),
  );
  const inside = (await readdir(`${source}licences`)).sort(); // as they lie beside Blosc's sources
  const others = await Promise.all(inside.map((name) => readFile(`${source}licences/${name}`, "utf8")));
  return [HEAD, ...texts, ...others.map((text) => `${text.trim()}\n`)].join(RULE);
}

async function packageLicence(folder, name) {
  const { version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? (await readFile(`${folder}/${file}`, "utf8")).trim() : `Licence: ${license}`;
  return `${name} ${version} (${license})\n\n${text}\n`;
}
