"""Saving, keeping, finding and restoring checkpoints."""

import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from data_pipelines import skeletons
from hrjax import recipes
from hrjax.weights import checkpoints, model_card, step_files


def items(value, names=("a", "b")):
    return {"model": {"params": {name: jnp.full((3, 2), value) for name in names}}}


def targets(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def save(manager, step, tree, *, position=None, score=None, card=None):
    checkpoints.save(manager, step, tree, position=position or {}, score=score, card=card)


def write(folder, scores, *, keep=2):
    """Saves steps 1, 2, … with these scores."""
    with checkpoints.open_folder(folder, keep=keep) as manager:
        for step, score in enumerate(scores, start=1):
            save(
                manager,
                step,
                items(float(step)),
                position={"data": {"next_batch": step}},
                score=score,
            )
        checkpoints.wait(manager)


def steps(folder):
    return sorted(int(child.name) for child in folder.iterdir())


def test_restores_what_was_saved(tmp_path):
    write(tmp_path / "checkpoints", [None])
    step = checkpoints.find(str(tmp_path))
    restored = checkpoints.restore(step, targets(items(0.0)))
    np.testing.assert_array_equal(restored["model"]["params"]["b"], np.full((3, 2), 1.0))
    assert step_files.read_position(step) == {"data": {"next_batch": 1}}


@pytest.fixture
def card():
    config = recipes.find("hrnet_tiny", "mpii")
    return model_card.from_config(config, skeletons.MPII, metric="PCKh@0.5")


def test_each_step_has_the_card_with_its_own_score(card, tmp_path):
    with checkpoints.open_folder(tmp_path, keep=9) as manager:
        for step, score in ((1, None), (2, 12.5), (3, float("nan"))):
            save(manager, step, items(0.0), score=score, card=card)
        checkpoints.wait(manager)
    cards = [model_card.read(tmp_path / str(step) / "model.json") for step in (1, 2, 3)]
    assert [card.score for card in cards] == [None, 12.5, None]
    assert cards[0] == card
    assert step_files.read_card(tmp_path / "2") == cards[1]


def test_a_save_that_is_cut_off_leaves_no_card_where_steps_are(card, tmp_path, monkeypatch):
    finished = ocp.handlers.CompositeCheckpointHandler.finalize

    def stop(self, directory):
        raise OSError("the process dies here: all is written, nothing is renamed")

    with checkpoints.open_folder(tmp_path, keep=9) as manager:
        monkeypatch.setattr(ocp.handlers.CompositeCheckpointHandler, "finalize", stop)
        save(manager, 1, items(0.0), card=card)
        with pytest.raises(OSError, match="could not save"):
            checkpoints.wait(manager)
        monkeypatch.setattr(ocp.handlers.CompositeCheckpointHandler, "finalize", finished)
    unfinished = [file.parent for file in tmp_path.rglob("model.json")]
    assert len(unfinished) == 1  # beside the arrays, in Orbax's temporary folder
    assert not step_files.is_step(unfinished[0])
    assert checkpoints.latest(tmp_path) is None


def test_a_step_is_known_by_its_content_whatever_its_name(tmp_path):
    write(tmp_path / "run" / "checkpoints", [None, None])
    moved = tmp_path / "my model"
    (tmp_path / "run" / "checkpoints" / "1").rename(moved)
    assert checkpoints.find(str(moved)) == moved
    restored = checkpoints.restore(moved, targets(items(0.0)))
    np.testing.assert_array_equal(restored["model"]["params"]["b"], np.full((3, 2), 1.0))
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == 2


def test_keeps_the_last_ones_and_the_best(tmp_path):
    write(tmp_path, [0.1, 0.9, 0.4, None, None])
    assert steps(tmp_path) == [2, 4, 5]
    assert checkpoints.best(tmp_path) == 2
    assert checkpoints.latest(tmp_path) == 5


def test_a_damaged_score_is_named(tmp_path):
    write(tmp_path, [0.1])
    (tmp_path / "1" / "metrics" / "metrics").write_text("")
    with pytest.raises(step_files.DamagedError, match=r"1/metrics/metrics is damaged"):
        checkpoints.best(tmp_path)


def test_keeps_the_best_after_a_restart(tmp_path):
    write(tmp_path, [0.1, 0.9, 0.4])
    with checkpoints.open_folder(tmp_path, keep=1) as manager:
        for step in (4, 5, 6):
            save(manager, step, items(0.0), score=0.5)
        checkpoints.wait(manager)
    assert steps(tmp_path) == [2, 6]


def test_the_last_one_is_best_where_none_has_a_score(tmp_path):
    write(tmp_path, [None, None])
    assert checkpoints.best(tmp_path) == 2


def test_training_on_during_a_save_does_not_change_what_is_saved(tmp_path):
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    tree = {"params": {f"{i}": jnp.zeros((256, 1024)) for i in range(16)}}
    with checkpoints.open_folder(tmp_path, keep=1) as manager:
        save(manager, 1, {"model": tree})
        for _ in range(20):
            tree = step(tree)  # takes the memory of the tree that is being saved
        checkpoints.wait(manager)
    restored = checkpoints.restore(tmp_path / "1", {"model": targets(tree)})["model"]
    for leaf in jax.tree.leaves(restored):
        np.testing.assert_array_equal(leaf, 0)
    np.testing.assert_array_equal(tree["params"]["0"], 20)


def test_a_broken_save_is_not_a_checkpoint(tmp_path):
    write(tmp_path, [None])
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "3").mkdir()
    assert checkpoints.latest(tmp_path) == 1


