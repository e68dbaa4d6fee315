import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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


def masks(layer, calls=2, samples=64):
    return [np.ravel(layer(jnp.ones((samples, 1, 1, 1)))) for _ in range(calls)]


def test_drop_path_without_given_draws_takes_them_from_its_own_stream():
    layer = DropPath(0.5, rngs=nnx.Rngs(0))
    key = layer.rngs.key.get_value()
    first, second = masks(layer)
    for count, mask in enumerate((first, second)):
        draws = jax.random.uniform(jax.random.fold_in(key, count), (64,))
        np.testing.assert_array_equal(mask, np.where(draws < 0.5, 2.0, 0.0))
    assert (first != second).any()
    assert int(layer.rngs.count.get_value()) == 2


@pytest.mark.parametrize("rngs", [HostInitializer(0), nnx.Rngs(0)], ids=["host", "nnx"])
def test_each_drop_path_has_a_stream_of_its_own(rngs):
    first, second = (masks(DropPath(0.5, rngs=rngs), calls=1)[0] for _ in range(2))
    assert (first != second).any()


def test_streams_can_be_reseeded():
    layer = DropPath(0.5, rngs=HostInitializer(0))
    nnx.reseed(layer, dropout=7)
    first = masks(layer)
    nnx.reseed(layer, dropout=7)
    np.testing.assert_array_equal(first, masks(layer))


def test_given_draws_leave_the_stream_where_it_is():
    layer = DropPath(0.5, rngs=nnx.Rngs(0))
    give_draws(layer, jax.random.key(0), 64)
    masks(layer)
    assert int(layer.rngs.count.get_value()) == 0
