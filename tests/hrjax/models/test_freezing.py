"""Parts of the backbone, and networks of which some parts evaluate while others train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import common
from hrjax import models
from hrjax.config import checks
from hrjax.models.layers import BatchNorm, DropPath

ONE_OF_EACH = sorted(
    {type(config): name for name, config in reversed(models.VARIANTS.items())}.values()
)


def modules(model):
    """The batch norms and drop paths of a network by their paths, and whether each trains."""
    trains = {BatchNorm: "use_running_average", DropPath: "deterministic"}
    return {
        path: not getattr(module, trains[type(module)])
        for path, module in nnx.iter_modules(model)
        if type(module) in trains
    }


def small(name):
    """Fields of two stages with a block each."""
    return {"blocks": (1, 1)} if "resnet" in name else {"modules": (1, 1), "blocks": 1}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_config_knows_how_many_parts_a_backbone_has(name):
    _, params, _ = models.shapes(name, **small(name))
    config = common.recipe("", default=name, dataset="coco", input_size=(256, 192))
    config.model.update(small(name))
    parts = models.backbone_parts(params)
    assert checks.backbone_parts(config.model) == len(parts) == 3
    names = {path[0] for path in parts}
    assert set(params) - names <= {"head", "deconvs", "final"}


@pytest.mark.parametrize("name", ["hrformer_small", "pose_resnet_50"])
def test_frozen_parts_evaluate_and_the_others_train(name):
    model = models.create(name, **small(name))
    assert all(modules(model).values())
    models.freeze(model, 2)
    stem, stage = models.backbone_parts(models.split(model)[1])[:2]
    for path, trains in modules(model).items():
        names = tuple(map(str, path))
        assert trains != (names[:1] == stem or names[:2] == stage), path
    assert models.split(model)[0].training


def test_all_batch_norms_use_running_statistics_and_drop_paths_stay():
    model = models.create("hrnext_small", modules=(1,), blocks=1)
    models.freeze(model, 0, batch_norm=True)
    kinds = {type(module) for _, module in nnx.iter_modules(model)} & {BatchNorm, DropPath}
    assert len(kinds) == 2
    for _, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            assert module.use_running_average
        if isinstance(module, DropPath):
            assert not module.deterministic


def test_a_whole_frozen_backbone_computes_the_features_of_evaluation():
    model = models.create("pose_resnet_50", width=4, blocks=(1,), deconvs=0)
    model.eval()
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    expected, _ = models.apply(*models.split(model), images)
    model.train()
    models.freeze(model, 2)
    graph, params, stats = models.split(model)
    heatmaps, after = models.apply(graph, params, stats, images)
    np.testing.assert_array_equal(heatmaps, expected)
    jax.tree.map(np.testing.assert_array_equal, after, stats)