def test_averaged_weights_come_first(tmp_path):
    saved = {**items(1.0), "average": items(2.0)["model"]}
    with checkpoints.open_folder(tmp_path, keep=1) as manager:
        save(manager, 7, saved)
        checkpoints.wait(manager)
    weights = checkpoints.restore_weights(tmp_path / "7", targets(items(0.0)["model"]))
    np.testing.assert_array_equal(weights["params"]["a"], 2.0)


def test_restores_onto_other_devices(tmp_path):
    write(tmp_path, [None])
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), items(0.0)
    )
    restored = checkpoints.restore(tmp_path / "1", target)
    leaf = restored["model"]["params"]["a"]
    assert leaf.sharding == whole
    np.testing.assert_array_equal(leaf, 1.0)


def test_a_checkpoint_of_another_model_lists_what_differs(tmp_path):
    write(tmp_path, [None])
    other = {"model": {"params": {"a": jnp.zeros((3, 5)), "c": jnp.zeros(4)}}}
    with pytest.raises(ValueError, match="checkpoint of another model") as caught:
        checkpoints.restore(tmp_path / "1", targets(other))
    message = str(caught.value)
    assert "missing params/c (4,)" in message
    assert "unknown params/b (3, 2)" in message
    assert "params/a is (3, 2), expected (3, 5)" in message


def test_errors_name_the_path_that_was_looked_at(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere"):
        checkpoints.find(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no complete checkpoint in"):
        checkpoints.find(str(tmp_path))


def spoil_a_number(step_folder):
    """Changes one bit in the largest file of the model."""
    files = [file for file in (step_folder / "model").rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def remove_the_data(step_folder):
    for folder in (step_folder / "model").rglob("d"):
        for file in folder.iterdir():
            file.unlink()


def remove_an_item(step_folder):
    shutil.rmtree(step_folder / "model")


def remove_the_position(step_folder):
    (step_folder / "position" / "metadata").unlink()


def cut_the_position(step_folder):
    (step_folder / "position" / "metadata").write_text('{"data": {"next_')


def remove_the_mark(step_folder):
    (step_folder / "_CHECKPOINT_METADATA").unlink()


# Orbax closes its event loop while the other array is still being read; what TensorStore then tells
# that loop is lost with this warning.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize(
    "damage",
    [
        *(spoil_a_number, remove_the_data, remove_an_item),
        *(remove_the_position, cut_the_position, remove_the_mark),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, damage):
    write(tmp_path, [None, None])
    damage(tmp_path / "2")
    found, restored, damaged = checkpoints.restore_latest(tmp_path, targets(items(0.0)))
    assert (found, damaged) == (tmp_path / "1", [tmp_path / "2"])
    np.testing.assert_array_equal(restored["model"]["params"]["a"], 1.0)
    assert f"{tmp_path / '2'}" in caplog.text
    assert "falling back to the checkpoint before it" in caplog.text
    step_files.set_aside(damaged)
    with checkpoints.open_folder(tmp_path, keep=2) as manager:
        save(manager, 2, items(7.0), position={"data": {"next_batch": 2}})
        checkpoints.wait(manager)
    assert checkpoints.latest(tmp_path) == 2
    assert (tmp_path / "2.damaged").is_dir()


def test_numbers_that_changed_on_the_disk_are_noticed(tmp_path):
    write(tmp_path, [None])
    spoil_a_number(tmp_path / "1")
    with pytest.raises(step_files.DamagedError, match=r"1/model is damaged"):
        checkpoints.restore_weights(tmp_path / "1", targets(items(0.0)["model"]))


def test_a_relative_folder_restores_too(tmp_path, monkeypatch):
    write(tmp_path / "run", [None])
    monkeypatch.chdir(tmp_path)
    found, restored, damaged = checkpoints.restore_latest(pathlib.Path("run"), targets(items(0.0)))
    assert (found, damaged) == (pathlib.Path("run") / "1", [])
    np.testing.assert_array_equal(restored["model"]["params"]["a"], 1.0)


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path):
    write(tmp_path, [None])
    remove_an_item(tmp_path / "1")
    with pytest.raises(step_files.DamagedError, match=r"none of the 1 checkpoints in .* can be"):
        checkpoints.restore_latest(tmp_path, targets(items(0.0)))


FILL_THE_DISK = """
import resource, sys, pathlib, signal
import jax.numpy as jnp
from hrjax.weights import checkpoints
folder = pathlib.Path(sys.argv[1])
with checkpoints.open_folder(folder, keep=1) as manager:
    empty = {"position": {}, "score": None, "card": None}
    checkpoints.save(manager, 1, {"model": {"a": jnp.ones(200_000)}}, **empty)
    checkpoints.wait(manager)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        checkpoints.save(manager, 2, {"model": {"a": jnp.arange(200_000.0)}}, **empty)
        checkpoints.wait(manager)
    except OSError as error:
        print(error)
        sys.stdout.flush()
        import os
        os._exit(3)
"""


def test_a_full_disk_leaves_the_last_checkpoint_usable(tmp_path):
    # A limit on the size of files stands in for a disk that fills up during the save.
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "could not save" in done.stdout
    assert "the last usable one is step 1" in done.stdout
    assert checkpoints.latest(tmp_path) == 1
    target = {"model": {"a": jax.ShapeDtypeStruct((200_000,), jnp.float32)}}
    np.testing.assert_array_equal(checkpoints.restore(tmp_path / "1", target)["model"]["a"], 1.0)


def test_restoring_logs_no_warning_of_orbax(tmp_path):
    write(tmp_path, [None])
    program = f"""
import pathlib
from hrjax.weights import checkpoints
checkpoints.weight_shapes(pathlib.Path({str(tmp_path / "1")!r}))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
