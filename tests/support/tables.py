"""Tables of points and polygons in files, and the vectors that a batch must find for them."""

from __future__ import annotations

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

POLYGONS = [
    shapely.Polygon([(10, 40), (12, 40), (11, 42)]),
    shapely.box(-75, -12, -70.3, -9.8),
    shapely.MultiPolygon([shapely.box(20, 50, 21, 51), shapely.box(22, 50, 23, 51.3)]),
    shapely.box(179, -20, 181, -10),
]


def vectors_at(globe, lons, lats):
    """The vectors of the cells that points lie in, by plain arithmetic."""
    rows = np.floor((90.125 - np.asarray(lats)) / 0.25).astype(int)
    cols = np.floor((np.asarray(lons) + 180.125) / 0.25).astype(int) % 1440
    return globe[:, rows, cols].T


def write_csv(path, header, rows):
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def write_points(path, count):
    """A CSV of random points with a name and a number each; and their longitudes and latitudes."""
    rng = np.random.default_rng(4)
    lons, lats = rng.uniform(-180, 180, count).round(4), rng.uniform(-90, 90, count).round(4)
    rows = [(f"00{i}", i, lon, lat) for i, (lon, lat) in enumerate(zip(lons, lats, strict=True))]
    return write_csv(path, ["name", "n", "lon", "lat"], rows), lons, lats


def write_polygons(path, geometries=POLYGONS, crs="EPSG:4326"):
    """A file of polygons with two columns, written by geopandas."""
    columns = {"name": [f"r{i}" for i in range(len(geometries))], "n": range(len(geometries))}
    frame = geopandas.GeoDataFrame(columns, geometry=geometries, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}))  # it sorts rows
    return path


def read_vectors(path):
    """The vectors in a Parquet file, and its table."""
    table = pq.read_table(path)
    assert table.schema.field("embedding").type.value_type == pa.float32()
    return np.array(table.column("embedding").to_pylist(), "f4"), table
