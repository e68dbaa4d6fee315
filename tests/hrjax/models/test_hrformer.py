import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hrjax
from hrjax.models import hrformer
from hrjax.models.layers import DropPath, HostInitializer, give_draws


def attention(channels=1, heads=1, window=4, position_bias=False):
    """Attention with equal weights for all tokens, and with their inputs as values."""
    unit = hrformer.WindowAttention(
        channels, heads, window=window, position_bias=position_bias, rngs=HostInitializer(0)
    )
    for layer in (unit.q, unit.k):
        layer.matrix.set_value(jnp.zeros((channels, channels)))
    for layer in (unit.v, unit.out):
        layer.matrix.set_value(jnp.eye(channels))
        layer.bias.set_value(jnp.zeros(channels))
    return unit


def test_relative_positions_of_a_window_of_four_pixels():
    # Rows of a 3x3 table: query minus key, from (-1, -1) to (1, 1).
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    np.testing.assert_array_equal(hrformer.relative_positions(2), expected)


def test_relative_positions_are_those_of_the_official_code():
    index = hrformer.relative_positions(7)
    assert index.shape == (49, 49)
    assert (index.diagonal() == 84).all()
    assert index[0, 48] == 0
    assert index[48, 0] == 168
    assert index[0, 1] == 83  # a column to the right
    assert index[0, 7] == 84 - 13  # a row further down


def test_padding_is_centered():
    # The branches of 256x192 and of 384x288, as the reference pads them.
    sizes = [64, 48, 32, 24, 16, 12, 8, 6, 96, 72, 36, 18, 9]
    expected = [(3, 3), (0, 1), (1, 2), (2, 2), (2, 3), (1, 1), (3, 3), (0, 1)]
    expected += [(1, 1), (2, 3), (3, 3), (1, 2), (2, 3)]
    assert [hrformer._padding(size, 7) for size in sizes] == expected


def test_padding_decides_where_windows_lie():
    # Five columns become eight, 1 + 5 + 2: three of them in the first window, two in the second.
    x = jnp.arange(20.0).reshape(1, 4, 5, 1)
    y = jax.jit(attention())(x)[0, :, :, 0]
    np.testing.assert_allclose(y[:, :3], np.full((4, 3), x[:, :, :3].sum() / 16), rtol=1e-6)
    np.testing.assert_allclose(y[:, 3:], np.full((4, 2), x[:, :, 3:].sum() / 16), rtol=1e-6)


def test_padding_takes_part_with_the_biases_as_values():
    unit = attention()
    unit.v.bias.set_value(jnp.asarray([5.0]))
    # Six pixels of 1 + 5 and ten of 0 + 5.
    np.testing.assert_allclose(
        jax.jit(unit)(jnp.ones((1, 2, 3, 1))), np.full((1, 2, 3, 1), 6 / 16 + 5)
    )


def test_attention_is_scaled_by_the_width_of_a_head():
    unit = attention(channels=8, heads=2, window=1)
    unit.window = 2
    unit.q.bias.set_value(jnp.ones(8))
    unit.k.matrix.set_value(jnp.eye(8))
    unit.k.bias.set_value(jnp.zeros(8))
    x = np.zeros((1, 2, 2, 8), np.float32)
    x[0, 0, 0, 4:] = 1.0
    # In the second head the first pixel's logit is 4 / sqrt(4) = 2, the others' 0; the heads do
    # not mix.
    expected = np.zeros(8)
    expected[4:] = np.exp(2) / (np.exp(2) + 3)
    np.testing.assert_allclose(jax.jit(unit)(jnp.asarray(x))[0, 1, 1], expected, rtol=1e-6)


@pytest.mark.parametrize("position_bias", [False, True])
def test_the_position_bias_is_added_only_if_enabled(position_bias):
    unit = attention(heads=1, window=2, position_bias=position_bias)
    unit.relative_position_bias_table.set_value(jnp.log(jnp.arange(1.0, 10.0))[:, None])
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    # Weights of keys are 1 + the table's row: the first query reads rows 4, 3, 1, 0.
    weights = np.array([5, 4, 2, 1]) if position_bias else np.ones(4)
    expected = weights @ [1, 2, 3, 4] / weights.sum()
    np.testing.assert_allclose(jax.jit(unit)(x)[0, 0, 0, 0], expected, rtol=1e-6)


def test_heads_that_do_not_divide_the_width_are_an_error():
    with pytest.raises(ValueError, match="3 heads do not divide 32 channels"):
        hrjax.create("hrformer_small", heads=3)


@pytest.fixture(scope="module")
def block():
    config = hrformer.HRFormerConfig()
    return hrformer.TransformerBlock(32, 2, config, rate=0.0, rngs=HostInitializer(0))


def test_position_tables_start_normal():
    unit = hrformer.WindowAttention(32, 16, window=7, position_bias=False, rngs=HostInitializer(0))
    table = unit.relative_position_bias_table.get_value()
    assert table.shape == (169, 16)
    np.testing.assert_allclose(table.std(), 0.02, rtol=0.05)


def test_the_projections_start_uniform_and_the_mlp_small(block):
    np.testing.assert_allclose(
        block.attention.q.matrix.get_value().std(), 1 / np.sqrt(96), rtol=0.05
    )
    for unit in block.mlp.steps:
        np.testing.assert_allclose(unit.conv.kernel.get_value().std(), 0.001, rtol=0.05)
        assert (unit.conv.bias.get_value() == 0).all()


def test_the_mlp_ends_with_gelu(block):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 7, 32)), jnp.float32)
    graph, state = nnx.split(block.mlp)
    y = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)
    # GELU's minimum is -0.17; batch norm's output goes far below.
    assert -0.171 < y.min() < -0.16


def test_drop_path_grows_with_depth_equally_in_all_branches():
    model = hrformer.build(hrformer.HRFormerConfig(), rngs=HostInitializer(None))
    chains = [module.blocks for stage in model.stages for module in stage.modules]
    rates = [
        {drop.rate for unit in block.branches for drop in (unit.drop1, unit.drop2)}
        for chain in chains
        for block in chain
    ]
    assert all(len(rate) == 1 for rate in rates)
    np.testing.assert_allclose([rate.pop() for rate in rates], 0.1 * np.arange(14) / 13)
    heads = [unit.attention.heads for unit in chains[-1][0].branches]
    assert heads == [1, 2, 4, 8]


def test_the_last_module_fuses_only_the_largest_branch():
    model = hrformer.build(hrformer.HRFormerConfig(), rngs=HostInitializer(None))
    rows = [len(module.fuse.paths) for stage in model.stages for module in stage.modules]
    assert rows == [2, 3, 3, 3, 3, 4, 1]


def test_every_drop_path_gets_draws_of_its_own():
    model = hrformer.build(hrformer.HRFormerConfig(), rngs=HostInitializer(None))
    give_draws(model, jax.random.key(0), 4)
    draws = [np.asarray(m.draws) for _, m in nnx.iter_modules(model) if isinstance(m, DropPath)]
    assert len(np.unique(draws, axis=0)) == len(draws) == 88
