"""Damage in any file of a step: it is named, and another step is used."""

import errno
import logging
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import skeletons
from hrjax import recipes
from hrjax.weights import checkpoints, model_card, source, step_files

SMALL = (
    *("metrics/metrics", "position/metadata", "checksums/metadata", "model.json"),
    "_CHECKPOINT_METADATA",
)


def tree(value):
    return {"params": {"a": jnp.full((3, 2), value)}, "stats": {"b": jnp.full(4, value)}}


def targets():
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree(0.0))
    return {"model": shapes, "average": shapes}


def save(manager, step, score=None):
    card = model_card.from_config(recipes.find("hrnet_tiny", "mpii"), skeletons.MPII)
    items = {"model": tree(float(step)), "average": tree(float(step))}
    position = {"data": {"next_batch": step}, "evaluated": score is not None, "skipped": []}
    checkpoints.save(manager, step, items, position=position, score=score, card=card)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose steps 1, 2 and 3 hold their own number; 3 is the best and the last one."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with checkpoints.open_folder(folder / "checkpoints", keep=9) as manager:
        for step in (1, 2, 3):
            save(manager, step, score=step / 10)
        checkpoints.wait(manager)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def write(text):
    return lambda file: file.write_bytes(text)


def to_loop(file):
    file.unlink()
    file.symlink_to(file)


def to_folder(file):
    file.unlink()
    file.mkdir()


DAMAGES = {
    "removed": pathlib.Path.unlink,
    "empty": write(b""),
    "garbage": write(b"\x93\xff\x00garbage"),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-2]),
    "list": write(b"[]"),
    "number": write(b"5"),
    "text": write(b'"a"'),
    "null": write(b"null"),
    "nested": write(b"[" * 200_000),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "loop": to_loop,
    "folder": to_folder,
}


def read_like_a_prediction(run):
    """The value of the weights that `source` takes, and the step it names."""
    opened = source.open(run)
    step, weights = opened._read(lambda x: checkpoints.restore_weights(x, targets()["model"]))
    return int(step.name), float(weights["params"]["a"][0, 0])


def check(run, file, damage, caplog):
    damage(run / "checkpoints" / "3" / file)
    with caplog.at_level(logging.INFO):
        step, value = read_like_a_prediction(run)
        assert value == step
        found, items, damaged = checkpoints.restore_latest(run / "checkpoints", targets())
    assert float(items["model"]["params"]["a"][0, 0]) == int(found.name)
    if found.name == "3":  # a file that neither Orbax nor we need
        return step, True
    assert found.name == "2"
    assert damaged == [run / "checkpoints" / "3"]
    assert f"{run / 'checkpoints' / '3'}" in caplog.text
    return step, False


# A folder in the place of a file, and Orbax's readers that are left when another file is missing.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize(
    ("file", "damage"),
    # A step without a card is one of an older version.
    [(f, d) for f in SMALL for d in DAMAGES if (f, d) != ("model.json", "removed")],
)
def test_damage_in_a_small_file_is_named_and_the_step_before_is_taken(run, file, damage, caplog):
    assert check(run, file, DAMAGES[damage], caplog) == (2, False)
    assert str(run / "checkpoints" / "3") in caplog.text
    assert pathlib.Path(file).name in caplog.text
    step_files.set_aside([run / "checkpoints" / "3"])
    with checkpoints.open_folder(run / "checkpoints", keep=9) as manager:
        save(manager, 3)
        checkpoints.wait(manager)
    assert checkpoints.ranked(run / "checkpoints") == [2, 1, 3]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_any_file_of_a_step_never_gives_other_numbers(whole, tmp_path, damage, caplog):
    step = whole / "checkpoints" / "3"
    files = [file.relative_to(step) for file in sorted(step.rglob("*")) if file.is_file()]
    assert len(files) > 20
    for number, file in enumerate(files):
        run = tmp_path / str(number)
        shutil.copytree(whole, run)
        check(run, file, DAMAGES[damage], caplog)


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("metrics/metrics", '{"score": "high"}', "its score is not a number"),
        ("metrics/metrics", '{"score": true}', "its score is not a number"),
        ("metrics/metrics", "{}", "its score is not a number"),
        ("position/metadata", '{"data": 5}', "Expected `object"),
        ("position/metadata", '{"data": {"next_batch": -1}}', "Expected `int` >= 0"),
        ("position/metadata", '{"data": {"next_batch": 1.5}}', "Expected `int`"),
        ("position/metadata", '{"skipped": ["a"]}', "Expected `int`"),
        ("position/metadata", '{"evaluated": 1}', "Expected `bool`"),
        ("checksums/metadata", '{"model": "1"}', "Expected `int`"),
    ],
)
def test_values_of_a_wrong_type_are_named(run, file, text, problem):
    (run / "checkpoints" / "3" / file).write_text(text)
    with pytest.raises(step_files.DamagedError, match=problem) as caught:
        step_files.check(run / "checkpoints" / "3")
    assert str(run / "checkpoints" / "3" / file) in str(caught.value)


