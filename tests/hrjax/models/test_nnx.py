"""Every network is an ordinary NNX module: it trains in a stock loop and works with NNX's tools."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny_networks import DROPPING, TINY

import hrjax
from configs import hrnet_coco
from hrjax import heatmaps, models
from hrjax.models.layers import drop_paths, give_draws
from hrjax.runtime import distributed
from hrjax.training.state import create_state
from hrjax.training.step import make_train_step

FAMILIES = TINY | DROPPING
STEPS, PEOPLE = 3, 4
# Not Adam, which turns the rounding of gradients next to zero into steps of full length.
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def batch_of_people(model, config):
    """A batch of noise with joints anywhere in it, and its targets and weights."""
    random = np.random.default_rng(0)
    batch = {
        "image": random.integers(0, 256, (PEOPLE, 32, 32, 3), np.uint8),
        "keypoints": random.uniform(0, 32, (PEOPLE, 17, 2)).astype(np.float32),
        "visible": random.integers(0, 2, (PEOPLE, 17)).astype(np.float32),
    }
    forward = jax.eval_shape(
        lambda images: nnx.clone(model)(images), jnp.zeros((PEOPLE, 32, 32, 3))
    )
    size = forward.shape[1:3]
    targets = heatmaps.encode(
        *(batch["keypoints"], batch["visible"]),
        size=size,
        stride=32 // size[0],
        sigma=config.heatmap.sigma,
        encoding=config.heatmap.encoding,
    )
    return batch, targets


@nnx.jit
def stock_step(model, optimizer, images, targets, weights):
    """The training step of NNX's own tutorials."""

    def loss_fn(model):
        return 0.5 * jnp.mean((weights[:, None, None] * (model(images) - targets)) ** 2)

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def stock_losses(model, config, draw=lambda model, step: None):
    """The losses of a stock loop on one batch; `draw` is called before each step."""
    batch, targets = batch_of_people(model, config)
    images = models.normalize(batch["image"], config.data.color)
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)
    losses = []
    for step in range(STEPS):
        draw(model, step)
        losses.append(float(stock_step(model, optimizer, images, *targets)))
    return losses


def train_step_losses(model, config):
    """The losses of the training step that `hrjax.main` runs."""
    batch, _ = batch_of_people(model, config)
    graph, params, stats = hrjax.split(model)
    mesh = distributed.make_mesh(jax.devices()[:1])
    step = make_train_step(graph, mesh, OPTIMIZER, lambda _: 0.1, config)
    state = create_state(params, stats, OPTIMIZER, average=False)
    losses = []
    for _ in range(STEPS):
        state, numbers = step(state, batch)
        losses.append(float(numbers["loss"]))
    return losses


def dropping(model):
    return [layer for layer in drop_paths(model) if layer.rate]


QUICK = "pose_resnet_50"  # the others compile in the long runs


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == QUICK else pytest.mark.long) for name in FAMILIES],
)
def test_a_stock_loop_has_the_losses_of_the_training_step(name):
    config = hrnet_coco.get_config()
    stock, ours = (hrjax.create(name, **FAMILIES[name]) for _ in range(2))
    for model in (stock, ours):
        # Larger kernels, since heatmaps next to zero would hide the network from the loss.
        params = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda x: 100 * x if x.ndim > 3 else x, params))

    def draw(model, step):
        if name in DROPPING:
            give_draws(model, jax.random.fold_in(jax.random.key(config.seed), step), PEOPLE)

    losses = stock_losses(stock, config, draw)
    np.testing.assert_allclose(losses, train_step_losses(ours, config), rtol=1e-5)
    assert len(set(losses)) == STEPS


def test_a_stock_loop_draws_from_the_streams_of_drop_path():
    model = hrjax.create("hrformer_small", **DROPPING["hrformer_small"])
    losses = stock_losses(model, hrnet_coco.get_config())
    assert np.isfinite(losses).all()
    assert [int(layer.rngs.count.get_value()) for layer in dropping(model)] == [STEPS] * 4


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return hrjax.create(request.param, **FAMILIES[request.param])


