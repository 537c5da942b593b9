"""Draw the pictures of the pages beside this file: ``python docs/pictures.py [--out FOLDER]``.

Prints the tables of docs/regions.md. The store is the quickstart's, named by COP_ZARR_STORE: real coasts,
synthetic values.
"""

from __future__ import annotations

import argparse
import io
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

import cop_zarr
from cop_zarr import Embedding, PointBuffer, Store
from cop_zarr.outputs.plotting.axes import fit_figure, format_latitude, format_longitude
from cop_zarr.outputs.plotting.query_cells import OUTLINE_COLOUR, WEIGHT_COLOURS, outline
from cop_zarr.regions import Roi, footprint

COAST = (-9.85, 38.35, -8.6, 39.3)
FIJI = (176.5, -19, -178.5, -16)
DISC = PointBuffer(lon=30, lat=-89.5, buffer_m=100_000, shape="circle")
OUTER = [[11.8, 44.1], [13.9, 44.3], [13.7, 45.9], [12.9, 46.2], [11.5, 45.4], [11.8, 44.1]]
HOLE = [[12.4, 44.7], [12.5, 45.5], [13.2, 45.6], [13.1, 44.8], [12.4, 44.7]]
POLYGON = {"type": "Polygon", "coordinates": [OUTER, HOLE]}
TOWN = PointBuffer(lon=121.6, lat=31.15, buffer_m=5_000)

EMPTY, SKIP = ("include", "skip"), {"empty": "skip"}
RULES: list[Any] = [
    *({"weights": weights, "empty": empty} for weights in (None, "coverage", "area") for empty in EMPTY),
    *({"pooling": pooling, "empty": empty} for pooling in ("max", "min") for empty in EMPTY),
    {"pooling": "std", "weights": "coverage", **SKIP},
    *({"pooling": "sum", "weights": weights} for weights in ("coverage", "area")),
]
TOUCH, NEAREST, BILINEAR = ({"subpixel": rule} for rule in ("touch", "nearest", "bilinear"))
SUBCELL: list[Any] = [TOUCH, {**TOUCH, "weights": "coverage"}, NEAREST, BILINEAR, {**BILINEAR, **SKIP}]
MONO = "DejaVu Sans Mono"
PENCIL, PAPER, BEYOND = "#555555", "#ededed", "#c9c9c9"
STYLE: Any = {"font.size": 7.5, "axes.titlesize": 8, "hatch.linewidth": 0.5, "hatch.color": PENCIL}


class Case(NamedTuple):
    """A query: its call in Python, the region, the answer, and the effective weight of each cell."""

    call: str
    region: Roi
    answer: Embedding
    counted: np.ndarray

    @property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes and latitudes of the window's cell edges."""
        step, _, west, _, _, north = self.answer.meta["transform"]
        rows, cols = (np.arange(count + 1) for count in self.answer.valid.shape)
        return west + step * cols, north - step * rows

    @property
    def result(self) -> str:
        """Cells and first numbers, in two lines."""
        meta, numbers = self.answer.meta, ", ".join(f"{value:.4f}" for value in self.answer.data[:3])
        cells = f"valid_cells {meta['valid_cells']} of total_cells {meta['total_cells']}"
        return f"{cells}\n{meta['pooling']} [{numbers}, …]"


def ask(store: Store, name: str, region: Roi, **options: Any) -> Case:
    """Query the store."""
    words = ", ".join([name, *(f"{word}={value!r}" for word, value in options.items())]).replace("'", '"')
    answer = store.query(region, **options)
    counted = answer.weights * (answer.valid if options.get("empty") == "skip" else 1.0)
    return Case(f"store.query({words})", region, answer, counted)


def draw(axes: Axes, case: Case, *, numbers: bool = True, cols: slice = slice(None)) -> None:
    """Draw a window: cells filled by weight, hatched without data, and the region's outline."""
    (lons, lats), step, shown = case.edges, 0.25, np.arange(case.counted.shape[1])[cols]
    for row, col in product(range(lats.size - 1), shown):
        corner, weight = (lons[col], lats[row + 1]), case.counted[row, col]
        axes.add_patch(
            Rectangle(corner, step, step, fc=WEIGHT_COLOURS(weight or -1.0), ec="#9a9a9a", lw=0.5)
        )
        if not case.answer.valid[row, col]:
            axes.add_patch(Rectangle(corner, step, step, fill=False, hatch="////", lw=0))
        if numbers:
            middle = (lons[col] + step / 2, max(lats[row] - step * 0.8, -89.97))
            axes.annotate(f"{weight:.2f}", middle, ha="center", fontsize=7)
    axes.scatter(*np.meshgrid(lons[shown] + step / 2, lats[:-1] - step / 2), s=4, c="black", lw=0)
    for ring in outline(footprint(case.region)):
        axes.plot(*ring.T, color=OUTLINE_COLOUR, lw=1.6)
    axes.set(xlim=(lons[shown[0]], lons[shown[-1]] + step), ylim=lats[[-1, 0]], aspect="equal")
    axes.set_title(case.call, family=MONO)
    _degrees(axes)