def test_a_score_that_is_not_finite_is_none(run):
    (run / "checkpoints" / "3" / "metrics" / "metrics").write_text('{"score": NaN}')
    assert checkpoints.ranked(run / "checkpoints") == [2, 1, 3]
    with checkpoints.open_folder(run / "checkpoints", keep=9) as manager:
        save(manager, 4, score=float("nan"))
        checkpoints.wait(manager)
    assert step_files.read_score(run / "checkpoints" / "4") is None


def test_a_card_that_cannot_be_used_gives_way_to_another_step(run, caplog):
    (run / "checkpoints" / "3" / "model.json").write_text("{}")
    assert source.open(run).location.name == "2"
    assert "3/model.json is not a usable model card" in caplog.text
    with pytest.raises(ValueError, match=r"3/model\.json is not a usable model card"):
        source.open(run / "checkpoints" / "3")
    step_files.check(run / "checkpoints" / "3")  # training does not need it


def test_where_all_are_damaged_each_file_is_named(run):
    for step in (1, 2, 3):
        (run / "checkpoints" / str(step) / "metrics" / "metrics").write_text("")
    for read in (source.open, lambda x: checkpoints.restore_latest(x / "checkpoints", targets())):
        with pytest.raises(step_files.DamagedError, match="none of the 3 checkpoints") as caught:
            read(run)
        for step in (1, 2, 3):
            assert f"{step}/metrics/metrics is damaged (Expecting value" in str(caught.value)


def test_an_older_damaged_step_does_not_keep_the_run_from_saving(run, caplog):
    (run / "checkpoints" / "1" / "metrics" / "metrics").write_text("")
    found, _, damaged = checkpoints.restore_latest(run / "checkpoints", targets())
    assert (found.name, [step.name for step in damaged]) == ("3", ["1"])
    step_files.set_aside(damaged)
    with checkpoints.open_folder(run / "checkpoints", keep=2) as manager:
        save(manager, 4)
        checkpoints.wait(manager)
    assert checkpoints.latest(run / "checkpoints") == 4


STRAYS = {
    "12.tmp": pathlib.Path.mkdir,
    "abc": pathlib.Path.mkdir,
    "000100": pathlib.Path.mkdir,
    "\u00b2": pathlib.Path.mkdir,
    "\u0661\u0662": pathlib.Path.mkdir,
    "-4": pathlib.Path.mkdir,
    "5": pathlib.Path.mkdir,
    "400": pathlib.Path.mkdir,
    "6": lambda path: path.write_text("a file"),
    "500": lambda path: path.write_text("a file"),
    "7": lambda path: path.symlink_to(path),
    "8": lambda path: path.symlink_to(path.parent / "gone"),
    "3.damaged": lambda path: shutil.copytree(path.parent / "3", path),
    "notes.txt": lambda path: path.write_text("mine"),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_strays_in_the_folder_of_checkpoints_change_nothing(run, stray):
    folder = run / "checkpoints"
    before = set(folder.iterdir())
    STRAYS[stray](folder / stray)
    assert read_like_a_prediction(run) == (3, 3.0)
    found, _, damaged = checkpoints.restore_latest(folder, targets())
    assert found.name == "3"
    step_files.set_aside(damaged)
    with checkpoints.open_folder(folder, keep=9) as manager:
        for step in (4, 5, 6, 7, 8, 400, 500):
            save(manager, step)
        checkpoints.wait(manager)
    assert checkpoints.latest(folder) == 500
    kept = {path.name for path in set(folder.iterdir()) - before}
    assert kept >= {"4", "5", "6", "7", "8", "400", "500"}
    assert {stray, f"{stray}.damaged"} & kept  # nothing is removed without a word


def test_a_second_damaged_step_of_the_same_number_is_set_aside_too(run):
    folder = run / "checkpoints"
    for step in (1, 2):
        (folder / str(step)).rename(folder / "7")
        step_files.set_aside([folder / "7"])
    assert sorted(x.name for x in folder.iterdir()) == ["3", "7.damaged", "7.damaged-2"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ESTALE, "Stale file handle"),
        ValueError("NOT_FOUND: Error opening file: Too many open files [EMFILE 24]"),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
)
def test_limits_of_the_machine_are_not_damage(error):
    assert not isinstance(step_files.damage("a", error), step_files.DamagedError)
    assert "a can't be read" in str(step_files.damage("a", error))
    cause = KeyError("x")
    cause.__cause__ = error
    assert not isinstance(step_files.damage("a", cause), step_files.DamagedError)
    assert isinstance(step_files.damage("a", KeyError("x")), step_files.DamagedError)


def test_numbers_that_were_saved_together_are_restored_together(whole):
    found, items, damaged = checkpoints.restore_latest(whole / "checkpoints", targets())
    assert (found.name, damaged) == ("3", [])
    np.testing.assert_array_equal(items["average"]["stats"]["b"], 3.0)
