"""Which columns hold the coordinates."""

import pytest

from cop_zarr.errors import InputError
from cop_zarr.interop.tables.columns import find_coordinates


@pytest.mark.parametrize(
    ("columns", "geometry_column", "requested", "kind", "names"),
    [
        (["id", "lon", "lat"], None, None, "point", ("lon", "lat")),
        (["Longitude", " LATITUDE"], None, None, "point", ("Longitude", " LATITUDE")),
        (["long", "Lat"], None, None, "point", ("long", "Lat")),
        (["lat", "lng"], None, None, "point", ("lng", "lat")),
        (
            ["decimalLatitude", "decimalLongitude"],
            None,
            None,
            "point",
            ("decimalLongitude", "decimalLatitude"),
        ),
        (["X", "Y"], None, None, "point", ("X", "Y")),
        (["lon", "lat", "x", "y"], None, None, "point", ("lon", "lat")),
        (["system:index", ".geo"], None, None, "geometry", (".geo",)),
        (["xmin", "ymin", "xmax", "ymax"], None, None, "box", ("xmin", "ymin", "xmax", "ymax")),
        (["WKT", "n"], None, None, "geometry", ("WKT",)),
        (["lon", "lat", "shape"], "shape", None, "geometry", ("shape",)),
        (["lon", "lat", "shape"], "shape", ["lon", "lat"], "point", ("lon", "lat")),
        (["lon", "lat", "x", "y"], None, ["x", "y"], "point", ("x", "y")),
        (["a", "b", "c", "d"], None, ["d", "c", "b", "a"], "box", ("d", "c", "b", "a")),
    ],
)
def test_found(columns, geometry_column, requested, kind, names):
    found = find_coordinates(columns, [geometry_column] if geometry_column else [], requested)
    assert (found.kind, found.names) == (kind, names)


@pytest.mark.parametrize(
    ("columns", "requested", "word"),
    [
        (["lon", "lat", "wkt"], None, "lon,lat or wkt"),
        (["lon", "lat", "LON"], None, "lon,lat or LON,lat"),
        (["lon", "lat", "west", "south", "east", "north"], None, "lon,lat or west,south,east,north"),
        (["easting", "northing"], None, "columns="),
        (["x", "y", "X"], None, "x,y or X,y"),
        (["system:index", ".geo", "decimalLongitude", "decimalLatitude"], None, "decimalLatitude or .geo"),
        ([], None, "none"),
        (["lon", "lat"], ["lon", "nowhere"], "'nowhere'"),
        (["lon", "lat", "height"], ["lon", "lat", "height"], "four"),
        (["lon", "lat"], ["lon", "lon"], "different"),
    ],
)
def test_refused(columns, requested, word):
    with pytest.raises(InputError, match=word):
        find_coordinates(columns, [], requested)
