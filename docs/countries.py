"""Make ``countries.geojson`` from Natural Earth's countries, 1:110 million (public domain).

They come as ``countries-110m.json`` of world-atlas, one of the explorer's packages:
``npm ci --prefix cop_zarr/explorer/src``, then ``python docs/countries.py``. Its rings run over the
antimeridian and around the South Pole; here they are cut there, as GeoJSON asks for (RFC 7946, 3.1.9).
"""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from shapely.affinity import translate

HERE = Path(__file__).parent
ATLAS = HERE.parent / "cop_zarr/explorer/src/node_modules/world-atlas/countries-110m.json"
STEP_DEG = 0.01


def unrolled(ring: Any) -> Any:
    """A ring whose longitudes do not jump; one around a pole is closed along the pole."""
    lon, lat = np.array(ring.coords).T
    lon = lon[0] + np.unwrap(lon - lon[0], period=360)
    corners = np.column_stack([lon, lat])
    if abs(lon[-1] - lon[0]) < 180:
        return corners
    pole = np.copysign(90, lat.mean())
    return np.vstack([corners, [[lon[-1], pole], [lon[0], pole]]])


def cut(country: Any) -> Any:
    """A country's polygons between -180° and 180°."""
    parts: list[Any] = []
    for polygon in shapely.get_parts(country):
        outline = shapely.make_valid(
            shapely.Polygon(unrolled(polygon.exterior), list(map(unrolled, polygon.interiors)))
        )
        for shift in (-360, 0, 360):
            inside = outline.intersection(shapely.box(shift - 180, -90, shift + 180, 90))
            inside = shapely.set_precision(translate(inside, -shift), STEP_DEG)
            parts += [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon"]
    return shapely.set_precision(shapely.union_all(parts), STEP_DEG)


def feature(name: str, country: Any) -> str:
    """One line of the file."""
    geometry = json.loads(shapely.to_geojson(cut(country)), parse_float=lambda text: round(float(text), 2))
    return json.dumps(
        {"type": "Feature", "properties": {"name": name}, "geometry": geometry},
        ensure_ascii=False,
        separators=(",", ":"),
    )


if __name__ == "__main__":
    atlas = geopandas.read_file(ATLAS, layer="countries").sort_values("name")
    lines = ",\n".join(map(feature, atlas["name"], atlas.geometry))
    (HERE / "countries.geojson").write_text(
        f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n', encoding="utf-8"
    )
