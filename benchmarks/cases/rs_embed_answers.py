"""rs-embed's answers for some boxes, in a file: ``rs_embed_answers.py OUT.npz BOXES_JSON``."""

import json
import sys
from typing import Any

import numpy as np
from rs_embed import BBox, OutputSpec, TemporalSpec, get_embedding

ASKED = {
    "grid": OutputSpec.grid(),
    "mean": OutputSpec.pooled(pooling="mean"),
    "max": OutputSpec.pooled(pooling="max"),
}

answers: dict[str, Any] = {}
for name, (west, south, east, north) in json.loads(sys.argv[2]).items():
    for what, output in ASKED.items():
        answers[f"{name}/{what}"] = np.asarray(
            get_embedding(
                "copernicus",
                spatial=BBox(minlon=west, minlat=south, maxlon=east, maxlat=north),
                temporal=TemporalSpec.year(2021),
                output=output,
                backend="auto",
            ).data
        )
np.savez(sys.argv[1], **answers)
