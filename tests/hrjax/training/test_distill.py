"""Learning from a teacher's heatmaps as well."""

import jax
import numpy as np
import pytest

from hrjax import experiment, models
from hrjax.runtime import distributed, run_folder
from hrjax.training import distill, train
from hrjax.weights import checkpoints, torch_names
from tests.conftest import micro_config

FIRST = slice(0, 1)


@pytest.fixture(scope="module")
def run_to_learn_from(tmp_path_factory, drawn):
    """A run's config and a checkpoint of it; its network has more channels than the student's."""
    config = micro_config(drawn)
    config.model.width = 8
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    run_folder.save_config(config, workdir)
    _, _, params, stats = experiment.create_model(config)
    with checkpoints.open_folder(workdir / "checkpoints", keep=1) as manager:
        model = {"params": params, "stats": stats}
        checkpoints.save(manager, 5, {"model": model}, position={}, score=None, card=None)
        checkpoints.wait(manager)
    return workdir


@pytest.fixture
def mesh():
    return distributed.make_mesh(jax.devices()[FIRST])


@pytest.fixture
def student(micro, run_to_learn_from):
    micro.distill.teacher = str(run_to_learn_from)
    return micro


def batch_of(count):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
        "keypoints": rng.uniform(4, 28, (count, 16, 2)).astype(np.float32),
        "visible": (rng.random((count, 16)) < 0.7).astype(np.float32),
    }


def see(graph, weights, images):
    """The heatmaps of a network."""
    return np.asarray(jax.jit(lambda *xs: models.apply(graph, *xs)[0])(*weights, images))


def test_the_loss_has_the_distance_to_the_teacher(student, mesh):
    setup, state = train.prepare(student, mesh)
    batch = batch_of(4)
    images = models.normalize(batch["image"], student.data.color)
    graph, _, _, _ = experiment.create_model(student)
    teacher = distill.open_teacher(student, mesh)
    shown = see(graph, (state.params, state.stats), images)
    wanted = see(teacher.graph, teacher.weights.values(), images)
    # Paddle: the mean over the joints of 0.5 times the mean square, hidden joints as zeros.
    difference = batch["visible"][:, None, None] * (shown - wanted)
    _, numbers = setup.train_step(state, batch)
    assert float(numbers["distill"]) == pytest.approx(0.5 * np.mean(difference**2), rel=1e-4)
    assert float(numbers["loss"]) > float(numbers["distill"])


def test_the_teacher_follows_the_batch_only_when_told(student, mesh):
    images = models.normalize(batch_of(4)["image"])
    other = images.at[2:].multiply(0.1)  # other neighbours of the first two
    alike = []
    for student.distill.batch_statistics in (False, True):
        teacher = distill.open_teacher(student, mesh)
        look = jax.jit(lambda x, teacher=teacher: teacher.heatmaps(teacher.weights, x, None))
        alike.append(np.allclose(look(images)[:2], look(other)[:2], rtol=1e-3, atol=1e-6))
    assert alike == [True, False]


def test_a_teacher_with_other_joints_or_colors_is_an_error(student, mesh):
    student.model.num_joints = 17
    with pytest.raises(ValueError, match=r"has 16 joints and was trained on rgb images.* has 17"):
        distill.open_teacher(student, mesh)


def test_a_teacher_that_does_not_say_what_it_is_needs_its_name(micro, mesh, tmp_path):
    _, params, stats = models.split(models.create("hrnet_tiny", num_joints=16))
    with checkpoints.open_folder(tmp_path / "alone", keep=1) as manager:
        model = {"params": params, "stats": stats}
        checkpoints.save(manager, 5, {"model": model}, position={}, score=None, card=None)
    micro.distill.teacher = str(tmp_path / "alone")
    with pytest.raises(ValueError, match=r"nothing says which network .*config\.distill\.model"):
        distill.open_teacher(micro, mesh)
    micro.distill.model = "hrnet_tiny"
    teacher = distill.open_teacher(micro, mesh)
    jax.tree.map(np.testing.assert_array_equal, teacher.weights, model)


def test_a_file_of_weights_is_recognized(micro, mesh, tmp_path):
    _, params, stats = models.split(models.create("hrnet_tiny", num_joints=16))
    np.savez(tmp_path / "weights.npz", **torch_names.to_torch("hrnet_tiny", params, stats))
    micro.distill.teacher = str(tmp_path / "weights.npz")
    teacher = distill.open_teacher(micro, mesh)
    jax.tree.map(np.testing.assert_array_equal, teacher.weights["params"], params)
    micro.distill.teacher = str(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*absent\.pth"):
        distill.open_teacher(micro, mesh)


def test_without_a_teacher_there_is_none(micro, mesh):
    assert distill.open_teacher(micro, mesh) is None
