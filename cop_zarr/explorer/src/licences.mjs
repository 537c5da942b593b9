/** The licences of what is bundled. */

import { readFile, readdir } from "node:fs/promises";

/** One text with the licence of each package that a file of the bundle comes from. */
export async function licences(source, inputs) {
  const names = new Set(inputs.map((input) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]).filter(Boolean));
  names.add("world-atlas");
  const texts = [];
  for (const name of [...names].sort()) {
    const folder = `${source}node_modules/${name}`;
    const { version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? (await readFile(`${folder}/${file}`, "utf8")).trim() : `Licence: ${license}`;
    texts.push(`${name} ${version} (${license})\n\n${text}\n`);
  }
  return `The explorer's page contains parts of these packages, and coastlines of Natural Earth (public domain).\n\n${texts.join(`\n${"-".repeat(78)}\n\n`)}`;
}
