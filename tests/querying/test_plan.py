"""Words of a query: those there are, and which of them go together."""

import itertools

import pytest

import cop_zarr
from cop_zarr.errors import InputError, YearError
from cop_zarr.querying.plan import Options

WORDS = {
    "output": ("pooled", "grid"),
    "pooling": ("mean", "max", "min", "std", "sum"),
    "weights": ("auto", None, "coverage", "area"),
    "empty": ("include", "skip"),
    "subpixel": ("raise", "touch", "nearest", "bilinear"),
}


def meaningless(output, pooling, weights, empty, subpixel):
    """The options that say something that has no meaning beside the others."""
    if pooling in {"max", "min"} and weights in {"coverage", "area"}:
        yield "weights", f"leave weights='{weights}' out, or pool by mean, std or sum"
    if subpixel == "bilinear" and pooling != "mean":
        yield "subpixel", "take pooling='mean', or subpixel='touch'"
    if subpixel == "nearest" and pooling in {"std", "sum"}:
        yield "subpixel", "take pooling='mean', or subpixel='touch'"
    if output == "grid":
        if pooling != "mean":
            yield "pooling", "leave it out, and take .valid and .weights of the answer"
        if empty != "include":
            yield "empty", "leave it out, and take .valid and .weights of the answer"
        if subpixel == "bilinear":
            yield "subpixel", "take output='pooled', or subpixel='nearest' or 'touch'"


@pytest.mark.parametrize("weights", WORDS["weights"])
@pytest.mark.parametrize("pooling", WORDS["pooling"])
def test_every_combination_is_taken_or_refused_with_a_way_out(pooling, weights):
    for output, empty, subpixel in itertools.product(WORDS["output"], WORDS["empty"], WORDS["subpixel"]):
        words = {
            "output": output, "pooling": pooling, "weights": weights, "empty": empty, "subpixel": subpixel
        }  # fmt: skip
        faults = list(meaningless(**words))
        if not faults:
            Options(**words)
            continue
        with pytest.raises(InputError) as error:
            Options(**words)
        message = str(error.value)
        assert any(f"{name}={words[name]!r}" in message and way in message for name, way in faults), message


WRONG = [
    "",
    "no such",
    "MEAN",
    "mean ",
    "None",
    "none",
    True,
    0,
    1.5,
    b"mean",
    ["mean"],
    {"mean"},
    ("skip",),
]


@pytest.mark.parametrize("word", [*WRONG, None], ids=repr)
@pytest.mark.parametrize("name", WORDS)
def test_another_word_is_refused_with_those_there_are(name, word):
    if word in WORDS[name]:
        return
    with pytest.raises(InputError) as error:
        Options(**{name: word})
    assert str(error.value) == f"{name} must be one of {', '.join(map(repr, WORDS[name]))}; got {word!r}"


@pytest.mark.parametrize("year", [2020, 2022, 0, None, "2021", 2021.5, True, [2021]])
def test_another_year_is_refused(year):
    with pytest.raises(YearError, match="of the year 2021 and no other; got year="):
        Options(year=year)


@pytest.mark.parametrize("max_bytes", ["1GB", None, float("nan")])
def test_a_limit_that_is_none_is_refused(store, max_bytes):
    with pytest.raises(InputError, match="max_bytes must be"):
        store.query((10, 40, 12, 42), output="grid", max_bytes=max_bytes)


def test_options_go_by_name_only(store):
    with pytest.raises(TypeError):
        store.query((10, 40, 12, 42), "EPSG:4326")
    with pytest.raises(TypeError, match="colour"):
        cop_zarr.Store.query(store, (10, 40, 12, 42), colour="red")
