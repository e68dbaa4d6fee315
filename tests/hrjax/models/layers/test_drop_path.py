import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hrjax.models.layers import (
    DropPath,
    HostInitializer,
    Sequential,
    give_draws,
)


def dropped(key, samples=512, rate=0.25):
    drop = DropPath(rate, rngs=HostInitializer(None))
    give_draws(drop, key, samples)
    return drop(jnp.full((samples, 2, 3, 1), 3.0))


def test_drop_path_drops_whole_samples_and_scales_the_rest():
    y = np.asarray(dropped(jax.random.key(0)))
    assert (y == y[:, :1, :1]).all()
    assert set(np.unique(y)) == {0.0, 4.0}
    # 128 of 512, within four standard deviations of sqrt(512 * 1/4 * 3/4) = 9.8.
    assert abs((y[:, 0, 0] == 0).sum() - 128) < 40


def test_drop_path_draws_differ_by_key_and_by_layer():
    first, second = (DropPath(0.5, rngs=HostInitializer(None)) for _ in range(2))
    draws = []
    for drop, seed in ((first, 0), (second, 0), (first, 1), (first, 0)):
        give_draws(Sequential(first, second), jax.random.key(seed), 64)
        draws.append(np.ravel(drop(jnp.ones((64, 1, 1, 1)))))
    assert (draws[0] != draws[1]).any()
    assert (draws[0] != draws[2]).any()
    np.testing.assert_array_equal(draws[0], draws[3])


def test_drop_path_in_evaluation_or_at_rate_0_draws_nothing():
    x = jnp.ones((4, 1, 1, 1))
    assert DropPath(0.0, rngs=HostInitializer(None))(x) is x
    drop = DropPath(0.5, rngs=HostInitializer(None))
    with pytest.raises(ValueError, match="drop path draws random numbers in training"):
        drop(x)
    drop.eval()
    assert drop(x) is x


def test_drop_path_on_eight_devices_draws_as_on_one():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    alone = jax.jit(dropped)(jax.random.key(0))
    shared = jax.jit(dropped, out_shardings=rows)(jax.random.key(0))
    assert len(shared.sharding.device_set) == 8
    np.testing.assert_array_equal(shared, alone)
