"""Similar places against brute force: both metrics, ties, regions, distances, partial stores, bad input."""

import itertools
import pickle

import numpy as np
import pyproj
import pytest
import shapely

import cop_zarr
from cop_zarr.analysis import metrics, search
from cop_zarr.errors import InputError, RegionError
from tests.analysis.brute_force import GEOD, Truth
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

ORIGINS = {"over the antimeridian": (300, 1405), "at a pole": (0, 0), "four bands": (700, 100)}
METRICS = ("cosine", "l2")


@pytest.fixture(scope="session")
def truths(stores):
    return {name: Truth(values, *ORIGINS[name]) for name, (_, values) in stores.items()}


@pytest.fixture(scope="session")
def globe_truth(globe):
    return Truth(globe)


def cells_of(matches, shape):
    return matches.rows * shape[1] + matches.cols


def check(matches, truth, scores, expected):
    """The same cells in the same order; where scores differ by rounding alone, any of their orders."""
    found = cells_of(matches, truth.shape)
    assert len(found) == len(expected)
    np.testing.assert_allclose(matches.score, scores[found], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(scores[found], scores[expected], rtol=1e-11, atol=1e-13)
    assert len(set(found.tolist())) == len(found)
    np.testing.assert_array_equal(matches.lon, truth.lon[found])
    np.testing.assert_array_equal(matches.lat, truth.lat[found])
    np.testing.assert_array_equal(matches.vectors, truth.flat[found].astype("f4"))
    order = np.lexsort((found, matches.score * (-1 if matches.metric == "cosine" else 1)))
    np.testing.assert_array_equal(order, np.arange(len(found)))


def geod_km(matches, lon, lat):
    ones = np.ones(len(matches))
    return GEOD.inv(matches.lon, matches.lat, lon * ones, lat * ones)[2] / 1000


def geod_km_to(truth, cell, lons, lats):
    ones = np.ones(len(lons))
    return GEOD.inv(lons, lats, truth.lon[cell] * ones, truth.lat[cell] * ones)[2] / 1000


@pytest.mark.parametrize("name", ORIGINS)
def test_random_questions_have_the_answers_of_brute_force(stores, truths, name, trials):
    (store, _), truth = stores[name], truths[name]
    rng = np.random.default_rng(7)
    held = np.flatnonzero(truth.may_match & (np.abs(truth.flat).max(axis=1) < 1e6))
    for _ in range(15 * trials):
        metric, k = rng.choice(METRICS), int(rng.choice([1, 2, 10, 50]))
        cells = rng.choice(held, rng.integers(1, 4))
        places = [(truth.lon[cell], truth.lat[cell]) for cell in cells]
        exclude, spacing = rng.choice([0, 40.0, 300.0], 2)
        others = np.setdiff1d(held, cells)  # a place minus itself is no direction
        negatives = rng.choice(others, rng.integers(0, 3)) if metric == "cosine" else []
        query = truth.flat[cells].mean(axis=0)
        if metric == "cosine":
            query = truth.query(truth.flat[cells], truth.flat[negatives])
        scores = truth.scores(query, metric)
        near = np.min([truth.km(*place) for place in places], axis=0) < exclude
        allowed = truth.may_match & ~near
        options = {"k": k, "metric": metric, "exclude_km": exclude, "spacing_km": spacing}
        if np.count_nonzero(store.valid.ravel() & ~near) < k:
            with pytest.raises(InputError):
                store.similar(places, **options)
            continue
        matches = store.similar(
            places, [truth.flat[n].astype("f4") for n in negatives] if len(negatives) else None, **options
        )
        check(matches, truth, scores, truth.best(scores, metric, k, allowed, spacing))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_scores_are_in_the_order_of_row_and_column(store, globe_truth, metric):
    """Hundreds of cells of the globe have the same bands but for the first two, which tell them apart."""
    vectors = globe_truth.flat[globe_truth.may_match]
    query = vectors[1000].copy()
    query[:2] = 0
    matches = store.similar(query.astype("f4"), k=300, metric=metric)
    scores = globe_truth.scores(globe_truth.query([query]) if metric == "cosine" else query, metric)
    check(matches, globe_truth, scores, globe_truth.best(scores, metric, 300, globe_truth.may_match))


def test_cells_that_are_all_equal_come_row_by_row(tmp_path):
    values = np.ones((3, 24, 40), "f4")
    factory.write_geotiff(tmp_path / "a.tif", values, rows=(100, 124), cols=(1420, 1460))
    cop_zarr.ingest(tmp_path / "a.tif", tmp_path / "a.zarr")
    store = cop_zarr.open(tmp_path / "a.zarr")
    for found in (
        store.similar(np.ones(3), k=500),
        store.similar(np.full(3, 2.0), k=500, metric="l2"),
        *store.similar_many(np.ones((2, 3)), k=500),
    ):
        np.testing.assert_array_equal(found.rows * 40 + found.cols, np.arange(500))


@pytest.mark.parametrize(("name", "metric"), [*itertools.product(ORIGINS, METRICS)])
def test_many_at_once_have_the_bits_of_one_by_one(stores, truths, name, metric):
    (store, _), truth = stores[name], truths[name]
    cells = np.random.default_rng(1).choice(np.flatnonzero(truth.may_match), 40)
    points = [(truth.lon[cell], truth.lat[cell]) for cell in cells]
    places = [*points, truth.flat[cells[0]].astype("f4")] if metric == "l2" else points
    exclude = 0 if metric == "l2" else 60
    for place, many in zip(
        places, store.similar_many(places, k=7, metric=metric, exclude_km=exclude), strict=True
    ):
        one = store.similar(place, k=7, metric=metric, exclude_km=exclude)
        for field in ("score", "rows", "cols", "vectors"):
            np.testing.assert_array_equal(getattr(many, field), getattr(one, field))


def test_more_places_than_are_answered_together(stores, monkeypatch):
    store, _ = stores["four bands"]
    vectors = np.random.default_rng(0).normal(size=(10, 4))
    together = store.similar_many(vectors, k=3)
    monkeypatch.setattr("cop_zarr.analysis.similar.MAX_TOGETHER", 4)
    for one, other in zip(together, store.similar_many(vectors, k=3), strict=True):
        np.testing.assert_array_equal(one.score, other.score)


def test_keys_do_not_depend_on_what_is_computed_beside_them():
    rng = np.random.default_rng(0)
    for bands in (1, 2, 4, 16, 768, 1000):
        cells, vectors = rng.normal(size=(700, bands)).astype("f4"), rng.normal(size=(2, bands))
        for queries in (metrics.Cosine(metrics.unit(vectors)), metrics.Euclidean(vectors)):
            together = queries.keys(cells, 1)
            for part in (cells[3:4], cells[3:9], np.asfortranarray(cells)[3:40]):
                np.testing.assert_array_equal(queries.keys(part, 1), together[3 : 3 + len(part)])
            pairs = queries.keys(cells[:9], np.array([1, 0] * 4 + [1]))
            np.testing.assert_array_equal(pairs[::2], together[:9:2])


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1, 1e6, 1e14, 1e18])
def test_bounds_hold_for_vectors_that_nearly_cancel(scale):
    rng = np.random.default_rng(1)
    for bands in (1, 3, 768):
        cells = (rng.normal(size=(200, bands)) * scale).astype("f4")
        cells[:50] = cells[50:100] + (scale * 1e-6 * rng.normal(size=(50, bands))).astype("f4")
        vectors = cells[[3, 60, 150]].astype("f8") * [[1], [-1], [1.0001]]
        for queries in (metrics.Cosine(metrics.unit(vectors)), metrics.Euclidean(vectors)):
            dots = metrics.products(queries.rounded, cells)
            upper, lower = queries.bounds(dots, metrics.squared_lengths(cells))
            for number in range(3):
                keys = queries.keys(cells, number)
                assert (lower[number] <= keys).all()
                assert (keys <= upper[number]).all()


