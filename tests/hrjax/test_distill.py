"""Learning from a teacher's heatmaps as well."""

import jax
import numpy as np
import pytest

from hrjax import distill, evaluate, models, train

ONE = slice(0, 1)


@pytest.fixture(scope="module")
def taught(tmp_path_factory, drawn):
    """A trained run to learn from, with more channels than its student."""
    from conftest import tiny_config

    config = tiny_config(drawn)
    config.model.width = 12
    config.train.epochs = 1
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    train.train(config, workdir, mesh=evaluate.make_mesh(jax.devices()[ONE]))
    return workdir


def batch_of(count):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
        "keypoints": rng.uniform(4, 28, (count, 16, 2)).astype(np.float32),
        "visible": (rng.random((count, 16)) < 0.7).astype(np.float32),
    }


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_the_loss_has_the_distance_to_the_teacher(tiny, taught, batch_statistics):
    tiny.distill.teacher = str(taught)
    tiny.distill.batch_statistics = batch_statistics
    mesh = evaluate.make_mesh(jax.devices()[ONE])
    job, state = train.prepare(tiny, mesh)
    batch = batch_of(4)
    images = models.normalize(batch["image"])
    graph, _, _, _ = evaluate.create_model(tiny)
    shown = models.apply(graph, state.params, state.stats, images)[0]
    teacher = distill.open_teacher(tiny, mesh)
    wanted = models.apply(teacher.graph, *teacher.weights.values(), images)[0]
    # Paddle: mean over the joints of 0.5 times the mean square, joints without weight as zeros.
    weights = np.asarray(batch["visible"])[:, None, None]
    expected = 0.5 * np.mean((weights * (np.asarray(shown) - np.asarray(wanted))) ** 2)
    _, numbers = job.train_step(state, batch)
    assert float(numbers["distill"]) == pytest.approx(expected, rel=1e-4)
    assert float(numbers["loss"]) > float(numbers["distill"])


def test_the_teacher_follows_the_batch_only_when_told(tiny, taught):
    tiny.distill.teacher = str(taught)
    mesh = evaluate.make_mesh(jax.devices()[ONE])
    frozen = distill.open_teacher(tiny, mesh)
    tiny.distill.batch_statistics = True
    moving = distill.open_teacher(tiny, mesh)
    images = models.normalize(batch_of(4)["image"])
    seen = [
        [np.asarray(teacher.heatmaps(teacher.weights, x, None)) for x in (images, images[:2])]
        for teacher in (frozen, moving)
    ]
    np.testing.assert_allclose(seen[0][0][:2], seen[0][1], atol=1e-5)
    assert np.abs(seen[1][0][:2] - seen[1][1]).max() > 1e-3


def test_a_teacher_with_other_joints_or_colors_is_an_error(tiny, taught):
    tiny.distill.teacher = str(taught)
    tiny.model.num_joints = 17
    with pytest.raises(ValueError, match=r"has 16 joints and learnt from rgb.*student has 17"):
        distill.open_teacher(tiny, evaluate.make_mesh())


def test_a_teacher_that_does_not_say_what_it_is_needs_its_name(tiny, tmp_path):
    tiny.distill.teacher = str(tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"name its variant by --config\.distill"):
        distill.open_teacher(tiny, evaluate.make_mesh())
    tiny.distill.model = "hrnet_tiny"
    with pytest.raises(FileNotFoundError, match=r"no weights at .*weights\.pth"):
        distill.open_teacher(tiny, evaluate.make_mesh())


def test_without_a_teacher_there_is_none(tiny):
    assert distill.open_teacher(tiny, evaluate.make_mesh()) is None
