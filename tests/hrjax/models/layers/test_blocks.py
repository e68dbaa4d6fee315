import jax.numpy as jnp
import numpy as np

from hrjax.models.layers import (
    shuffle,
)


def test_shuffle_interleaves():
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(np.ravel(shuffle(*jnp.split(x, 2, axis=-1))), [0, 3, 1, 4, 2, 5])
