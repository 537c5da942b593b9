"""The words of a query: which are accepted, and which of them can be combined."""

import itertools

import pytest

import cop_zarr
from cop_zarr.errors import InputError, YearError
from cop_zarr.querying.options import CheckedOptions, QueryOptions, check_output, check_query

WORDS = {
    "pooling": ("mean", "max", "min", "std", "sum"),
    "weights": ("auto", None, "coverage", "area"),
    "empty": ("include", "skip"),
    "subpixel": ("raise", "touch", "nearest", "bilinear"),
}
BOX = 10, 40, 12, 42


def conflicts(output, pooling, weights, empty, subpixel):
    """The options that cannot be combined with the others."""
    if pooling in {"max", "min"} and weights in {"coverage", "area"}:
        yield "weights"
    if subpixel == "bilinear" and (pooling != "mean" or output == "grid"):
        yield "subpixel"
    if subpixel == "nearest" and pooling in {"std", "sum"}:
        yield "subpixel"
    if output == "grid" and pooling != "mean":
        yield "pooling"
    if output == "grid" and empty != "include":
        yield "empty"


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_every_combination_is_accepted_or_refused_by_a_name(output):
    for values in itertools.product(*WORDS.values()):
        words = dict(zip(WORDS, values, strict=True))
        names = list(conflicts(output, **words))
        if not names:
            check_output(output, 0, CheckedOptions(**words))
            continue
        with pytest.raises(InputError) as error:
            check_output(output, 0, CheckedOptions(**words))
        assert any(f"{name}={words[name]!r}" in str(error.value) for name in names)


OTHERS = {"output": ("pooled", "grid"), "on_error": ("raise", "nan"), "method": ("nearest", "bilinear")}
NAMES = WORDS | OTHERS
CALLS = [
    ("query", (BOX,), (*WORDS, "output")),
    ("query_many", ([BOX],), (*WORDS, "on_error")),
    ("query_many", ([],), (*WORDS, "on_error")),
    ("sample", (10, 40), ("method", "empty", "on_error")),
]


@pytest.mark.parametrize("word", ["", "MEAN", "none", None, True, 0, ["mean"], ("skip",)], ids=repr)
@pytest.mark.parametrize(("call", "arguments", "names"), CALLS, ids=str)
def test_another_word_is_refused_with_those_accepted_before_any_read(watched, call, arguments, names, word):
    store, read_keys = watched
    for name in names:
        if word in NAMES[name]:
            continue
        with pytest.raises(InputError) as error:
            getattr(store, call)(*arguments, **{name: word})
        assert all(text in str(error.value) for text in (name, repr(word), *map(repr, NAMES[name])))
    assert not read_keys


@pytest.mark.parametrize("year", [None, "2021", 2021.5, True, [2021]])
def test_another_year_is_refused(year):
    with pytest.raises(YearError):
        CheckedOptions(year=year)


@pytest.mark.parametrize("max_bytes", [None, float("nan")])
def test_a_limit_must_be_a_number(store, max_bytes):
    with pytest.raises(InputError, match="max_bytes"):
        store.query(BOX, output="grid", max_bytes=max_bytes)


def test_options_are_keywords_and_the_same_everywhere(store):
    assert check_query("grid", 0) == CheckedOptions(year=2021.0) == CheckedOptions()
    assert set(QueryOptions.__annotations__) == set(CheckedOptions.__annotations__)
    with pytest.raises(TypeError):
        store.query(BOX, "EPSG:4326")
    for call in (cop_zarr.Store.query, cop_zarr.Store.query_many):
        with pytest.raises(TypeError, match="colour"):
            call(store, [BOX], colour="red")
