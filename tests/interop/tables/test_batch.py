"""Files of regions and points become files of vectors, read by geopandas, pyarrow, xarray and NumPy."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import xarray as xr
from click.testing import CliRunner

import cop_zarr
from cop_zarr.cli import main
from cop_zarr.errors import (
    InputError,
    RegionError,
    SourceError,
    SourceNotFoundError,
    StorageError,
    StoreBusyError,
    StoreExistsError,
)
from cop_zarr.interop.tables import runner
from cop_zarr.storage import LocalFolder
from tests.support import factory

geopandas = pytest.importorskip("geopandas")

RNG = np.random.default_rng(4)
POLYGONS = [
    shapely.Polygon([(10, 40), (12, 40), (11, 42)]),
    shapely.box(-75, -12, -70.3, -9.8),
    shapely.MultiPolygon([shapely.box(20, 50, 21, 51), shapely.box(22, 50, 23, 51.3)]),
    shapely.box(179, -20, 181, -10),
]
VECTOR_FILES = [".geojson", ".gpkg", ".fgb", ".shp", ".parquet"]


def cell_of(globe, lon, lat):
    """The vectors of the cells that points lie in, by arithmetic of its own."""
    rows = np.floor((90.125 - np.asarray(lat)) / 0.25).astype(int)
    cols = np.floor((np.asarray(lon) + 180.125) / 0.25).astype(int) % 1440
    return globe[:, rows, cols].T


def write_csv(path, header, rows):
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def points(tmp_path):
    """A CSV of 500 points, with a name and a number each; and their longitudes and latitudes."""
    lons, lats = RNG.uniform(-180, 180, 500).round(4), RNG.uniform(-90, 90, 500).round(4)
    rows = [(f"00{i}", i, lon, lat) for i, (lon, lat) in enumerate(zip(lons, lats, strict=True))]
    return write_csv(tmp_path / "points.csv", ["name", "n", "lon", "lat"], rows), lons, lats


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 64 rows, so that small tables have several."""
    monkeypatch.setattr(runner, "PART_BYTES", 64 * 4 * factory.BANDS)


