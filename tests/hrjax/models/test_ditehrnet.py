import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax.models import ditehrnet
from hrjax.models.layers import Conv, DynamicConv, HostInitializer

SMALL = {"width": 8, "modules": (1, 1, 1), "blocks": 1}


def test_the_mask_of_the_smallest_branch_gets_no_gradient():
    unit = ditehrnet.DenseContext([4, 8], 4, rngs=HostInitializer(0))
    unit.eval()
    graph, params, stats = hrjax.split(unit)
    branches = [jnp.ones((2, 4, 4, 4)), jnp.ones((2, 2, 2, 8))]

    def loss(params):
        return sum(jnp.sum(y**2) for y in hrjax.apply(graph, params, stats, branches)[0])

    gradient = jax.jit(jax.grad(loss))(params)["masks"]
    used, dead = (jax.tree.leaves(gradient[branch]["kernel"]) for branch in ("0", "1"))
    assert all((x != 0).any() for x in used)
    assert all((x == 0).all() for x in dead)


def test_pooling_cuts_cells_out_of_memory():
    # Two channels of 2x2 pixels in memory: 1 2 3 4, then 5 6 7 8. Pooled to 1x2 cells, the first
    # cell has the channels (1, 2) and (3, 4), the second (5, 6) and (7, 8); their masks are the
    # mask's first and second row. Pooling the image would mix 1 and 5 into one cell.
    x = jnp.asarray([[1.0, 2, 3, 4], [5, 6, 7, 8]]).T.reshape(1, 2, 2, 2)
    mask = np.array([0.1, 0.2, 0.3, 0.4])
    logits = jnp.asarray(np.log(mask)).reshape(1, 2, 2, 1)
    pooled = jax.jit(lambda x: ditehrnet.pool_flat(x, logits, (1, 2)))(x)
    expected = [
        [0.1 * 1 + 0.2 * 2, 0.1 * 3 + 0.2 * 4],
        [0.3 * 5 + 0.4 * 6, 0.3 * 7 + 0.4 * 8],
    ]
    np.testing.assert_allclose(pooled[0, 0], expected, rtol=1e-5)


def test_pooling_to_cells_that_do_not_divide_the_image_is_an_error():
    with pytest.raises(ValueError, match=r"cannot pool 3x3 pixels .* to 2x2 cells"):
        ditehrnet.pool_flat(jnp.ones((1, 3, 3, 2)), jnp.ones((1, 3, 3, 1)), (2, 2))


def test_a_global_context_weights_channels_by_the_masked_mean():
    unit = ditehrnet.GlobalContext(2, 1, rngs=HostInitializer(0))
    unit.eval()
    # The mask attends to where the first channel is large; the second channel there is 3.
    unit.mask.kernel.set_value(jnp.asarray([100.0, 0]).reshape(1, 1, 2, 1))
    unit.squeeze.conv.kernel.set_value(jnp.eye(2)[None, None])
    unit.expand.kernel.set_value(jnp.asarray([[0.0, 0], [0, 1]])[None, None])
    x = jnp.asarray([[1.0, 3.0], [0, 8.0]]).reshape(1, 1, 2, 2)
    gate = 1 / (1 + np.exp(-3))
    y = jax.jit(lambda x: unit(x))(x)
    np.testing.assert_allclose(y[0, 0], [[0.5, 3 * gate], [0, 8 * gate]], rtol=1e-4)


def test_branches_have_the_papers_kernels():
    model = ditehrnet.build(ditehrnet.DiteHRNetConfig(**SMALL), rngs=HostInitializer(None))
    block = model.stages[2].modules[0].blocks[0]
    convs = [[(type(p.conv), bank(p.conv).shape) for p in conv.parts] for conv in block.convs]
    assert convs == [
        [(DynamicConv, (4, 3, 3, 1, 4))],
        [(DynamicConv, (4, 3, 3, 1, 8))],
        [(DynamicConv, (2, n, n, 1, 8)) for n in (3, 5)],
        [(Conv, (n, n, 1, 8)) for n in (3, 5, 7, 9)],
    ]


def bank(conv):
    return conv.kernels if type(conv) is DynamicConv else conv.kernel


def test_lower_branches_read_the_first_one_after_its_activation():
    model = ditehrnet.build(ditehrnet.DiteHRNetConfig(**SMALL), rngs=HostInitializer(None))
    fuse = model.stages[0].modules[0].fuse
    assert fuse.echo
    assert fuse.activated


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            {"kernels": (4, 4)},
            "3 branches; kernels, groups and global_ratios need a value for each",
        ),
        ({"groups": (3, 1, 2, 4)}, "3 groups do not divide 4 channels"),
        ({"width": 6}, "a dynamic convolution needs 4 or more input channels, not 3"),
        ({"stem_width": 9}, "width 9 is odd"),
    ],
)
def test_impossible_settings_are_errors(override, message):
    with pytest.raises(ValueError, match=message):
        hrjax.create("ditehrnet_18", **SMALL | override)
