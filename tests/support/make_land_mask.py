"""Make cop_zarr/source/land_mask.npz: which cells of the lattice have their centre on land.

The mask comes from the package global-land-mask (MIT), which holds NOAA's GLOBE elevation model (public
domain) as a 1/120° land mask. It only shapes made-up data.

    pip install global-land-mask numpy
    python tests/support/make_land_mask.py
"""

from pathlib import Path

import numpy as np
from global_land_mask import globe

from cop_zarr.source.synthetic import LATTICE

TARGET = Path(__file__).parents[2] / "cop_zarr" / "source" / "land_mask.npz"


def main() -> None:
    """Look up every cell's centre and pack the answer, one bit a cell."""
    # The model ends a hair before the poles and the antimeridian.
    lat, lon = (
        np.clip(LATTICE.latitudes, -89.99, 89.99),
        np.clip(LATTICE.longitudes, -179.99, 179.99),
    )
    land = globe.is_land(*np.meshgrid(lat, lon, indexing="ij"))
    np.savez_compressed(TARGET, land=np.packbits(land, axis=1))


if __name__ == "__main__":
    main()
