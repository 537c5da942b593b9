import numpy as np


def test_grid(store, globe):
    answer = store.query((120, 30, 122, 32), output="grid")
    np.testing.assert_array_equal(answer.data, globe[:, 232:241, 1200:1209])