def frame_file(path, geometries=POLYGONS, crs="EPSG:4326"):
    """A file of polygons with two columns, written by geopandas."""
    names = {"name": [f"r{i}" for i in range(len(geometries))], "n": range(len(geometries))}
    frame = geopandas.GeoDataFrame(names, geometry=geometries, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        options = {"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}  # which sorts the rows
        frame.to_file(path, **options)
    return path


def vectors(path):
    """The vectors in a Parquet file: float32, and its table."""
    table = pq.read_table(path)
    kind = table.schema.field("embedding").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.value_type == pa.float32()
    return np.array(table.column("embedding").to_pylist(), "f4"), table


@pytest.mark.usefixtures("small_parts")
def test_points_of_a_csv(points, store_path, globe, tmp_path):
    table, lons, lats = points
    told = []
    report = cop_zarr.batch(
        table, tmp_path / "out.parquet", store_path, progress=lambda *each: told.append(each)
    )
    found, written = vectors(tmp_path / "out.parquet")
    np.testing.assert_array_equal(found, cell_of(globe, lons, lats), strict=True)
    assert written.column_names == ["name", "n", "lon", "lat", "embedding"]
    assert written.column("name").to_pylist() == [f"00{i}" for i in range(500)]  # a name, not a number
    assert written.schema.field("n").type == pa.int64()
    np.testing.assert_array_equal(written.column("lon").to_numpy(), lons)
    assert (report.rows, report.bands, report.resumed_rows, report.refused) == (500, 16, 0, 0)
    assert told[-1] == (500, 500)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "points.csv"]


@pytest.mark.parametrize("suffix", VECTOR_FILES)
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_polygons_of_each_format(suffix, crs, store, store_path, tmp_path):
    shapes = geopandas.GeoSeries(POLYGONS[:3], crs="EPSG:4326").to_crs(crs)
    if suffix == ".geojson" and crs == "EPSG:3857":
        pytest.skip("GeoJSON is in degrees")
    table = frame_file(tmp_path / f"rois{suffix}", list(shapes), crs)
    cop_zarr.batch(table, tmp_path / "out.parquet", store_path, empty="skip", weights="area")
    found, _ = vectors(tmp_path / "out.parquet")
    again = geopandas.read_parquet(tmp_path / "out.parquet")
    assert again.crs.equals(geopandas.GeoSeries(crs=crs).crs, ignore_axis_order=True)
    assert again["name"].tolist() == ["r0", "r1", "r2"]
    assert again.geometry.geom_equals(shapes).all()
    expected = [store.query(shape, crs=crs, empty="skip", weights="area").data for shape in again.geometry]
    np.testing.assert_array_equal(found, expected)


def test_boxes_over_the_antimeridian_and_elsewhere(store, store_path, tmp_path):
    boxes = [(176.5, -19, -178.5, -16), (10, 40, 12, 42), (350, 50, 355, 52)]
    for number, header in enumerate(
        (["minlon", "minlat", "maxlon", "maxlat"], ["WEST", "south", "East", "north"])
    ):
        table = write_csv(tmp_path / f"boxes{number}.csv", header, boxes)
        cop_zarr.batch(table, tmp_path / f"out{number}.npy", store_path)
        found = np.load(tmp_path / f"out{number}.npy")
        np.testing.assert_array_equal(found, store.query_many(boxes), strict=True)


def test_wkt_and_mixed_rows(store, store_path, globe, tmp_path):
    rows = [(i, f'"{shape.wkt}"') for i, shape in enumerate([*POLYGONS, shapely.Point(11.5, 48.1)])]
    table = write_csv(tmp_path / "mixed.csv", ["id", "wkt"], rows)
    cop_zarr.batch(table, tmp_path / "out.geoparquet", store_path)
    found, _ = vectors(tmp_path / "out.geoparquet")
    np.testing.assert_array_equal(found[:4], store.query_many(POLYGONS))
    np.testing.assert_array_equal(found[4:], cell_of(globe, [11.5], [48.1]))
    again = geopandas.read_parquet(tmp_path / "out.geoparquet")
    assert again.geometry.geom_type.tolist() == ["Polygon", "Polygon", "MultiPolygon", "Polygon", "Point"]
    assert list(again.columns) == ["id", "wkt", "embedding", "geometry"]


def test_points_as_geoparquet(points, store_path, tmp_path):
    table, lons, lats = points
    cop_zarr.batch(table, tmp_path / "out.geoparquet", store_path)
    again = geopandas.read_parquet(tmp_path / "out.geoparquet")
    np.testing.assert_array_equal(again.geometry.x, lons)
    np.testing.assert_array_equal(again.geometry.y, lats)
    assert again.crs == "EPSG:4326"


@pytest.mark.parametrize("shape", ["box", "circle"])
def test_buffers_around_points(shape, points, store, store_path, tmp_path):
    table, lons, lats = points
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, buffer_m=40_000, shape=shape, empty="skip")
    regions = [cop_zarr.PointBuffer(lon, lat, 40_000, shape) for lon, lat in zip(lons, lats, strict=True)]
    np.testing.assert_array_equal(
        np.load(tmp_path / "out.npy"), store.query_many(regions, empty="skip"), strict=True
    )


def test_points_in_another_crs(store_path, globe, tmp_path):
    rows = [(500_000, 5_300_000), (400_000, 5_000_000)]
    table = write_csv(tmp_path / "utm.csv", ["x", "y"], rows)
    with pytest.raises(InputError, match=r"no columns say where the rows are; there are x, y\. Name them"):
        cop_zarr.batch(table, tmp_path / "out.npy", store_path)
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, columns=["x", "y"], crs="EPSG:32632")
    from pyproj import Transformer  # noqa: PLC0415

    lon, lat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(
        *zip(*rows, strict=True)
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), cell_of(globe, lon, lat), strict=True)


def test_a_point_off_the_map(store_path, tmp_path):
    table = write_csv(tmp_path / "p.csv", ["x", "y"], [(500_000, 0), (1e9, 5)])
    with pytest.raises(
        RegionError, match=r"row 1 of .*p\.csv: x = 1000000000, y = 5 lies off the map of EPSG:32632"
    ):
        cop_zarr.batch(table, tmp_path / "out.npy", store_path, columns=["x", "y"], crs="EPSG:32632")


