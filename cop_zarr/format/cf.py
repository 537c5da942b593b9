"""CF attributes of a store's variables, the same in the store and in an xarray Dataset of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyproj import CRS

from cop_zarr.core import product
from cop_zarr.core.grid import Affine
from cop_zarr.format.layout import BAND, LATITUDE, LONGITUDE

CONVENTIONS = "CF-1.11"

EMBEDDING_ATTRIBUTES = {
    "long_name": "Copernicus-FM embedding",
    "units": "1",
    "comment": "A cell without data is 0 in every band; see 'valid'.",
}

SCALED_ATTRIBUTES = {
    "long_name": "Copernicus-FM embedding, divided by the scale of its cell",
    "units": "1",
    "comment": "An embedding is these integers times 'scale'. A cell without data is 0 in every band.",
}

SCALE_ATTRIBUTES = {"long_name": "scale of the embedding of a cell, 0 without data", "units": "1"}

VALID_ATTRIBUTES = {"long_name": "cell has data"}

WEIGHTS_ATTRIBUTES = {"long_name": "how much a cell belongs to the region"}

VALUES_ATTRIBUTES = {
    "component": {"long_name": "principal component, by variance", "units": "1"},
    "leading": {"long_name": "number of leading components", "units": "1"},
    "mean": {"long_name": "mean embedding of all cells with data", "units": "1"},
    "axes": {"long_name": "unit vector of the principal component", "units": "1"},
    "explained_variance": {"long_name": "variance along the component", "units": "1"},
    "explained_variance_ratio": {"long_name": "share of the variance along the component", "units": "1"},
    "scores": {
        "long_name": "score along the principal component",
        "units": "1",
    },
    "remainder": {
        "long_name": "distance from the plane of the leading components",
        "units": "1",
    },
    "length": {"long_name": "length of the embedding", "units": "1"},
}
"""Of principal components."""

AXIS_ATTRIBUTES = {
    LATITUDE: {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    LONGITUDE: {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
    BAND: {"long_name": "embedding dimension", "units": "1"},
}


def axes(bands: int, latitudes: np.ndarray, longitudes: np.ndarray) -> dict[str, np.ndarray]:
    """Coordinates of each dimension."""
    return {LATITUDE: latitudes, LONGITUDE: longitudes, BAND: np.arange(bands, dtype="i4")}


def group_attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    """CF attributes of the group, from the store's record."""
    source = record["source"]
    prefix = "SYNTHETIC STAND-IN for " if source["synthetic"] else ""
    return {
        "Conventions": CONVENTIONS,
        "title": f"{prefix}Copernicus-Embed, {product.YEAR}, on the ERA5 0.25° grid",
        "source": source["url"],
        "references": product.CITATION,
        "license": product.LICENSE,
        "history": f"{record['created']}: written by cop-zarr {record['cop_zarr_version']}",
    }


def grid_mapping(transform: Affine | None = None) -> dict[str, Any]:
    """The CRS as a CF grid mapping, with ``GeoTransform`` in GDAL's order if a transform is given."""
    mapping: dict[str, Any] = CRS.from_user_input(product.CRS).to_cf()
    if transform is not None:
        a, b, c, d, e, f = transform
        mapping["GeoTransform"] = " ".join(str(number) for number in (c, a, b, f, d, e))
    return mapping