def test_modules_can_be_tabulated(model):
    table = nnx.tabulate(model, jnp.zeros((2, 32, 32, 3)), depth=1, console_kwargs={"width": 200})
    params = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert type(model).__name__ in table
    assert f"{params:,}" in table


def test_modules_can_be_cloned_split_merged_and_updated(model):
    clone = nnx.clone(model)
    graph, params, rest = nnx.split(clone, nnx.Param, ...)
    merged = nnx.merge(graph, jax.tree.map(lambda x: 2 * x, params), rest)
    kernel, doubled = (m.final.kernel.get_value() for m in (model, merged))
    np.testing.assert_array_equal(doubled, 2 * kernel)
    nnx.update(merged, nnx.state(model, nnx.Param))
    np.testing.assert_array_equal(merged.final.kernel.get_value(), kernel)


def test_modules_print_themselves(model):
    assert repr(model).startswith(f"{type(model).__name__}(")


def test_the_mode_of_a_module_is_that_of_its_graph(model):
    assert hrjax.split(model)[0].training
    model.eval()
    evaluating, _, _ = hrjax.split(model)
    assert not evaluating.training
    model.train()
    assert hrjax.split(model)[0].training
    assert hrjax.split(model)[0] != evaluating


def test_random_streams_stay_out_of_params_and_stats(model):
    names = {
        entry.key
        for tree in hrjax.split(model)[1:]
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        for entry in path
    }
    assert not names & {"rngs", "key", "count", "draws"}
    layers = dropping(model)
    assert all(layer.rngs is not None for layer in layers)  # the module itself keeps them


def test_evaluation_in_a_stock_loop_leaves_a_module_unchanged():
    model = hrjax.create("hrformer_small", **DROPPING["hrformer_small"])
    model.eval()
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngKey))))
    images = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(np.float32)
    forward = nnx.jit(lambda model, images: model(images))
    heatmaps = forward(model, images)
    # Each image's heatmaps depend on that image alone.
    np.testing.assert_allclose(forward(model, images[::-1])[::-1], heatmaps, atol=1e-7)
    after = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngKey)))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_create_draws_from_the_streams_it_is_given():
    def values(rngs):
        model = hrjax.create("hrformer_small", rngs=rngs, **DROPPING["hrformer_small"])
        attention = model.stages[0].modules[0].blocks[1].branches[0].attention
        keys = [jax.random.key_data(layer.rngs.key.get_value()) for layer in dropping(model)]
        return model.stem.conv1.conv.kernel.get_value(), attention.q.matrix.get_value(), keys

    streams = (nnx.Rngs(0), nnx.Rngs(0), nnx.Rngs(params=1, dropout=2))
    (kernel, matrix, keys), again, other = map(values, streams)
    np.testing.assert_allclose(kernel.std(), 0.001, rtol=0.05)
    np.testing.assert_allclose(matrix.std(), 1 / np.sqrt(3 * 8), rtol=0.2)
    assert len(np.unique(keys, axis=0)) == len(keys) == 4
    jax.tree.map(np.testing.assert_array_equal, (kernel, matrix, keys), again)
    assert (kernel != other[0]).all()
    assert all((a != b).any() for a, b in zip(keys, other[2], strict=True))


def test_networks_can_be_created_abstractly_from_streams():
    made = nnx.eval_shape(lambda: hrjax.create("hrnet_tiny", rngs=nnx.Rngs(0)))
    _, params, _ = models.shapes("hrnet_tiny")
    assert jax.tree.map(lambda x: x.shape, hrjax.split(made)[1]) == jax.tree.map(
        lambda x: x.shape, params
    )


def test_rngs_of_another_kind_are_an_error():
    with pytest.raises(ValueError, match=r"rngs=0 is not an nnx.Rngs; pass seed=0 or rngs=nnx.Rn"):
        hrjax.create("hrnet_tiny", rngs=0)