def test_few_chunks_are_read_again(stores):
    folder = WatchedFolder(stores["at a pole"][0]._reader.folder)
    store = open_in(folder)
    vector = store.cells((0, 87, 10, 89)).vectors[7]
    folder.read_keys.clear()
    store.similar(vector, k=5)
    chunks = [key for key in folder.read_keys if key.startswith("embedding/c")]
    assert len(set(chunks)) == 2 * 180
    assert len(chunks) - len(set(chunks)) <= 2 * search.BATCH_CHUNKS


class TestPlaces:
    """Every form of a place has the vector that a query for it has."""

    def expected(self, store, vectors, **options):
        truth_query = np.mean([v / np.linalg.norm(v) for v in np.asarray(vectors, "f8")], axis=0)
        return store.similar(truth_query, **options)

    @pytest.mark.parametrize(
        "place",
        [
            (120, 30, 122, 32),
            cop_zarr.BBox(120, 30, 122, 32),
            cop_zarr.PointBuffer(121, 31, 60_000, "circle"),
            shapely.Polygon([(120, 30), (122, 30), (121, 32)]),
            {"type": "Polygon", "coordinates": [[[120, 30], [122, 30], [121, 32], [120, 30]]]},
            (179.5, -10, -179.5, -9),
            (120.3, 30.3, 120.35, 30.35),
        ],
        ids=["box", "BBox", "circle", "polygon", "GeoJSON", "antimeridian", "smaller than a cell"],
    )
    def test_regions(self, store, place):
        vector = store.query(place, empty="skip", subpixel="touch").data
        found, expected = store.similar(place, k=5), self.expected(store, [vector], k=5)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-12)

    @pytest.mark.parametrize(
        "place",
        [
            (11.5, 48.1),
            [np.float32(11.5), 48.1],
            shapely.Point(11.5, 48.1),
            {"type": "Point", "coordinates": [11.5, 48.1]},
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [371.5, 48.1]}},
        ],
        ids=["pair", "list", "shapely", "GeoJSON", "feature"],
    )
    def test_points(self, store, place):
        vector = store.sample(11.5, 48.1)
        found = store.similar(place, k=5)
        np.testing.assert_array_equal(found.score, store.similar(vector, k=5).score)
        assert found.score[0] == 1

    def test_vectors_and_answers(self, store):
        answer = store.query((120, 30, 122, 32), empty="skip")
        places = [answer, answer.data, answer.data.tolist(), answer.data.astype("f8"), answer.data[None]]
        first, *others = [store.similar(place, k=5) for place in places]
        for other in others:
            np.testing.assert_array_equal(first.score, other.score)

    def test_several(self, store):
        places = [(11.5, 48.1), (120, 30, 122, 32), store.sample(10, 10)]
        vectors = [store.sample(11.5, 48.1), store.query((120, 30, 122, 32), empty="skip").data, places[2]]
        expected = self.expected(store, vectors, k=5)
        for given in (places, tuple(places), iter(places)):
            np.testing.assert_allclose(store.similar(given, k=5).score, expected.score, rtol=1e-12)

    def test_tables_have_their_crs(self, store):
        geopandas = pytest.importorskip("geopandas")
        table = geopandas.GeoSeries([shapely.Point(11.5, 48.1), shapely.box(120, 30, 122, 32)], crs=4326)
        expected = store.similar([(11.5, 48.1), (120, 30, 122, 32)], k=5)
        found = store.similar(table.to_crs(3857)[:1], k=5, exclude_km=100)
        np.testing.assert_array_equal(found.rows, store.similar((11.5, 48.1), k=5, exclude_km=100).rows)
        np.testing.assert_allclose(store.similar(table, k=5).score, expected.score)

    def test_another_crs(self, store):
        place, box, circle = (11.5, 48.1), (120.1, 30.1, 121.9, 31.9), (120.5, 31.1)
        options = {"k": 5, "exclude_km": 100, "within": (0, 20, 130, 60)}
        degrees = [place, box, cop_zarr.PointBuffer(*circle, 50_000)]
        expected, many = store.similar(degrees, **options), store.similar_many(degrees, **options)
        move = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
        buffer = dict(zip(("lon", "lat", "buffer_m"), (*move.transform(*circle), 50_000), strict=True))
        moved = move.transform(*place)
        options["within"] = move.transform_bounds(*options["within"])
        for point in (moved, {"type": "Point", "coordinates": moved}, shapely.Point(moved)):
            places = [point, move.transform_bounds(*box), buffer]
            found = store.similar(places, crs="EPSG:3857", **options)
            np.testing.assert_array_equal((found.rows, found.cols), (expected.rows, expected.cols))
            np.testing.assert_allclose(found.score, expected.score, rtol=1e-12)
            for one, other in zip(store.similar_many(places, crs=3857, **options), many, strict=True):
                np.testing.assert_array_equal((one.rows, one.cols), (other.rows, other.cols))
        scores = store.similarity(moved, crs="EPSG:3857", within=options["within"])
        same = store.similarity(place, within=(0, 20, 130, 60))
        np.testing.assert_array_equal(scores.values, same.values)

    def test_points_of_geojson_have_their_crs(self, store):
        declared = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}}
        point = {"type": "Point", "coordinates": (1280174, 6124696), **declared}
        expected = store.similar([(11.5, 48.12), (121.5, 31.2)], k=3)
        np.testing.assert_array_equal(store.similar([point, (121.5, 31.2)], k=3).score, expected.score)
        store.similar(point, crs="EPSG:3857")
        with pytest.raises(RegionError, match="declares the CRS EPSG:3857"):
            store.similar(point, crs="EPSG:4326")
        with pytest.raises(RegionError, match="not a known CRS"):
            store.similar({**point, "crs": {"properties": {"name": ["x"]}}})
        with pytest.raises(RegionError, match="in degrees already"):
            store.similar(cop_zarr.BBox(120, 30, 122, 32), crs="EPSG:3857")

    def test_arrays_of_other_libraries(self, store):
        pandas, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
        vector = store.sample(11.5, 48.1)
        expected = store.similar(vector, k=5)
        for given in (pandas.Series(vector), torch.tensor(vector), [torch.tensor(vector)]):
            np.testing.assert_array_equal(store.similar(given, k=5).score, expected.score)
        bounds = pandas.DataFrame([(120, 30, 122, 32)], columns=["minx", "miny", "maxx", "maxy"])
        expected = store.similar((120, 30, 122, 32), k=5)
        for given in (bounds, bounds.iloc[0]):
            np.testing.assert_array_equal(store.similar(given, k=5).rows, expected.rows)

    @pytest.mark.parametrize("power", [-1070, -600, 100])
    def test_cosines_do_not_depend_on_length(self, store, power):
        vector = np.round(store.sample(11.5, 48.1).astype("f8"))
        found = store.similar(np.ldexp(vector, power), k=5)
        np.testing.assert_array_equal(found.score, store.similar(vector, k=5).score)

    def test_an_answer_is_where_its_region_is(self, store):
        triangle = shapely.Polygon([(120, 30), (122, 30), (121, 32)])
        answer = store.query(triangle, empty="skip")
        by_answer, by_region = (store.similar(p, k=5, exclude_km=50) for p in (answer, triangle))
        np.testing.assert_array_equal(by_answer.rows, by_region.rows)
        np.testing.assert_array_equal(by_answer.cols, by_region.cols)
        restored = store.similar(pickle.loads(pickle.dumps(answer)), k=5, exclude_km=50)
        np.testing.assert_array_equal(restored.rows, by_region.rows)


