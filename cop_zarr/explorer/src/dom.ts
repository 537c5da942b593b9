/** Short ways to the elements of the page. */

import { ExplorerError } from "./errors";

export function byId<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

/** A new element with text; nothing is ever parsed as markup. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  text: string,
  className = "",
): HTMLElementTagNameMap[Name] {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

/** A button that does something; `label` is what a screen reader says in place of its text. */
export function button(text: string, className: string, label: string, act: () => void): HTMLButtonElement {
  const found = Object.assign(element("button", text, className), { type: "button", onclick: act });
  if (label) found.ariaLabel = label;
  return found;
}

/** Show an error beside those that are shown, or without one, take all away. */
export function showProblem(error?: unknown): void {
  const problem = byId("problem");
  problem.hidden = error === undefined;
  if (error === undefined) return problem.replaceChildren();
  const known = error instanceof ExplorerError;
  const text = known
    ? `${error.message} ${error.next}`
    : `The page failed: ${error}. Reload it; if it fails again, report it.`;
  const shown = [...problem.children].some((line) => line.textContent === text);
  if (!shown) problem.append(element("p", text));
}

export function showStatus(text: string): void {
  byId("status").textContent = text;
}

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    showStatus("Copied.");
  } catch {
    showProblem(new ExplorerError("The browser does not let the page copy.", `Copy it from here: ${text}`));
  }
}

/** A place as people write it: 11.5°E 48.25°N. */
export function placeText(lon: number, lat: number): string {
  const part = (value: number, positive: string, negative: string) =>
    `${Math.abs(value)}°${value === 0 || Math.abs(value) === 180 ? "" : value > 0 ? positive : negative}`;
  return `${part(lon, "E", "W")} ${part(lat, "N", "S")}`;
}

/** A score as people read it. */
export function scoreText(score: number, margin = 0): string {
  const digits = margin === 0 ? 4 : Math.max(0, Math.min(4, 1 - Math.floor(Math.log10(margin))));
  return margin === 0 ? score.toFixed(digits) : `≈ ${score.toFixed(digits)} ± ${margin.toFixed(digits)}`;
}