def test_bilinear_points(points, store, store_path, tmp_path):
    table, lons, lats = points
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, method="bilinear", empty="skip")
    expected = store.sample(lons, lats, method="bilinear", empty="skip")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected, strict=True)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.filterwarnings(
    "ignore:The codec `vlen-utf8`:UserWarning", "ignore:Consolidated metadata:UserWarning"
)
def test_zarr(points, store_path, globe, tmp_path):
    table, lons, lats = points
    cop_zarr.batch(table, tmp_path / "out.zarr", store_path)
    dataset = xr.open_zarr(tmp_path / "out.zarr")
    assert dataset.embedding.dims == ("row", "band")
    assert dataset.embedding.dtype == np.float32
    np.testing.assert_array_equal(dataset.embedding.values, cell_of(globe, lons, lats))
    np.testing.assert_array_equal(dataset.lon.values, lons)
    assert dataset["name"].values[:3].tolist() == ["000", "001", "002"]
    assert dataset.n.dtype == np.int64
    with pytest.raises(StoreExistsError, match="replace it with --overwrite"):
        cop_zarr.batch(table, tmp_path / "out.zarr", store_path)
    cop_zarr.batch(table, tmp_path / "out.zarr", store_path, overwrite=True)


def test_a_folder_of_somebody_else_is_not_replaced(points, store_path, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "zarr.json").write_text(json.dumps({"attributes": {}}))
    with pytest.raises(StoreExistsError, match="something else than a batch's output"):
        cop_zarr.batch(points[0], tmp_path / "out.zarr", store_path, overwrite=True)
    (tmp_path / "out.npy").mkdir()
    with pytest.raises(StoreExistsError, match="something else than a batch's output"):
        cop_zarr.batch(points[0], tmp_path / "out.npy", store_path, overwrite=True)
    (tmp_path / "out.parquet.partial").mkdir()
    (tmp_path / "out.parquet.partial" / "thesis.tex").touch()
    with pytest.raises(StoreExistsError, match=r"is in the way.*thesis\.tex"):
        cop_zarr.batch(points[0], tmp_path / "out.parquet", store_path, overwrite=True)
    assert (tmp_path / "out.parquet.partial" / "thesis.tex").exists()


@pytest.mark.usefixtures("small_parts")
def test_bad_rows_are_told(store, store_path, globe, tmp_path):
    rows = [(1, 11.5, 48.1), (2, "", ""), (3, "west", 5), (4, 400, 5), (5, 121.5, 31.2), (6, 5, "")] * 40
    table = write_csv(tmp_path / "bad.csv", ["id", "lon", "lat"], rows)
    with pytest.raises(RegionError, match=r"row 1 of .*bad\.csv: it has no geometry; take it out"):
        cop_zarr.batch(table, tmp_path / "out.parquet", store_path)
    assert not list(tmp_path.glob("out*"))
    report = cop_zarr.batch(table, tmp_path / "out.parquet", store_path, on_error="nan")
    assert report.refused == 160
    assert len(report.refusals) == 20
    assert [row for row, _ in report.refusals][:5] == [1, 2, 3, 5, 7]
    written = pq.read_table(tmp_path / "out.parquet")
    reasons = written.column("error").to_pylist()
    assert reasons[0] is None
    assert "no geometry" in reasons[1]
    assert reasons[2] == "its lon is no number: 'west'"
    assert "lon must lie within -180" in reasons[3]
    assert [vector is None for vector in written.column("embedding").to_pylist()[:6]] == [0, 1, 1, 1, 0, 1]
    np.testing.assert_array_equal(
        np.array(written.column("embedding").to_pylist()[4], "f4"), cell_of(globe, [121.5], [31.2])[0]
    )
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, on_error="nan")
    found = np.load(tmp_path / "out.npy")
    assert np.isnan(found[[1, 2, 3, 5]]).all()
    assert np.isfinite(found[[0, 4]]).all()


