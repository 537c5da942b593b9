/** Places that are liked and not, and what is most similar to them. */

import type { App } from "./app";
import type { PlacesQuery, ScoreMap, SimilarPlace } from "./calls";
import { similarCommand, similarPython } from "./code";
import { RAMP_CSS } from "./colours";
import { button, byId, copy, element, placeText, scoreText, showStatus } from "./dom";
import { ExplorerError } from "./errors";
import type { Metric } from "./metrics";
import type { LonLat } from "./nearby";
import { MAX_PLACES, type State } from "./state";

const COUNT = 10;

type ClickMode = "new" | "like" | "unlike";

export class PlacesPanel {
  scores: ScoreMap | undefined;
  #shown = "";

  constructor(private readonly app: App) {
    byId("ramp").style.background = RAMP_CSS;
    byId("typed-place").onsubmit = (event) => {
      event.preventDefault();
      const [lon, lat] = ["typed-lon", "typed-lat"].map((id) =>
        Number(byId<HTMLInputElement>(id).value.replace(",", ".")),
      );
      void app.run(() => this.choose([lon!, lat!]));
    };
    byId<HTMLSelectElement>("metric").onchange = ({ target }) =>
      app.change({ metric: (target as HTMLSelectElement).value as Metric });
    byId("exclude").onchange = () => app.run(() => this.#changeExclude());
    byId<HTMLInputElement>("show-similarity").onchange = ({ target }) =>
      app.change({ layer: (target as HTMLInputElement).checked ? "similarity" : "colours" });
    byId("clear-places").onclick = () => app.change({ likes: [], unlikes: [] });
    byId("places-python").onclick = () => copy(similarPython(this.#answered()));
    byId("places-command").onclick = () => copy(similarCommand(this.#answered(), app.storeName));
    app.add((state) => this.show(state));
  }

  #changeExclude(): void {
    const input = byId<HTMLInputElement>("exclude");
    const km = input.value === "" ? 0 : input.valueAsNumber;
    if (!(km >= 0 && km <= 20100))
      throw new ExplorerError("What is left out is a distance from 0 to 20,100 km.", "For example 200.");
    this.app.change({ excludeKm: km });
  }

  /** Take the cell at a point as the click mode says. */
  choose(point: LonLat, mode = this.#mode()): void {
    const place = point.every(Number.isFinite) ? this.app.cellOf(point) : undefined;
    if (place === undefined) {
      throw new ExplorerError(
        "A place is a longitude and a latitude in degrees, within the store.",
        "For example 11.5 and 48.25.",
      );
    }
    if (!this.app.hasData(place)) {
      throw new ExplorerError(
        `There is no data at ${placeText(...place)}.`,
        "Choose a cell that has colours.",
      );
    }
    const { likes, unlikes } = this.app.state;
    if (likes.length + unlikes.length >= MAX_PLACES && mode !== "new") {
      throw new ExplorerError(`${MAX_PLACES} places are the most.`, "Remove one first.");
    }
    const others = (places: LonLat[]) =>
      places.filter(([lon, lat]) => lon !== place[0] || lat !== place[1]);
    if (mode === "new") this.app.change({ likes: [place], unlikes: [] });
    else if (mode === "like")
      this.app.change({ likes: [...others(likes), place], unlikes: others(unlikes) });
    else if (others(likes).length === 0)
      throw new ExplorerError("Unlike needs a place that is liked.", "Add one first.");
    else this.app.change({ likes: others(likes), unlikes: [...others(unlikes), place] });
  }

  #mode(): ClickMode {
    return document.querySelector<HTMLInputElement>('input[name="click"]:checked')!.value as ClickMode;
  }

  #query({ likes, unlikes, metric, excludeKm }: State): PlacesQuery {
    return { likes, unlikes, metric, excludeKm, count: COUNT };
  }

  /** The question as it was answered: there may be fewer places than are asked for. */
  #answered(): PlacesQuery {
    return { ...this.#query(this.app.state), count: byId("found").childElementCount || COUNT };
  }

  async show(state: State): Promise<void> {
    byId<HTMLSelectElement>("metric").value = state.metric;
    byId<HTMLInputElement>("exclude").valueAsNumber = state.excludeKm;
    byId<HTMLInputElement>("show-similarity").checked = state.layer === "similarity";
    this.#listAsked(state);
    this.app.map.raster.choose(
      state.likes.length > 0 && state.layer === "similarity" ? "scores" : "colours",
    );
    const wanted = JSON.stringify(this.#query(state));
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    this.#list([]);
    byId("answer").hidden = true;
    byId("answer").ariaBusy = "true";
    if (state.likes.length === 0) {
      this.scores = undefined;
      await this.app.engine.call("stop", "places");
      return this.app.map.raster.show("scores", undefined);
    }
    try {
      await this.#find(this.#query(state), () => wanted === this.#shown);
    } catch (error) {
      if (wanted === this.#shown) this.#shown = "";
      throw error;
    }
  }

  async #find(asked: PlacesQuery, current: () => boolean): Promise<void> {
    showStatus("Comparing all cells …");
    await this.#showMap(asked, current);
    if (!current()) return;
    this.app.engine.mark("map");
    const found = await this.app.engine.call("places", asked);
    if (!current()) return;
    this.#list(found);
    this.app.engine.mark("places");
    await this.#showMap(asked, current);
    if (!current()) return;
    byId("answer").ariaBusy = "false";
    showStatus(`${found.length} places, exact, of ${this.app.info.cells.toLocaleString("en")} cells.`);
  }

  async #showMap(asked: PlacesQuery, current: () => boolean): Promise<void> {
    const scores = await this.app.engine.call("scoreMap", asked);
    if (!current()) return;
    this.scores = scores;
    byId("answer").hidden = false;
    byId("legend-low").textContent = scoreText(scores.range[0]);
    byId("legend-high").textContent = scoreText(scores.range[1]);
    await this.app.map.raster.show("scores", scores.pixels);
  }

  #listAsked({ likes, unlikes }: State): void {
    const item = (place: LonLat, liked: boolean) => {
      const line = element("li", "");
      const words = placeText(...place);
      const without = (places: LonLat[]) => places.filter((other) => other !== place);
      line.append(
        element("span", liked ? "+" : "−", "sign"),
        element("span", `${words}${liked ? "" : " (unlike)"}`, "place"),
        button("×", "small", `Remove ${words}`, () => {
          const left = { likes: without(likes), unlikes: without(unlikes) };
          this.app.change(left.likes.length ? left : { likes: [], unlikes: [] });
        }),
      );
      return line;
    };
    byId("asked").replaceChildren(
      ...likes.map((place) => item(place, true)),
      ...unlikes.map((place) => item(place, false)),
    );
  }

  #list(found: SimilarPlace[]): void {
    const { likes, unlikes } = this.app.state;
    this.app.overlay.showPlaces(likes, unlikes, found);
    const lines = found.map(({ lon, lat, score }, index) => {
      const line = element("li", "");
      const words = placeText(lon, lat);
      line.dataset.place = JSON.stringify([lon, lat, score]);
      line.append(
        button(`${index + 1}. ${words}`, "place", "", () => this.app.map.goTo([lon, lat])),
        element("span", scoreText(score), "score"),
        button("+", "small", `Like ${words}`, () => this.app.run(() => this.choose([lon, lat], "like"))),
        button("−", "small", `Unlike ${words}`, () =>
          this.app.run(() => this.choose([lon, lat], "unlike")),
        ),
      );
      return line;
    });
    byId("found").replaceChildren(...lines);
  }
}