class TestWhere:
    """Where matches may be."""

    @pytest.mark.parametrize(
        "within",
        [(170, -20, -170, 20), (-10, 35, 30, 60), (0, 89, 360, 90), shapely.Point(10, 50).buffer(8)],
        ids=["antimeridian", "box", "pole", "polygon"],
    )
    @pytest.mark.parametrize("metric", METRICS)
    def test_within(self, store, globe_truth, within, metric):
        inside = np.zeros(globe_truth.shape, "?")
        cells = store.cells(within)
        inside[cells.rows, cells.cols] = True
        vector = store.sample(121.5, 31.2)
        query = globe_truth.query([vector]) if metric == "cosine" else vector.astype("f8")
        scores = globe_truth.scores(query, metric)
        matches = store.similar((121.5, 31.2), within=within, k=40, metric=metric)
        check(matches, globe_truth, scores, globe_truth.best(scores, metric, 40, inside.ravel()))

    @pytest.mark.parametrize(
        ("place", "km"),
        [((179.9, -17.1), 60), ((61.5, 89.6), 1234.5), ((17, -89.9), 9_000), ((121.5, 31.2), 0.5)],
        ids=["antimeridian", "north pole", "south pole", "the cell alone"],
    )
    def test_exclude_km_is_geodesic(self, store, globe_truth, place, km):
        distance = globe_truth.km(*place)
        scores = globe_truth.scores(globe_truth.query([store.sample(*place)]), "cosine")
        expected = globe_truth.best(scores, "cosine", 30, globe_truth.may_match & (distance >= km))
        check(store.similar(place, k=30, exclude_km=km), globe_truth, scores, expected)

    def test_exclude_km_of_a_region_is_from_any_of_its_cells(self, store, globe_truth):
        box = (178, -20, -178, -10)
        grid = store.query(box, output="grid")
        (rows, cols), km = (grid.meta[name] for name in ("rows", "cols")), 500
        matches = store.similar(box, k=30, exclude_km=km)
        centres = [(-180 + 0.25 * col, 90 - 0.25 * row) for row in range(*rows) for col in range(*cols)]
        distances = [geod_km(matches, *centre) for centre in centres]
        assert np.min(distances) >= km
        vector = store.query(box, empty="skip").data
        scores = globe_truth.scores(globe_truth.query([vector]), "cosine")
        better = np.flatnonzero(globe_truth.may_match & (scores > matches.score[-1] + 1e-9))
        missed = np.setdiff1d(better, cells_of(matches, globe_truth.shape))[:3_000]
        lons, lats = np.array(centres).T
        for cell in missed:
            assert geod_km_to(globe_truth, cell, lons, lats).min() < km

    def test_spacing_km_at_the_seam_and_the_pole(self, store, globe_truth):
        vector = store.sample(179.9, -17.1)
        scores = globe_truth.scores(globe_truth.query([vector]), "cosine")
        for km in (80, 2_000):
            matches = store.similar(vector, k=12, spacing_km=km)
            expected = globe_truth.best(scores, "cosine", 12, globe_truth.may_match, km)
            check(matches, globe_truth, scores, expected)

    def test_fewer_if_none_is_far_enough(self, store):
        assert len(store.similar((121.5, 31.2), k=10, spacing_km=20_000)) <= 2

    def test_every_cell(self, stores, truths):
        (store, _), truth = stores["over the antimeridian"], truths["over the antimeridian"]
        count = int(store.valid.sum())
        place = (truth.lon[truth.may_match][0], truth.lat[truth.may_match][0])
        for metric in METRICS:
            found = store.similar(place, k=count, metric=metric)
            assert len(found) == truth.may_match.sum() == count - 2
        assert len(store.similar_many([place], k=count)[0]) == count - 2