def test_bad_regions_are_told(store, store_path, tmp_path):
    shapes = [POLYGONS[0], None, shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)]), POLYGONS[1]]
    table = frame_file(tmp_path / "rois.gpkg", shapes)
    with pytest.raises(RegionError, match=r"row 1 of .*rois\.gpkg: it has no geometry"):
        cop_zarr.batch(table, tmp_path / "out.parquet", store_path)
    report = cop_zarr.batch(table, tmp_path / "out.parquet", store_path, on_error="nan")
    assert [row for row, _ in report.refusals] == [1, 2]
    assert "repair=True" in report.refusals[1][1]
    again = geopandas.read_parquet(tmp_path / "out.parquet")
    np.testing.assert_array_equal(again.embedding[3], store.query(POLYGONS[1]).data)
    text = write_csv(tmp_path / "w.csv", ["wkt"], [('"POLYGON ((0 0, 1"',)])
    with pytest.raises(RegionError, match=r"row 0 of .*: its wkt is no WKT: 'POLYGON"):
        cop_zarr.batch(text, tmp_path / "o.npy", store_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["lon", "lat", "wkt"], r"more than one way, lon,lat or wkt; say which: --columns"),
        (["lon", "lat", "longitude", "latitude"], r"lon,lat or longitude,latitude"),
        (["lon", "lat", "LON"], r"more than one way, lon,lat or LON,lat"),
        (["lon", "lat", "west", "south", "east", "north"], r"lon,lat or west,south,east,north"),
        (["a", "b"], r"no columns say where the rows are; there are a, b"),
        (["lon", "lat", "embedding"], r"a column 'embedding', which the output adds; rename it"),
        (["lon", "lat", "error"], r"a column 'error', which the output adds"),
    ],
)
def test_columns_that_cannot_be_told(header, message, store_path, tmp_path):
    table = write_csv(tmp_path / "t.csv", header, [["1"] * len(header)])
    with pytest.raises(InputError, match=message):
        cop_zarr.batch(table, tmp_path / "out.parquet", store_path)


def test_columns_named(store_path, globe, tmp_path):
    table = write_csv(tmp_path / "t.csv", ["lon", "lat", "longitude", "latitude"], [(1, 2, 11.5, 48.1)])
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, columns=["longitude", "latitude"])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), cell_of(globe, [11.5], [48.1]))
    for columns, message in (
        (["lon", "nowhere"], "there is no column 'nowhere'; the columns are lon, lat"),
        (["lon", "lat", "longitude"], r"one \(WKT or WKB\), two .* or four"),
        (["lon", "lon"], "all different; got lon,lon"),
        (["lon"], "must hold WKB or WKT; it holds int64"),
    ):
        with pytest.raises(InputError, match=message):
            cop_zarr.batch(table, tmp_path / "other.npy", store_path, columns=columns)


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_missing_crs(suffix, store, store_path, tmp_path):
    table = frame_file(tmp_path / f"bare{suffix}", crs=None)
    with pytest.raises(
        InputError, match=r"does not say which CRS its geometries are in; name it with --crs"
    ):
        cop_zarr.batch(table, tmp_path / "out.npy", store_path)
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, crs="EPSG:4326")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), store.query_many(POLYGONS))
    with pytest.raises(RegionError, match=r"says that its CRS is EPSG:4326, and crs=EPSG:3857 was given"):
        cop_zarr.batch(
            frame_file(tmp_path / f"full{suffix}"), tmp_path / "o.npy", store_path, crs="EPSG:3857"
        )


def test_layers(store_path, tmp_path):
    frame = geopandas.GeoDataFrame(geometry=POLYGONS, crs="EPSG:4326")
    frame.to_file(tmp_path / "two.gpkg", layer="old")
    frame.iloc[:2].to_file(tmp_path / "two.gpkg", layer="new")
    with pytest.raises(InputError, match=r"has the layers old, new; say which with --layer"):
        cop_zarr.batch(tmp_path / "two.gpkg", tmp_path / "out.npy", store_path)
    with pytest.raises(InputError, match=r"no layer 'newer'; it has old, new"):
        cop_zarr.batch(tmp_path / "two.gpkg", tmp_path / "out.npy", store_path, layer="newer")
    assert cop_zarr.batch(tmp_path / "two.gpkg", tmp_path / "out.npy", store_path, layer="new").rows == 2


