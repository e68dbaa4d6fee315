import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax.models import litehrnet
from hrjax.models.layers import HostInitializer


def test_weights_are_squeezed_to_an_eighth_across_and_a_quarter_within_branches():
    # Rounded down, as recorded in the official checkpoints.
    model = litehrnet.build(litehrnet.LiteHRNetConfig(), rngs=HostInitializer(None))
    blocks = [stage.modules[0].blocks[0] for stage in model.stages]
    across = [block.cross.conv1.conv.kernel.shape[2:] for block in blocks]
    assert across == [(60, 7), (140, 17), (300, 37)]
    within = [unit.fc1.kernel.shape[2:] for unit in blocks[2].spatial]
    assert within == [(20, 5), (40, 10), (80, 20), (160, 40)]


def test_cross_weights_come_from_block_means_and_go_to_blocks():
    unit = litehrnet.CrossResolutionWeighting([4, 8], 4, rngs=HostInitializer(0))
    unit.eval()
    # The weights of the first branch: a sigmoid of three times its own mean over a block.
    first, second = np.zeros((1, 1, 12, 3)), np.zeros((1, 1, 3, 12))
    first[0, 0, 0, 0], second[0, 0, 0, :4] = 1, 3
    unit.conv1.conv.kernel.set_value(jnp.asarray(first, jnp.float32))
    unit.conv2.conv.kernel.set_value(jnp.asarray(second, jnp.float32))
    x = np.zeros((1, 4, 4, 4), np.float32)
    x[0, :2, :2, 0] = [[1, 2], [3, 6]]
    larger, smallest = jax.jit(lambda x: unit([x, jnp.ones((1, 2, 2, 8))]))(x)
    gate = 1 / (1 + np.exp(-3 * 3))
    np.testing.assert_allclose(larger[0, :2, :2, 0], gate * x[0, :2, :2, 0], rtol=1e-4)
    np.testing.assert_allclose(smallest, 0.5 * np.ones((1, 2, 2, 8)))


@pytest.mark.parametrize("name", ["litehrnet_18", "naive_litehrnet_18"])
def test_blocks_keep_the_first_half_of_the_channels(name):
    model = hrjax.create(name, width=8, modules=(1,), blocks=1)
    model.eval()
    block = model.stages[0].modules[0].blocks[0]
    branches = [jnp.full((1, 4, 4, 8), 2.0), jnp.full((1, 2, 2, 16), 3.0)]
    for x, y in zip(branches, jax.jit(lambda x: block(x))(branches), strict=True):
        np.testing.assert_array_equal(y[..., ::2], x[..., : x.shape[-1] // 2])
        assert abs(y[..., 1::2]).max() < 0.1  # convolutions start small


@pytest.mark.parametrize("name", ["litehrnet_18", "naive_litehrnet_18"])
@pytest.mark.parametrize("field", ["width", "stem_width"])
def test_odd_widths_are_an_error(name, field):
    with pytest.raises(ValueError, match="width 15 is odd; blocks that shuffle split"):
        hrjax.create(name, **{field: 15})
