"""rs-embed's first pooled query: ``rs_embed_query.py WEST SOUTH EAST NORTH``.

``RS_EMBED_COP_DIR`` names the folder of its GeoTIFF.
"""

import sys

from rs_embed import BBox, OutputSpec, TemporalSpec, get_embedding

west, south, east, north = map(float, sys.argv[1:])
answer = get_embedding(
    "copernicus",
    spatial=BBox(minlon=west, minlat=south, maxlon=east, maxlat=north),
    temporal=TemporalSpec.year(2021),
    output=OutputSpec.pooled(),
    backend="auto",
)
print(answer.data.mean())
