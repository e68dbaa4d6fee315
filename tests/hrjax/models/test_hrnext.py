import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hrjax
from hrjax.models import hrnext
from hrjax.models.highres import Fuse
from hrjax.models.layers import BatchNorm, HostInitializer, LayerNorm

IDENTITY = np.sqrt(1 + 1e-5)  # a new batch norm divides by this in evaluation


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def block(width=4, kernels=1, **options):
    config = hrnext.HRNeXtConfig(**options)
    return hrnext.ContextBlock(width, kernels, config, rate=0.0, rngs=HostInitializer(0))


def silence(unit, value=0.0):
    """Makes a `ConvBN` return `value` everywhere."""
    unit.bn.scale.set_value(jnp.zeros_like(unit.bn.scale.get_value()))
    unit.bn.bias.set_value(jnp.full_like(unit.bn.bias.get_value(), value))


def pass_on(unit):
    """Makes a 1x1 `ConvBN` pass its input to its activation unchanged."""
    width = unit.conv.kernel.shape[-1]
    unit.conv.kernel.set_value(jnp.eye(width)[None, None] * IDENTITY)


def test_the_shortcut_of_the_mixer_starts_after_the_norm_and_inside_the_scale():
    unit = block()
    unit.eval()
    silence(unit.mixer.proj2)
    silence(unit.mlp.steps[2])
    silence(unit.local)
    unit.norm1.scale.set_value(jnp.full((4,), 3.0))
    unit.layer_scale_2.set_value(jnp.full((4,), 0.5))
    x = noise(1, 5, 5, 4)
    np.testing.assert_allclose(jax.jit(unit)(x), x + 0.5 * 3 * x / IDENTITY, rtol=1e-5)


def test_the_gate_multiplies_without_a_sigmoid():
    mixer = hrnext.GlobalMixer(4, rngs=HostInitializer(0))
    mixer.eval()
    pass_on(mixer.proj1)
    pass_on(mixer.proj2)
    silence(mixer.gate.steps[2], 5.0)
    x = noise(1, 5, 5, 4)
    expected = x + 5 * jax.nn.gelu(x, approximate=False)
    np.testing.assert_allclose(jax.jit(mixer)(x), expected, rtol=1e-5, atol=1e-6)


def test_the_gate_reaches_eleven_pixels():
    # 5x5, then 7x7 with dilation 3: 2 + 9 pixels to each side, with kernels of ones.
    mixer = hrnext.GlobalMixer(1, rngs=HostInitializer(0))
    mixer.eval()
    for unit in mixer.gate.steps:
        unit.conv.kernel.set_value(jnp.ones_like(unit.conv.kernel.get_value()))
    x = jnp.zeros((1, 29, 29, 1)).at[0, 14, 14, 0].set(1.0)
    row = np.asarray(jax.jit(mixer.gate)(x))[0, 14, :, 0]
    assert np.flatnonzero(row).tolist() == list(range(3, 26))


def test_layers_are_scaled_by_a_hundredth_at_the_start():
    unit = block(width=8)
    for scale in (unit.layer_scale_1, unit.layer_scale_2, unit.layer_scale_3):
        np.testing.assert_array_equal(scale.get_value(), np.full(8, 0.01, np.float32))


def test_local_perception_ends_with_gelu_and_has_no_norm_before_it():
    unit = block()
    unit.eval()
    silence(unit.local, -1.0)
    silence(unit.mixer.proj2)
    unit.norm1.scale.set_value(jnp.zeros(4))
    silence(unit.mlp.steps[2])
    x = noise(1, 5, 5, 4)
    gelu = -0.15865525  # of -1
    np.testing.assert_allclose(jax.jit(unit)(x), x + 0.01 * gelu, rtol=1e-5, atol=1e-6)


def test_every_branch_of_every_module_ends_with_a_layer_norm():
    model = hrnext.build(hrnext.HRNeXtConfig(), rngs=HostInitializer(None))
    modules = [module for stage in model.stages for module in stage.modules]
    ends = [[type(norm) for norm in module.fuse.steps[0].branches] for module in modules]
    assert [len(end) for end in ends] == [2, 2, 3, 3, 3, 3, 4, 4]
    assert {kind for end in ends for kind in end} == {LayerNorm}
    assert [len(module.fuse.steps[1].paths) for module in modules] == [2, 2, 3, 3, 3, 3, 4, 1]


def test_the_norms_precede_the_exchange():
    overrides = {"width": 8, "modules": (1,), "blocks": 1, "drop_path": 0.0}
    model = hrjax.create("hrnext_small", **overrides)
    norms, fuse = model.stages[0].modules[0].fuse.steps
    branches = norms([5 + noise(1, 4, 4, 8), 5 + noise(1, 2, 2, 16)])
    for x in branches:
        np.testing.assert_allclose(x.mean(-1), 0, atol=1e-5)
    assert isinstance(fuse, Fuse)


def test_larger_branches_mix_more_kernels():
    config = hrnext.VARIANTS["hrnext_base"]
    model = hrnext.build(config, rngs=HostInitializer(None))

    def counts(blocks):
        return [block.mlp.steps[0].conv.kernels.shape[0] for block in blocks]

    branches = model.stages[2].modules[0].blocks[0].branches
    assert counts(branches[:3]) == [8, 4, 2]
    assert branches[3].mlp.steps[0].conv.kernel.shape == (1, 1, 384, 1536)
    assert counts(model.stem.blocks) == [8, 8]


def test_drop_path_grows_with_depth_starting_in_the_stem():
    model = hrnext.build(hrnext.HRNeXtConfig(), rngs=HostInitializer(None))
    rows = [[unit] for unit in model.stem.blocks]
    for stage in model.stages:
        rows += [block.branches for module in stage.modules for block in module.blocks]
    rates = [{drop.rate for unit in row for drop in unit.drops} for row in rows]
    assert all(len(rate) == 1 for rate in rates)
    np.testing.assert_allclose([rate.pop() for rate in rates], 0.1 * np.arange(18) / 17)


def test_statistics_inside_blocks_are_updated_twice_a_step():
    x = noise(2, 5, 5, 4)
    moved = {}
    for double in (False, True):
        unit = block(kernels=2, double_updates=double)
        graph, state = nnx.split(unit)

        def step(state, graph=graph):
            unit = nnx.merge(graph, state)
            unit(x)
            return nnx.to_pure_dict(nnx.state(unit, nnx.BatchStat))

        moved[double] = jax.tree.leaves_with_path(jax.jit(step)(state))
    # Means start at 0, variances at 1: they move 0.1 and then 0.9 * 0.1 of the way.
    for (path, once), (_, twice) in zip(moved[False], moved[True], strict=True):
        start = {"mean": 0, "var": 1}[path[-1].key]
        np.testing.assert_allclose(twice - start, 1.9 * (once - start), rtol=1e-4, atol=1e-6)


def test_as_many_statistics_are_updated_twice_as_in_the_reference():
    model = hrnext.build(hrnext.HRNeXtConfig(), rngs=HostInitializer(None))
    norms = [module for _, module in nnx.iter_modules(model) if isinstance(module, BatchNorm)]
    momenta = collections.Counter(round(norm.momentum, 12) for norm in norms)
    assert momenta == {0.1: 87, 0.19: 686}


def test_too_few_kernels_are_an_error():
    with pytest.raises(ValueError, match=r"kernels=\(4, 2\) must have a number for each of the 4 "):
        hrjax.create("hrnext_small", kernels=(4, 2))