def test_bad_places(points, store_path, tmp_path):
    table = points[0]
    for rois, out, kind, message in (
        (tmp_path / "none.csv", "out.npy", SourceNotFoundError, "there is no file"),
        (table, "out.txt", InputError, r"must end in one of \.parquet, \.geoparquet, \.zarr, \.npy"),
        (table, "no/out.npy", StorageError, "there is no folder .*no; make it first"),
        (tmp_path, "out.npy", InputError, r"must end in one of \.csv"),
    ):
        with pytest.raises(kind, match=message):
            cop_zarr.batch(rois, tmp_path / out, store_path)
    for name, content in (("a.gpkg", b"no"), ("a.parquet", b"PAR1"), ("a.geojson", b"{"), ("a.csv", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError):
            cop_zarr.batch(tmp_path / name, tmp_path / "out.npy", store_path)
    polygons = frame_file(tmp_path / "rois.geojson")
    with pytest.raises(InputError, match=r"--buffer .* goes with points, and the table holds regions"):
        cop_zarr.batch(polygons, tmp_path / "out.npy", store_path, buffer_m=100)
    with pytest.raises(InputError, match="no layers"):
        cop_zarr.batch(table, tmp_path / "out.npy", store_path, layer="x")
    assert not list(tmp_path.glob("out*"))


def test_a_table_without_rows(store_path, tmp_path):
    table = write_csv(tmp_path / "empty.csv", ["lon", "lat"], [])
    for suffix in (".parquet", ".npy", ".zarr", ".geoparquet"):
        assert cop_zarr.batch(table, tmp_path / f"out{suffix}", store_path).rows == 0
    assert np.load(tmp_path / "out.npy").shape == (0, 16)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_quoted_text_and_unicode(store_path, tmp_path):
    table = tmp_path / "q.csv"
    table.write_text('name,lon,lat\n"Zürich, ""CH""\nlake",8.5,47.4\nN/A,1,2\n,3,4\n', encoding="utf-8-sig")
    cop_zarr.batch(table, tmp_path / "out.parquet", store_path)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.column("name").to_pylist() == ['Zürich, "CH"\nlake', "N/A", None]


def test_two_at_once(points, store_path, tmp_path):
    with (
        LocalFolder(tmp_path / "out.npy").claimed(),
        pytest.raises(StoreBusyError, match="another ingest, repair or batch is writing"),
    ):
        cop_zarr.batch(points[0], tmp_path / "out.npy", store_path)


def batch_command(table, out, store_path, *options):
    code = (
        "import sys; from cop_zarr.interop.tables import runner; "
        f"runner.PART_BYTES = 64 * 4 * {factory.BANDS}; "
        "from cop_zarr.cli import main; main(prog_name='cop-zarr')"
    )
    program = [sys.executable, "-c", code, "batch", str(store_path), str(table), "--to", str(out)]
    return [*program, *options]


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".zarr"])
def test_a_killed_batch_is_resumed(suffix, store_path, globe, tmp_path):
    lons, lats = RNG.uniform(-180, 180, 20_000).round(4), RNG.uniform(-90, 90, 20_000).round(4)
    table = write_csv(tmp_path / "many.csv", ["lon", "lat"], zip(lons, lats, strict=True))
    out = tmp_path / f"out{suffix}"
    folder = tmp_path / f"out{suffix}.partial"
    process = subprocess.Popen(batch_command(table, out, store_path), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.arrow"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = len(list(folder.glob("*.arrow")))
    assert 5 <= finished < 312
    assert not out.exists()
    command = batch_command(table, out, store_path, "--json")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "holds an unfinished batch: go on with --resume" in refused.stderr
    other = subprocess.run(
        [*command, "--resume", "--empty", "skip"], capture_output=True, text=True, check=False
    )
    assert "an unfinished batch of another table, store, options or version" in other.stderr
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["resumed_rows"] >= 64 * finished
    assert report["rows"] == 20_000
    if suffix == ".npy":
        np.testing.assert_array_equal(np.load(out), cell_of(globe, lons, lats), strict=True)
    if suffix == ".parquet":
        np.testing.assert_array_equal(vectors(out)[0], cell_of(globe, lons, lats), strict=True)
    if suffix == ".zarr":
        assert xr.open_zarr(out).embedding.sizes["row"] == 20_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", out.name]


@pytest.mark.usefixtures("small_parts")
def test_a_changed_table_is_not_resumed(points, store_path, tmp_path, monkeypatch):
    table, out = points[0], tmp_path / "out.npy"

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner.Output, "write", fail)
        with pytest.raises(KeyboardInterrupt):
            cop_zarr.batch(table, out, store_path)
    os.utime(table, (1, 1))
    with pytest.raises(StoreExistsError, match="of another table, store, options or version"):
        cop_zarr.batch(table, out, store_path, resume=True)
    report = cop_zarr.batch(table, out, store_path, overwrite=True)
    assert report.resumed_rows == 0
    assert out.exists()