def _degrees(axes: Axes) -> None:
    """Label longitudes E and W, and latitudes N and S."""
    axes.xaxis.set_major_formatter(lambda lon, _: _longitude(lon))
    axes.yaxis.set_major_formatter(lambda lat, _: format_latitude(lat))


def _longitude(lon: float) -> str:
    return f"{lon:g}°\n= {format_longitude(lon)}" if lon > 180 else format_longitude(lon)


def strip(axes: Axes, text: str, below: float = -0.13) -> None:
    """Write the result under a panel."""
    look: Any = {"ha": "center", "va": "top", "fontsize": 8, "family": MONO, "transform": axes.transAxes}
    axes.text(0.5, below, text, bbox={"boxstyle": "round,pad=0.45", "fc": PAPER, "ec": "none"}, **look)


def finish(figure: Figure, title: str, *extra: Any) -> Figure:
    """Add a title and a legend to a figure."""
    fills = {"counts in full": 1.0, "in part": 0.3, "not at all": -1.0}
    handles: list[Any] = [
        Patch(fc=WEIGHT_COLOURS(share), ec=PENCIL, label=text) for text, share in fills.items()
    ]
    handles.append(Patch(fc="white", ec=PENCIL, hatch="////", label="no data"))
    handles += [Patch(fc="white", ec=OUTLINE_COLOUR, lw=1.6, label="region"), *extra]
    figure.suptitle(title, y=0.98, fontsize=9.5, family=MONO)
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def panels(store: Store, title: str, region: Roi, height: float, *rules: Any, **look: Any) -> Figure:
    """One region by several rules, side by side."""
    figure = Figure(figsize=(9, height))
    for axes, rule in zip(figure.subplots(1, len(rules)), rules, strict=True):
        case = ask(store, title.partition(" ")[0], region, **rule)
        draw(axes, case, **look)
        strip(axes, case.result)
    figure.subplots_adjust(0.06, 0.25, 0.985, 0.86, wspace=0.07 * len(rules))
    return finish(figure, title)


def coast(store: Store) -> Figure:
    """One box by two rules."""
    return panels(store, f"box = {COAST}", COAST, 4.7, {}, {"weights": "coverage", **SKIP})


def antimeridian(store: Store) -> Figure:
    """One window over the antimeridian."""
    figure = Figure(figsize=(9, 5.9))
    axes = figure.subplots()
    case = ask(store, str(FIJI), FIJI)
    draw(axes, case, numbers=False)
    axes.set_title("columns of the window: past 1439 they continue from column 0")
    dashes = axes.axvline(180, color="black", lw=1.2, ls=(0, (4, 3)), label="antimeridian")
    top = axes.secondary_xaxis("top")
    columns = [1426, 1430, 1434, 1438, 1440, 1442, 1446]
    names = [f"{col}\n= {col - 1440}" if col >= 1440 else f"{col}" for col in columns]
    top.set_xticks([0.25 * col - 180 for col in columns], names)
    strip(axes, case.result.replace("\n", "    "), below=-0.14)
    figure.subplots_adjust(0.06, 0.19, 0.985, 0.84)
    return finish(figure, case.call, dashes)


