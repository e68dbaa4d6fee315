import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hrjax
from hrjax.models.highres import Fuse, IterativeHead, PerBranch, Transition
from hrjax.models.layers import HostInitializer, Separable, conv3x3

identity = functools.partial(jnp.multiply, 1)


def fuse(branches=2, outputs=2, **options):
    options = {"act": identity, **options}
    return Fuse(conv3x3, [1, 1, 1][:branches], outputs, rngs=HostInitializer(0), **options)


def replace_paths(unit, factor):
    """Replaces the path from j to i by a multiplication with `factor[i][j]`."""
    unit.paths = nnx.List([nnx.List([Scale(value) for value in row]) for row in factor])


class Scale(nnx.Module):
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x


def test_fuse_sums_all_branches():
    unit = fuse()
    replace_paths(unit, [[1, 5], [7, 1]])
    x, y = jnp.full((1, 1, 1, 1), 2.0), jnp.full((1, 1, 1, 1), 3.0)
    # x + 5 y and 7 x + y.
    assert [float(z[0, 0, 0, 0]) for z in unit([x, y])] == [17.0, 17.0]


def test_echo_adds_the_first_branch_twice_and_passes_it_on_fused():
    unit = fuse(branches=3, outputs=3, echo=True)
    replace_paths(unit, [[1, 5, 2], [7, 1, 3], [11, 13, 1]])
    branches = [jnp.full((1, 1, 1, 1), value) for value in (2.0, 3.0, -4.0)]
    # As in litehrnet.py: z0 = 2 x0 + 5 x1 + 2 x2; z1 = 2 * 7 z0 + x1 + 3 x2; z2 likewise.
    first = 2 * 2 + 5 * 3 + 2 * -4
    expected = [first, 14 * first + 3 + 3 * -4, 22 * first + 13 * 3 - 4]
    assert [float(z[0, 0, 0, 0]) for z in unit(branches)] == expected


@pytest.mark.parametrize(("activated", "lower"), [(False, 1.0), (True, 0.0)])
def test_echo_passes_on_the_first_branch_before_or_after_its_activation(activated, lower):
    # Before in Lite-HRNet and WideHRNet, after in Dite-HRNet.
    unit = fuse(echo=True, activated=activated, act=jax.nn.relu)
    replace_paths(unit, [[1, 1], [-1, 1]])
    x, y = jnp.full((1, 1, 1, 1), 1.0), jnp.full((1, 1, 1, 1), -5.0)
    # z0 = 2 - 5 = -3, activated 0; z1 = 2 * 3 - 5 = 1, or from that 0 it is -5, activated 0.
    assert [float(z[0, 0, 0, 0]) for z in unit([x, y])] == [0.0, lower]


def test_echo_updates_the_batch_norms_of_the_echoed_path_twice():
    x = [jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 2)), jnp.float32)]
    x.append(x[0][:, ::2, ::2])
    means = {}
    for echo in (False, True):
        unit = Fuse(conv3x3, [2, 2], 2, act=identity, echo=echo, rngs=HostInitializer(0))
        unit.paths[0][1].project.conv.kernel.set_value(jnp.zeros((1, 1, 2, 2)))
        unit(x)
        means[echo] = unit.paths[1][0].steps[0].bn.mean.get_value()
    # The echoed path reads 2 x instead of x; 0.1 of its mean arrives once, or 0.9 * 0.1 + 0.1.
    np.testing.assert_allclose(means[True], 2 * 1.9 * means[False], rtol=1e-5)


def test_fuse_can_stop_at_the_first_output():
    unit = fuse(outputs=1)
    outputs = unit([jnp.ones((1, 4, 4, 1)), jnp.ones((1, 2, 2, 1))])
    assert [x.shape for x in outputs] == [(1, 4, 4, 1)]


def test_transition_passes_on_branches_that_have_their_width():
    unit = Transition(Separable, [4, 8], [4, 6, 12], act=jax.nn.relu, rngs=HostInitializer(0))
    unit.eval()

    def check(branches):
        outputs = unit(branches)
        assert outputs[0] is branches[0]
        assert [x.shape for x in outputs] == [(1, 8, 8, 4), (1, 4, 4, 6), (1, 2, 2, 12)]

    jax.eval_shape(check, [jnp.ones((1, 8, 8, 4)), jnp.ones((1, 4, 4, 8))])


def test_per_branch_blocks_keep_branches_apart():
    blocks = PerBranch([Scale(2), Scale(3)])
    assert blocks([1.0, 10.0]) == [2.0, 30.0]


def test_the_iterative_head_ends_at_the_first_branch():
    head = IterativeHead([4, 8, 16], rngs=HostInitializer(0))
    head.eval()
    branches = [jnp.ones((1, 8, 8, 4)), jnp.ones((1, 4, 4, 8)), jnp.ones((1, 2, 2, 16))]
    widths = [project.pointwise.conv.kernel.shape[2:] for project in head.projects]
    assert widths == [(16, 8), (8, 4), (4, 4)]
    assert jax.eval_shape(head, branches).shape == (1, 8, 8, 4)


@pytest.mark.parametrize("size", [(48, 64), (64, 48)])
def test_images_that_cannot_be_halved_often_enough_are_an_error(size):
    graph, params, stats = hrjax.split(hrjax.create("hrnet_tiny"))
    height, width = size
    message = f"images of {width}x{height} pixels (width x height); height and width must be "
    with pytest.raises(ValueError, match=re.escape(f"{message}multiples of 32")):
        hrjax.apply(graph, params, stats, jnp.ones((1, *size, 3)))


def test_a_network_without_stages_is_an_error():
    with pytest.raises(
        ValueError, match=r"modules=\(\) makes no stage; give the number of modules"
    ):
        hrjax.create("hrnet_tiny", modules=())