@pytest.mark.usefixtures("small_parts")
def test_a_full_disk_keeps_what_is_finished(points, store_path, tmp_path, monkeypatch):
    table, out = points[0], tmp_path / "out.npy"

    def full(*_):
        raise StorageError("cannot write: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(runner.Output, "write", full)
        with pytest.raises(StorageError, match=r"No space left on device\. What is finished has been kept"):
            cop_zarr.batch(table, out, store_path)
    assert cop_zarr.batch(table, out, store_path, resume=True).resumed_rows == 500


def test_the_command(points, store_path, tmp_path):
    table = points[0]
    run = CliRunner().invoke(
        main, ["batch", str(store_path), str(table), "--to", str(tmp_path / "o.parquet")]
    )
    assert run.exit_code == 0, run.output
    assert "o.parquet: 500 rows x 16 float32 numbers" in run.stdout
    again = CliRunner().invoke(
        main, ["batch", str(store_path), str(table), "--to", str(tmp_path / "o.parquet")]
    )
    assert again.exit_code == 1
    assert "exists; replace it with --overwrite" in again.stderr
    for arguments, message in (
        (["batch"], "Missing argument"),
        (["batch", str(table)], "Missing option '--to'"),
        (["batch", "a", "b", "c", "--to", "o.npy"], "name a STORE and one table ROIS; got 3 names"),
        (["batch", str(store_path), str(table), "--to", "o.xls"], "must end in one of"),
        (
            ["batch", str(store_path), str(table), "--to", "o.npy", "--on-error", "skip"],
            "'skip' is not one of",
        ),
        (["batch", str(store_path), str(table), "--to", "o.npy", "--columns", "a,b"], "no column 'a', 'b'"),
    ):
        run = CliRunner().invoke(main, arguments)
        assert run.exit_code == 2, run.output
        assert message in run.stderr


def test_the_default_store(points, store_path, tmp_path, monkeypatch):
    monkeypatch.setenv("COP_ZARR_STORE", str(store_path))
    run = CliRunner().invoke(main, ["batch", str(points[0]), "--to", str(tmp_path / "o.npy"), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["rows"] == 500


def test_refused_rows_on_the_command_line(store_path, tmp_path):
    table = write_csv(tmp_path / "bad.csv", ["lon", "lat"], [(1, 2)] + [("", "")] * 30)
    out = str(tmp_path / "o.npy")
    run = CliRunner().invoke(main, ["batch", str(store_path), str(table), "--to", out, "--on-error", "nan"])
    assert run.exit_code == 0, run.output
    assert "row 1: it has no geometry" in run.stdout
    assert "… and 10 more" in run.stdout
    assert "30 rows without a vector" in run.stdout


def test_memory_does_not_grow_with_the_table(store_path, tmp_path):
    pytest.importorskip("resource")
    lons = np.tile(np.linspace(-179, 179, 1000), 300)
    table = write_csv(tmp_path / "many.csv", ["lon", "lat"], ((lon, 45) for lon in lons.tolist()))
    code = (
        "import sys, resource, cop_zarr; from cop_zarr.interop.tables import runner; "
        "runner.PART_BYTES = 1 << 20; "
        f"cop_zarr.batch({str(table)!r}, sys.argv[1], {str(store_path)!r}); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    small = write_csv(tmp_path / "few.csv", ["lon", "lat"], ((lon, 45) for lon in lons[:20_000].tolist()))
    peaks = []
    for name, rois in (("a.npy", small), ("b.npy", table)):
        program = [sys.executable, "-c", code.replace(str(table), str(rois)), str(tmp_path / name)]
        peaks.append(int(subprocess.run(program, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < peaks[0] + 40_000  # KiB; the vectors of the larger are 19 MB, its table 6


def test_columns_are_not_in_the_crs_of_the_geometries(store_path, globe, tmp_path):
    frame = geopandas.GeoDataFrame({"lon": [11.5], "lat": [48.1]}, geometry=[POLYGONS[0]], crs=4326)
    frame.to_crs(3035).to_parquet(tmp_path / "t.parquet")
    cop_zarr.batch(tmp_path / "t.parquet", tmp_path / "o.parquet", store_path, columns=["lon", "lat"])
    np.testing.assert_array_equal(vectors(tmp_path / "o.parquet")[0], cell_of(globe, [11.5], [48.1]))
    again = geopandas.read_parquet(tmp_path / "o.parquet")
    assert again.crs == "EPSG:3035"


@pytest.mark.usefixtures("small_parts")
def test_another_layer_is_not_resumed(store_path, tmp_path, monkeypatch):
    for number, layer in enumerate("ab"):
        geopandas.GeoDataFrame(geometry=POLYGONS[number : number + 1], crs=4326).to_file(
            tmp_path / "l.gpkg", layer=layer
        )

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(runner.Output, "write", full)
        with pytest.raises(StorageError, match=r"No space left on device.*kept: go on with --resume"):
            cop_zarr.batch(tmp_path / "l.gpkg", tmp_path / "o.npy", store_path, layer="a")
    with pytest.raises(StoreExistsError, match="of another table, store, options or version"):
        cop_zarr.batch(tmp_path / "l.gpkg", tmp_path / "o.npy", store_path, layer="b", resume=True)


def test_a_box_over_the_antimeridian_as_a_geometry(store_path, tmp_path):
    table = write_csv(tmp_path / "b.csv", ["west", "south", "east", "north"], [(170, 10, -170, 20)])
    cop_zarr.batch(table, tmp_path / "o.geoparquet", store_path)
    found = geopandas.read_parquet(tmp_path / "o.geoparquet").geometry[0]
    assert found.equals(shapely.union(shapely.box(170, 10, 180, 20), shapely.box(-180, 10, -170, 20)))


def test_whole_numbers_that_no_float_holds_stay_text(store_path, tmp_path):
    rows = [("12345678901234567890", 1, 2), ("12345678901234567891", 1, 2)]
    table = write_csv(tmp_path / "ids.csv", ["id", "lon", "lat"], rows)
    cop_zarr.batch(table, tmp_path / "o.parquet", store_path)
    assert pq.read_table(tmp_path / "o.parquet")["id"].to_pylist() == [row[0] for row in rows]


def test_what_can_be_read_but_once_is_refused(store_path, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceError, match="is not a file"):
        cop_zarr.batch(tmp_path / "pipe.csv", tmp_path / "o.npy", store_path)


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_columns_that_zarr_cannot_name(name, store_path, tmp_path):
    table = write_csv(tmp_path / "t.csv", [name, "lon", "lat"], [(0, 1, 2)])
    with pytest.raises(InputError, match="cannot be the name of a Zarr array"):
        cop_zarr.batch(table, tmp_path / "o.zarr", store_path)


def test_an_output_by_a_link(points, store_path, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "o.npy").symlink_to(tmp_path / "far" / "real.npy")
    cop_zarr.batch(points[0], tmp_path / "o.npy", store_path)
    assert np.load(tmp_path / "far" / "real.npy").shape == (500, 16)
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["real.npy"]


def test_a_row_longer_than_a_block(store_path, tmp_path, monkeypatch):
    from cop_zarr.interop.tables import csv as text  # noqa: PLC0415

    monkeypatch.setattr(text, "BLOCK_BYTES", 256)
    ring = ", ".join(f"{10 + np.cos(t)} {45 + np.sin(t)}" for t in np.linspace(0, 2 * np.pi, 200))
    rows = [("a", "POINT (1 2)"), ("b", f'"POLYGON (({ring}))"')]
    table = write_csv(tmp_path / "long.csv", ["id", "wkt"], rows)
    assert cop_zarr.batch(table, tmp_path / "o.npy", store_path, repair=True).rows == 2


def test_bad_arguments_are_refused_before_anything(points, store_path, tmp_path):
    latin = tmp_path / "latin.csv"
    latin.write_bytes("lon,lat,größe\n11,48,1\n".encode("latin-1"))
    for rois, options, kind, message in (
        (points[0], {"buffer_m": -5, "on_error": "nan"}, RegionError, "buffer_m must be at least"),
        (points[0], {"shape": "round"}, InputError, "shape must be one of"),
        (points[0], {"columns": "lon,lat"}, InputError, r"give \['lon', 'lat'\]"),
        (latin, {}, SourceError, "not in UTF-8: convert it"),
    ):
        with pytest.raises(kind, match=message):
            cop_zarr.batch(rois, tmp_path / "o.npy", store_path, **options)
    (tmp_path / "t.parquet").symlink_to(points[0])
    assert not list(tmp_path.glob("o.npy*"))
