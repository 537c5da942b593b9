/** The state of the page: changed by its panels, shown by them, kept in the address. */

import type { StoreInfo } from "./calls";
import { showProblem, showStatus } from "./dom";
import { ExplorerError } from "./errors";
import { cellAt, cellCentre } from "./grid";
import type { GlobeMap } from "./map";
import type { LonLat } from "./nearby";
import type { Overlay } from "./overlay";
import { Cancelled, type Engine } from "./rpc";
import { formatState, parseState, type State } from "./state";

/** What shows a part of the state. */
export type Show = (state: State) => void | Promise<void>;

export class App {
  state: State;
  readonly #shows: Show[] = [];

  constructor(
    readonly engine: Engine,
    readonly info: StoreInfo,
    readonly map: GlobeMap,
    readonly overlay: Overlay,
    /** What the store is called in commands and files. */
    readonly storeName: string,
  ) {
    this.state = this.#read();
    window.addEventListener("popstate", () => {
      this.state = this.#read();
      this.map.setView(this.state);
      this.show();
    });
    map.onMoved = (view) => {
      Object.assign(this.state, view);
      history.replaceState(null, "", this.#address());
    };
  }

  #read(): State {
    const { state, ignored } = parseState(location.hash);
    const most = Math.max(1, this.info.components);
    const components = state.components.map((one) => Math.min(one, most)) as State["components"];
    const drop = (places: LonLat[]) => places.filter((place) => this.hasData(place));
    const [likes, unlikes] = [drop(state.likes), drop(state.unlikes)];
    const lost = state.likes.length + state.unlikes.length - likes.length - unlikes.length;
    if (lost) ignored.push(`${lost} places without data`);
    const words = ignored.length > 0 ? `Ignored in the address: ${ignored.join(", ")}.` : "";
    showProblem(words ? new ExplorerError(words, "The rest is shown.") : undefined);
    return { ...state, components, likes, unlikes: likes.length ? unlikes : [] };
  }

  hasData([lon, lat]: LonLat): boolean {
    return this.info.valid[cellAt(this.info.grid, lon, lat)] === 1;
  }

  /** The centre of the cell in which a point is; undefined outside the store. */
  cellOf([lon, lat]: LonLat): LonLat | undefined {
    const cell = cellAt(this.info.grid, lon, lat);
    return cell < 0 ? undefined : cellCentre(this.info.grid, cell);
  }

  /** Call `show` now and whenever the state changes. */
  add(show: Show): void {
    this.#shows.push(show);
  }

  /** Change the state; the one before can be gone back to. */
  change(part: Partial<State>): void {
    this.state = { ...this.state, ...part };
    const address = this.#address();
    if (new URL(address, location.href).href !== location.href) history.pushState(null, "", address);
    showProblem();
    this.show();
  }

  show(): void {
    for (const show of this.#shows) this.run(() => show(this.state));
  }

  /** Do something, and tell if it fails. */
  async run(act: () => void | Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (error instanceof Cancelled) return;
      showStatus("");
      showProblem(error);
    }
  }

  #address(): string {
    const fragment = formatState(this.state);
    return fragment ? `#${fragment}` : location.pathname + location.search;
  }
}
