"""Colours of a plot, looked up by place."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


def pixels(ax):
    """A function from degrees to the colour drawn there."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]

    def at(lon, lat):
        x, y = ax.transData.transform((lon, lat))
        return image[image.shape[0] - 1 - int(y), int(x)].astype(int)

    return at
