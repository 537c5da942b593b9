/** Which components are red, green and blue, between which percentiles; light or dark. */

import type { App } from "./app";
import { byId, showStatus } from "./dom";
import { ExplorerError } from "./errors";
import type { State, Theme } from "./state";

const CHANNELS = ["red", "green", "blue"] as const;

export class ColoursPanel {
  #shown = "";
  #named = false;

  constructor(private readonly app: App) {
    for (const id of CHANNELS) {
      const select = byId<HTMLSelectElement>(id);
      for (let one = 1; one <= app.info.components; one++) select.add(new Option(String(one)));
      select.onchange = () =>
        app.change({
          components: CHANNELS.map((name) =>
            Number(byId<HTMLSelectElement>(name).value),
          ) as State["components"],
        });
      select.onfocus = () => app.run(() => this.#nameComponents());
    }
    for (const id of ["range-low", "range-high"])
      byId(id).onchange = () => app.run(() => this.#changeRange());
    byId<HTMLSelectElement>("theme").onchange = ({ target }) =>
      app.change({ theme: (target as HTMLSelectElement).value as Theme });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.map.paint());
    app.add((state) => this.show(state));
  }

  #changeRange(): void {
    const [low, high] = ["range-low", "range-high"].map(
      (id) => byId<HTMLInputElement>(id).valueAsNumber,
    ) as [number, number];
    if (!(low >= 0 && low < high && high <= 100)) {
      throw new ExplorerError(
        "Darkest and brightest are percentiles of the scores, 0 to 100, the darkest less.",
        "For example 2 and 98.",
      );
    }
    this.app.change({ range: [low, high] });
  }

  /** Say of each component how much of the variance is along it. */
  async #nameComponents(): Promise<void> {
    if (this.#named) return;
    this.#named = true;
    const shares = await this.app.engine.call("varianceRatio");
    for (const id of CHANNELS) {
      [...byId<HTMLSelectElement>(id).options].forEach((option, index) => {
        option.value = String(index + 1);
        option.textContent = `${index + 1} (${(100 * shares[index]!).toFixed(1)} %)`;
      });
    }
  }

  async show({ components, range, theme }: State): Promise<void> {
    CHANNELS.forEach((id, index) => (byId<HTMLSelectElement>(id).selectedIndex = components[index]! - 1));
    byId<HTMLInputElement>("range-low").valueAsNumber = range[0];
    byId<HTMLInputElement>("range-high").valueAsNumber = range[1];
    byId<HTMLSelectElement>("theme").value = theme;
    if (document.documentElement.dataset.theme !== theme) {
      document.documentElement.dataset.theme = theme;
      this.app.map.paint();
    }
    const wanted = JSON.stringify([components, range]);
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    showStatus("Reading colours …");
    byId("map").ariaBusy = "true";
    try {
      const chosen = components.map((one) => one - 1);
      const pixels = await this.app.engine.call("colours", chosen, range);
      if (wanted !== this.#shown) return;
      await this.app.map.raster.show("colours", pixels);
    } catch (error) {
      this.#shown = "";
      throw error;
    } finally {
      if (wanted === this.#shown || this.#shown === "") byId("map").ariaBusy = "false";
    }
    showStatus("");
  }
}
