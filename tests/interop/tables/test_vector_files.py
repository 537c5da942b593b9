"""Files that GDAL reads: KML, File Geodatabases, GeoJSON lines, ZIP files; and which layer of them."""

import shutil
import zipfile

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

import cop_zarr
from cop_zarr.errors import InputError, SourceError
from cop_zarr.interop.tables import geojson_files, vector
from cop_zarr.interop.tables.readers import open_table
from tests.support.tables import POLYGONS, read_vectors, vectors_at

SHAPES = [*POLYGONS[:3], None, shapely.Point(11.5, 48.1), shapely.Point(-70, -10)]

DRIVERS = {".kml": "LIBKML", ".kmz": "LIBKML", ".gdb": "OpenFileGDB"} | dict.fromkeys(
    [".geojsonl", ".geojsons", ".ndjson"], "GeoJSONSeq"
)

KINDS = [*DRIVERS, ".gpkg"]


def write(path, shapes=SHAPES, layer=None, **options):
    frame = geopandas.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=4326)
    pyogrio.write_dataframe(frame, path, layer=layer, driver=DRIVERS.get(path.suffix), **options)
    return path


def zip_up(path, *files, folder=""):
    """Put files, and those whose names differ in the ending, into a ZIP file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            for each in file.rglob("*") if file.is_dir() else file.parent.glob(f"{file.stem}.*"):
                if each != path:
                    archive.write(each, folder + str(each.relative_to(file.parent)))
    return path


@pytest.mark.parametrize("kind", [*KINDS, *(f"{kind}.zip" for kind in KINDS if kind != ".kmz")])
@pytest.mark.filterwarnings("ignore:Field n of type Integer64:RuntimeWarning")
def test_points_and_polygons(kind, store, store_path, globe, tmp_path):
    shapes, options = SHAPES, {}
    if ".gdb" in kind:  # its layers have one type of geometry
        shapes, options = SHAPES[:4], {"geometry_type": "MultiPolygon", "promote_to_multi": True}
    path = write(tmp_path / f"fields{kind.removesuffix('.zip')}", shapes, **options)
    if kind.endswith(".zip"):
        path = zip_up(tmp_path / f"fields{kind}", path, folder="données/")
    report = cop_zarr.batch(path, tmp_path / "out.parquet", store_path, on_error="nan")
    assert (report.rows, report.refused, [row for row, _ in report.refusals]) == (len(shapes), 1, [3])
    table = geopandas.read_parquet(tmp_path / "out.parquet")
    assert [float(n) for n in table["n"]] == list(range(len(shapes)))
    vectors = np.stack(table["embedding"].drop(3))
    np.testing.assert_array_equal(vectors[:3], store.query_many(POLYGONS[:3]))
    if len(shapes) > 4:
        np.testing.assert_array_equal(vectors[3:], vectors_at(globe, [11.5, -70], [48.1, -10]))


@pytest.mark.parametrize("name", ["fields.zip", "fields.shp.zip"])
def test_a_zipped_shapefile(name, store, store_path, tmp_path):
    write(tmp_path / "fields.shp", POLYGONS[:3])
    path = zip_up(tmp_path / name, tmp_path / "fields.shp", folder="a b/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/a b/._fields.shp", b"what macOS adds")
    cop_zarr.batch(path, tmp_path / "out.parquet", store_path)
    np.testing.assert_array_equal(read_vectors(tmp_path / "out.parquet")[0], store.query_many(POLYGONS[:3]))


def test_which_file_of_several(tmp_path):
    files = [write(tmp_path / "a.shp", POLYGONS[:1]), write(tmp_path / "b.shp", POLYGONS[:2])]
    path = zip_up(tmp_path / "both.zip", *files)
    for layer in (None, "c"):
        with pytest.raises(InputError, match="layer="):
            open_table(path, layer)
    assert [open_table(path, layer).rows for layer in ("a", "b.shp")] == [1, 2]


def test_which_layer(tmp_path):
    path = write(tmp_path / "t.gpkg", POLYGONS[:2], layer="fields")
    styles = pd.DataFrame({"f_table_name": ["fields"]})
    pyogrio.write_dataframe(styles, path, layer="layer_styles")
    write(path, [], layer="empty", geometry_type="Polygon")
    assert open_table(path).rows == 2
    assert open_table(path, "layer_styles").geometry_column is None
    write(path, POLYGONS[:3], layer="more")
    with pytest.raises(InputError, match="fields, more"):
        open_table(path)
    assert open_table(path, "more").rows == 3


def test_folders_of_a_kml(tmp_path):
    place = "<Placemark><Point><coordinates>{},2,0</coordinates></Point></Placemark>"
    folder = "<Folder><name>{}</name>{}</Folder>"
    outer = folder.format("outer", folder.format("F", place.format(1) + place.format(3)))
    path = tmp_path / "t.kml"
    path.write_text(f"<kml><Document>{outer}</Document></kml>")
    assert open_table(path).rows == 2
    path.write_text(f"<kml><Document>{outer}{folder.format('G', place.format(5))}</Document></kml>")
    with pytest.raises(InputError, match="F, G"):
        open_table(path)
    assert open_table(path, "G").rows == 1


@pytest.mark.parametrize("size_bytes", [1_000, 1 << 20])
def test_kml_that_memory_cannot_hold(size_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(vector, "MAX_KML_BYTES", 10_000)
    text = f"<kml><Document>{' ' * size_bytes}</Document></kml>"
    (tmp_path / "t.kml").write_text(text)
    zip_up(tmp_path / "t.zip", tmp_path / "t.kml")
    shutil.copy(tmp_path / "t.zip", tmp_path / "t.kmz")
    for path in map(tmp_path.joinpath, ("t.kml", "t.zip", "t.kmz")):
        error = SourceError if size_bytes > 10_000 else InputError  # it has no layers
        with pytest.raises(error):
            open_table(path)


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"../t.shp": b""}, "outside"),
        ({"/t.shp": b""}, "outside"),
        ({"t.csv": b"lon,lat\n1,2\n"}, "t.csv"),
        ({}, "nothing"),
        ({"t.shp": b"no Shapefile"}, "cannot read"),
    ],
)
def test_hostile_archives(members, word, tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(SourceError, match=word):
        open_table(tmp_path / "t.zip")


@pytest.mark.parametrize(("flags", "word"), [(0, "damaged"), (1, "encrypted")])
def test_damaged_and_encrypted_archives(flags, word, tmp_path):
    path = zip_up(tmp_path / "t.zip", write(tmp_path / "t.gpkg", POLYGONS))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    content[directory + 8] |= flags
    content[directory + 16] ^= 1 - flags  # the CRC-32
    path.write_bytes(content)
    with pytest.raises(SourceError, match=word):
        open_table(path)
    path.write_bytes(content[:-10])
    with pytest.raises(SourceError, match="readable"):
        open_table(path)


POINT = '{"type": "Point", "coordinates": [1, 2]}'

CRS = '"crs": {"type": "name", "properties": {"name": "EPSG:3857"}}'

LONG_POINT = POINT.replace(",", ",\n")


@pytest.mark.parametrize("suffix", [".geojsonl", ".geojson"])
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"{POINT}\n{POINT}\n", 2),
        (f"{POINT}\r\n\r\n{POINT}", 2),
        (f"\x1e{POINT}\n\x1e{LONG_POINT}\n", 2),
        (POINT, 1),
        (f'{{"type": "FeatureCollection", "features": []}}\n{POINT}\n', None),
        (f"{POINT}\n{{oops\n{POINT}\n", None),
        (f"{POINT}\n{POINT[:-9]}", None),
        (f"{POINT}{POINT}\n{POINT}\n", None),
        (f"{POINT},\n{POINT}\n", None),
        (f"{POINT}\n[1, 2]\n", None),
        (f"{POINT}\n{POINT[:-1]}, {CRS}}}\n", None),
        (f"\ufeff{POINT}\n{POINT}\n", None),
    ],
)
def test_no_line_of_geojson_is_lost(text, rows, suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    path.write_text(text, encoding="utf-8")
    if rows is not None:
        assert open_table(path).rows == rows
        return
    with pytest.raises(SourceError):
        open_table(path)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_crs_of_a_zipped_geojson(store_path, tmp_path):
    """GDAL says EPSG:4326 of one that names no CRS, so another may be given; else it must be the same."""
    frame = geopandas.GeoDataFrame(geometry=[shapely.Point(1e6, 6e6)], crs=3857)
    for crs in (3857, None):
        frame.set_crs(crs, allow_override=True).to_file(tmp_path / "t.geojson")
        path = zip_up(tmp_path / "t.zip", tmp_path / "t.geojson")
        cop_zarr.batch(path, tmp_path / "out.npy", store_path, crs=3857, overwrite=True)
    frame.to_file(tmp_path / "t.geojson")
    with pytest.raises(InputError, match="3857"):
        cop_zarr.batch(zip_up(path, tmp_path / "t.geojson"), tmp_path / "o.npy", store_path, crs=3035)


@pytest.mark.parametrize(("cpg", "encoding"), [(None, "ISO-8859-1"), ("CP1250", "cp1250"), ("UTF-8", None)])
def test_encodings_of_a_shapefile(cpg, encoding, store_path, tmp_path):
    frame = geopandas.GeoDataFrame({"name": ["Zürich"]}, geometry=POLYGONS[:1], crs=4326)
    frame.to_file(tmp_path / "t.shp", encoding=encoding or "ISO-8859-1")
    (tmp_path / "t.cpg").unlink()
    if cpg:
        (tmp_path / "t.cpg").write_text(cpg)
    if encoding is None:
        with pytest.raises(SourceError, match="UTF-8"):
            cop_zarr.batch(tmp_path / "t.shp", tmp_path / "out.parquet", store_path)
        return
    cop_zarr.batch(tmp_path / "t.shp", tmp_path / "out.parquet", store_path)
    assert read_vectors(tmp_path / "out.parquet")[1]["name"].to_pylist() == ["Zürich"]


def test_a_virtual_dataset_is_not_followed(tmp_path):
    write(tmp_path / "secret.gpkg", POLYGONS)
    source = f"<SrcDataSource>{tmp_path / 'secret.gpkg'}</SrcDataSource>"
    (tmp_path / "t.shp").write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="secret">{source}</OGRVRTLayer></OGRVRTDataSource>'
    )
    for path in (tmp_path / "t.shp", zip_up(tmp_path / "t.zip", tmp_path / "t.shp")):
        with pytest.raises(SourceError, match="VRT"):
            open_table(path)


def test_long_lines_of_geojson(tmp_path, monkeypatch):
    """GDAL takes the first line for all if it is longer than what it looks at."""
    path = write(tmp_path / "t.geojsonl", [shapely.Point(5, 5).buffer(3, 2000)] * 3)
    path = path.rename(tmp_path / "t.geojson")
    assert sum(map(len, open_table(path).read(0))) == 3
    monkeypatch.setattr(geojson_files, "MAX_LINE_BYTES", 1_000)
    with pytest.raises(SourceError, match="line 1"):
        open_table(path)


@pytest.mark.parametrize(
    ("name", "word"), [("t.xlsx", "CSV"), ("t.feather", "Parquet"), ("t.dbf", "the .shp")]
)
def test_what_to_do_with_other_files(name, word, tmp_path):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(InputError, match=word):
        open_table(tmp_path / name)