def pole(store: Store) -> Figure:
    """A disc over the south pole: from above, in degrees, and some of its cells."""
    figure = Figure(figsize=(9, 6.6))
    case, by_area = (ask(store, "disc", DISC, **rule) for rule in ({}, {"weights": "area"}))
    (lons, lats), (ring,) = case.edges, outline(footprint(DISC))
    fill: Any = {"cmap": WEIGHT_COLOURS, "vmin": 1e-9, "vmax": 1}
    above: Any = figure.add_axes((0.05, 0.42, 0.4, 0.44), projection="polar")
    above.set(theta_zero_location="N", theta_direction=-1, title="seen from above the pole")
    above.pcolormesh(np.radians(lons), np.maximum(lats, -90) + 90, case.counted, **fill)
    arc = ring[ring[:, 1] > -90]
    above.plot(np.radians(arc[:, 0]), arc[:, 1] + 90, color=OUTLINE_COLOUR, lw=1.6)
    above.set_rgrids([0.5, 1, 1.5], ["89.5°S", "89°S", "88.5°S"], angle=247, fontsize=7)
    meridians = range(0, 360, 30)
    above.set_thetagrids(meridians, [_longitude(lon - 360 * (lon > 180)) for lon in meridians])
    wide, close = (figure.add_axes((0.54, *place)) for place in ((0.66, 0.44, 0.2), (0.15, 0.44, 0.39)))
    wide.pcolormesh(lons, lats, case.counted, **fill)
    wide.plot(*ring.T, color=OUTLINE_COLOUR, lw=1.6)
    wide.set(xlim=lons[[0, -1]], title="the same cells in degrees")
    draw(close, case, cols=slice(288, 296))
    close.set(title="eight columns of them")
    for axes, first, step in ((wide, 30, 60), (close, 102, 0.5)):
        axes.set(xticks=np.arange(first, axes.get_xlim()[1], step), yticks=[-90, -89.5, -89, -88.5])
        axes.axhspan(-90.125, -90, fc=BEYOND, ec=PENCIL, hatch="xx", lw=0, zorder=3)
        _degrees(axes)
    for answer, below in ((case, -0.16), (by_area, -0.4)):
        strip(above, f"{answer.call}\n{answer.result}", below)
    return finish(figure, f"disc = {DISC}", Patch(fc=BEYOND, hatch="xx", label="past the pole"))


def polygon(store: Store) -> Figure:
    """A polygon with a hole, weighted and not."""
    title = 'polygon = {"type": "Polygon", "coordinates": [outer, hole]}'
    return panels(store, title, POLYGON, 5.3, {}, {"pooling": "max", **SKIP}, numbers=False)


def subcell(store: Store) -> Figure:
    """A region smaller than a cell, by three rules."""
    figure = panels(store, f"town = {TOWN}", TOWN, 4.4, TOUCH, NEAREST, BILINEAR)
    for axes in figure.axes:
        axes.scatter(*np.meshgrid([121.5, 121.75], [31.0, 31.25]), s=4, c="black", lw=0)
        axes.plot([121.625, 121.625, 121.875], [30.875, 31.125, 31.125], color="#9a9a9a", lw=0.5)
        axes.plot(TOWN.lon, TOWN.lat, "+", color=OUTLINE_COLOUR)
        axes.set(xlim=(121.375, 121.875), ylim=(30.875, 31.375), xticks=(121.4, 121.6, 121.8))
    return figure


def weights(store: Store) -> Figure:
    """The cells of a query."""
    figure = Figure(dpi=150)
    fit_figure(store.plot(ax=figure.add_subplot(), region=POLYGON, empty="skip"), width=9)
    return figure


def clusters(store: Store) -> Figure:
    """The clusters of docs/recipes.md."""
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415  # for this picture alone

    vectors = store.cells().vectors
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    drawn = np.random.default_rng(0).choice(len(vectors), size=20_000, replace=False)
    kmeans = MiniBatchKMeans(n_clusters=12, n_init=3, random_state=0).fit(vectors[drawn])
    figure = Figure(dpi=150)
    found = store.map(kmeans.predict(vectors), name="cluster")
    fit_figure(found.plot(ax=figure.add_subplot()), width=9)
    return figure


def table(*cases: Case) -> str:
    """A Markdown table with a row per query."""
    text = "| | cells | with data | sum of weights | first numbers |\n| --- | ---: | ---: | ---: | --- |"
    for case in cases:
        meta, total = case.answer.meta, float(case.counted.sum())
        weight = f"{total / 1e6:,.1f} km²" if meta["weights"] == "area" else f"{total:.2f}"
        numbers = ", ".join(f"{value:.4g}" for value in case.answer.data[:3])
        text += (
            f"\n| `{case.call}` | {meta['total_cells']} | {meta['valid_cells']} | {weight} | {numbers} |"
        )
    return text


def main() -> None:
    """Draw the pictures and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    store = cop_zarr.open()
    with mpl.rc_context(STYLE):
        for picture in (coast, antimeridian, pole, polygon, subcell, weights, clusters):
            drawn = io.BytesIO()
            picture(store).savefig(drawn, dpi=150)
            full = Image.open(drawn).convert("RGB")
            palette = full.quantize(128, dither=Image.Dither.NONE)
            palette.save(out / f"{picture.__name__}.png", optimize=True)
        print(table(*(ask(store, "box", COAST, **rule) for rule in RULES)), end="\n\n")
        print(table(*(ask(store, "town", TOWN, **rule) for rule in SUBCELL)))


if __name__ == "__main__":
    main()