class TestBadInput:
    def test_k_of_any_integer_type(self, stores):
        store = stores["four bands"][0]
        for k in (np.uint8(200), np.int8(100), np.array(3)):
            assert len(store.similar(np.ones(4), k=k)) == int(k)
            assert len(store.similar_many(np.ones((1, 4)), k=k)[0]) == int(k)

    @pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None, 2**40])
    def test_k(self, store, k):
        for search_for in (store.similar, lambda place, k: store.similar_many([place], k=k)):
            with pytest.raises(InputError, match=r"\d"):
                search_for((11.5, 48.1), k=k)

    def test_k_says_how_many_there_are(self, store):
        with pytest.raises(InputError, match=f"{int(store.valid.sum()):,}"):
            store.similar((11.5, 48.1), k=int(store.valid.sum()) + 1)
        with pytest.raises(InputError, match="exclude_km"):
            store.similar((11.5, 48.1), exclude_km=30_000)
        with pytest.raises(InputError, match="exclude_km"):
            store.similar_many([(11.5, 48.1)], exclude_km=30_000)

    @pytest.mark.parametrize("place", [(-100, 10), (-100, 10, -95, 12)], ids=["point", "box"])
    def test_place_without_data(self, store, place):
        for given in (place, [(11.5, 48.1), place]):
            with pytest.raises(RegionError, match="nothing there"):
                store.similar(given)
        with pytest.raises(RegionError, match="nothing there"):
            store.similar((11.5, 48.1), negatives=place)

    @pytest.mark.parametrize(
        "vector",
        [
            np.full(16, np.nan), np.r_[np.inf, np.ones(15)], np.ones(15), np.ones((2, 17)),
            np.ones((2, 2, 16)), np.zeros(16), np.array(["a"] * 16), np.ones(0), np.float64(3), [1.0] * 15,
            np.full(16, 1e39), np.ma.array(np.ones(16), mask=[1] + 15 * [0]),
        ],
        ids=[
            "nan", "inf", "short", "long", "3-D", "zero", "text", "empty", "scalar", "list",
            "beyond float32", "masked",
        ],
    )  # fmt: skip
    def test_vectors(self, store, vector):
        with pytest.raises(InputError):
            store.similar(vector)

    @pytest.mark.parametrize(
        "places",
        [[], None, "Munich", 3, (1, 2, 3), [(11.5, 95)], (11.5, 95), shapely.Point(), object, [None]],
        ids=repr,
    )
    def test_what_is_no_place(self, store, places):
        with pytest.raises(InputError):
            store.similar(places)

    @pytest.mark.parametrize("kind", ["Point", "MultiPoint"])
    @pytest.mark.parametrize("coordinates", [None, 5, "ab", [None, 2], [[1, 2], [3, 4]]], ids=repr)
    def test_points_of_geojson(self, store, kind, coordinates):
        with pytest.raises(RegionError):
            store.similar({"type": kind, "coordinates": coordinates})

    def test_a_wrong_place_is_named(self, store):
        for wrong in ("Munich", None, store.similar((11.5, 48.1), k=2)):
            with pytest.raises(RegionError, match=r"places\[2\]"):
                store.similar([(120, 30, 122, 32), (11.5, 48.1), wrong])

    @pytest.mark.parametrize("km", [-1, np.nan, np.inf, "3", True, None])
    def test_distances(self, store, km):
        for name in ("exclude_km", "spacing_km"):
            with pytest.raises(InputError, match=name):
                store.similar((11.5, 48.1), **{name: km})

    def test_combinations(self, store):
        vector = store.sample(11.5, 48.1)
        with pytest.raises(InputError, match="metric"):
            store.similar(vector, metric="dot")
        with pytest.raises(InputError, match="negatives"):
            store.similar(vector, negatives=(120, 31), metric="l2")
        with pytest.raises(InputError, match="cancel"):
            store.similar(vector, negatives=2 * vector)
        with pytest.raises(InputError, match="exclude_km"):
            store.similar(vector, exclude_km=3)
        with pytest.raises(InputError, match="pooled"):
            store.similar(store.query((120, 30, 122, 32), output="grid"))

    def test_within_without_cells(self, store, stores):
        with pytest.raises(RegionError, match="within"):
            store.similar((11.5, 48.1), within=(-100, 10, -95, 12))
        with pytest.raises(RegionError):
            stores["four bands"][0].similar(np.ones(4), within=(100, 0, 110, 10))


@pytest.mark.parametrize("metric", METRICS)
def test_similarity_maps_the_scores_of_matches(stores, truths, metric):
    (store, _), truth = stores["over the antimeridian"], truths["over the antimeridian"]
    vector = truth.flat[truth.may_match][5]
    query = truth.query([vector]) if metric == "cosine" else vector
    scores = truth.scores(query, metric)
    for within in (None, (176, 10, -178, 14)):
        found = store.similarity(vector.astype("f4"), metric=metric, within=within)
        cells = store.cells(within)
        numbers = np.sort(cells.rows * truth.shape[1] + cells.cols)
        np.testing.assert_allclose(found.values, scores[numbers], rtol=1e-11, atol=1e-12)
        matches = store.similar(vector.astype("f4"), k=20, metric=metric, within=within)
        places = np.searchsorted(numbers, cells_of(matches, truth.shape))
        np.testing.assert_array_equal(found.values[places], matches.score)
    with pytest.raises(InputError, match="metric"):
        store.similarity(vector, metric="dot")
