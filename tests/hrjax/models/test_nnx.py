"""Every network is an ordinary NNX module: it trains in a stock loop and works with NNX's tools."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny_networks import DROPPING, TINY

import hrjax
from hrjax import models
from hrjax.models.layers import drop_paths

FAMILIES = TINY | DROPPING
STEPS = 3


def images_and_targets(model, steps=STEPS):
    """Batches of noise; the targets have the shape of the heatmaps."""
    random = np.random.default_rng(0)
    images = random.standard_normal((steps, 4, 32, 32, 3)).astype(np.float32)
    heatmaps = jax.eval_shape(lambda images: nnx.clone(model)(images), images[0])
    return images, random.standard_normal((steps, *heatmaps.shape)).astype(np.float32)


@nnx.jit
def stock_step(model, optimizer, images, targets):
    """The training step of NNX's own tutorials."""

    def loss_fn(model):
        return jnp.mean((model(images) - targets) ** 2)

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def apply_with(draws, graph, params, stats, images):
    """`hrjax.apply`, with these random numbers for drop path instead of those of a key."""
    model = models.merge(graph, params, stats)
    for layer, own in zip(dropping(model), draws, strict=True):
        layer.draws = own
    heatmaps = model(images)
    for layer in dropping(model):
        layer.draws = None
    return heatmaps, hrjax.split(model)[2]


def dropping(model):
    return [layer for layer in drop_paths(model) if layer.rate]


def pure_losses(network, images, targets, draws):
    """The losses of training by `hrjax.apply` and optax on plain dicts."""
    graph, params, stats = network
    optimizer = optax.adam(1e-3)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, stats, opt_state, images, targets, draws):
        def loss_fn(params):
            forward = apply_with if draws else lambda _, *network: hrjax.apply(*network)
            heatmaps, after = forward(draws, graph, params, stats, images)
            return jnp.mean((heatmaps - targets) ** 2), after

        (loss, stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return loss, optax.apply_updates(params, updates), stats, opt_state

    losses = []
    for batch in zip(images, targets, draws, strict=True):
        loss, params, stats, opt_state = step(params, stats, opt_state, *batch)
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stock_loop_trains_like_the_pure_functions(name):
    model = hrjax.create(name, **FAMILIES[name])
    # Larger kernels, since heatmaps next to zero would hide the network from the loss.
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: 100 * x if x.ndim > 3 else x, params))
    images, targets = images_and_targets(model)
    network = hrjax.split(model)
    keys = [layer.rngs.key.get_value() for layer in dropping(model)]
    draws = [
        [jax.random.uniform(jax.random.fold_in(key, step), (4,)) for key in keys]
        for step in range(STEPS)
    ]
    assert bool(keys) == (name in DROPPING)
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    batches = zip(images, targets, strict=True)
    losses = [float(stock_step(model, optimizer, *batch)) for batch in batches]
    np.testing.assert_allclose(losses, pure_losses(network, images, targets, draws), rtol=1e-5)
    assert len(set(losses)) == STEPS


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
    images = images_and_targets(model)[0][0]
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
