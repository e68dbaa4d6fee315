"""Checkpoints of a run, written by Orbax in the background: the most recent ones and the best one.

A step's folder holds the model card, `model.json`, and these items: `model` (params and stats),
`average` (the same two, averaged; only if the recipe averages), `optimizer` (the optimizer's
state), `position` (where the data stood, as JSON) and `checksums` (of the first three, as JSON).
The card is written into the same temporary folder as the arrays, which Orbax renames when all is
complete: a step has both or does not exist.
"""

import contextlib
import logging
import math
import pathlib
import zlib

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from hrjax.runtime import remedies
from hrjax.weights import model_card, step_files
from hrjax.weights.model_card import ModelCard
from hrjax.weights.step_files import DamagedError

logger = logging.getLogger(__name__)


class AnotherModelError(ValueError):
    """The arrays of a checkpoint are not those of the expected network."""


def open_folder(folder: pathlib.Path, *, keep: int) -> ocp.CheckpointManager:
    """A manager that keeps the `keep` most recent checkpoints of `folder` and the best one."""
    preservation = policies.AnyPreservationPolicy(
        [
            policies.LatestN(keep),
            policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        best_fn=_score, preservation_policy=preservation, cleanup_tmp_directories=True
    )
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    # Items are folders of the step; the card stands beside them.
    beside_items = ocp.handlers.JsonCheckpointHandler(f"../{model_card.FILE}")
    handlers.add("card", ocp.args.JsonSave, beside_items)
    return ocp.CheckpointManager(folder.absolute(), options=options, handler_registry=handlers)


def save(
    manager: ocp.CheckpointManager,
    step: int,
    items: dict,
    *,
    position: dict,
    score: float | None,
    card: ModelCard | None,
) -> None:
    """Starts to save `items` (name → tree of arrays) as of now and returns at once.

    The arrays are copied on the device first, because the caller's next step may reuse their
    memory (donation) while the background thread still reads it. The `card` is saved with `score`.
    """
    wait(manager)
    checksums = {name: _checksum(tree) for name, tree in items.items()}
    trees = {name: ocp.args.StandardSave(_copy(tree)) for name, tree in items.items()}
    texts = {"position": position, "checksums": checksums}
    if card is not None:
        texts["card"] = model_card.to_dict(model_card.with_score(card, score))
    texts = {name: ocp.args.JsonSave(text) for name, text in texts.items()}
    arguments = ocp.args.Composite(**trees, **texts)
    usable = score is not None and math.isfinite(score)
    metrics = {step_files.SCORE: score} if usable else None
    try:
        started = manager.save(step, args=arguments, metrics=metrics)
    except Exception as error:
        raise _save_error(manager, step, error) from error
    if not started:
        reason = OSError(f"there is a later step in that folder already: {manager.latest_step()}")
        raise _save_error(manager, step, reason)


def wait(manager: ocp.CheckpointManager) -> None:
    """Returns when the last save is on disk; raises OSError if it failed."""
    try:
        manager.wait_until_finished()
    except Exception as error:
        raise _save_error(manager, None, error) from error


def latest(folder: pathlib.Path) -> int | None:
    """The most recent complete step of a folder of checkpoints, or None."""
    return max(step_files.complete(folder), default=None)


def best(folder: pathlib.Path) -> int | None:
    """The first of `ranked`, or None."""
    return next(iter(ranked(folder)), None)


def ranked(folder: pathlib.Path) -> list[int]:
    """The usable steps, the best score first; after them those without one, the last step first.

    Steps with a damaged file are left out, with a warning that names it. Raises DamagedError if no
    other is left.
    """
    scores, problems = {}, []
    for step in reversed(step_files.complete(folder)):
        try:
            step_files.check(folder / str(step))
            scores[step] = step_files.read_score(folder / str(step))
        except DamagedError as error:
            problems.append(error)
    if problems and not scores:
        raise DamagedError(_none_left(folder, problems))
    for problem in problems:
        logger.warning("%s; another checkpoint is used", problem)
    scored = [step for step, score in scores.items() if score is not None]
    scored.sort(key=scores.get, reverse=True)
    return [*scored, *(step for step in scores if step not in scored)]


def find(path: str) -> pathlib.Path:
    """The first of `find_all`."""
    return find_all(path)[0]


def find_all(path: str) -> list[pathlib.Path]:
    """The folder of one step: `path` itself; or those in a run or a checkpoints folder, `ranked`.

    A step is known by what it contains and may have any name; in a run it is named by its number.
    """
    folder = _existing(path)
    if step_files.is_step(folder):
        return [folder]
    inside = _steps_inside(folder)
    steps = ranked(inside)
    if not steps:
        raise _nothing_in(inside)
    return [inside / str(step) for step in steps]


def _existing(path):
    folder = pathlib.Path(path).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint at {folder}: there is no such folder")
    return folder


def _steps_inside(folder):
    return folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder


def _nothing_in(inside):
    return FileNotFoundError(
        f"no complete checkpoint in {inside}: expected a run's work directory, its "
        f"checkpoints folder, or the folder of one step, which holds {step_files.MARK}"
    )


def restore(step_folder: pathlib.Path, targets: dict) -> dict:
    """The items named in `targets` (name → tree of ShapeDtypeStruct), sharded as the targets."""
    step_folder = step_folder.absolute()  # Orbax finds nothing in a relative one
    checksums = step_files.read_checksums(step_folder)
    restored = {}
    with ocp.StandardCheckpointer() as reader:
        for name, target in targets.items():
            folder = step_folder / name
            if not folder.is_dir() and name in checksums:
                raise DamagedError(f"{folder} is missing")
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"{step_folder} has no {name}: these are converted weights, not a run's full "
                    "state; start from them with --config.init_from"
                )
            restored[name] = _read(reader, folder, target, checksums.get(name))
    return restored


def restore_latest(
    folder: pathlib.Path, targets: dict
) -> tuple[pathlib.Path, dict, list[pathlib.Path]]:
    """The most recent step that can be restored, its items, and all damaged steps of the folder.

    Steps before it count as damaged if one of their small files is; their arrays are not read.
    """
    found, problems = None, {}
    for step in reversed(step_files.numbers(folder)):
        step_folder = folder / str(step)
        try:
            step_files.check(step_folder)
            if found is None:
                found = step_folder, restore(step_folder, targets)
        except (DamagedError, FileNotFoundError) as error:
            problems[step_folder] = error
            before = "falling back to the checkpoint before it" if found is None else "not used"
            logger.warning("%s; %s", error, before)
    if found is None and not problems:
        raise _nothing_in(folder)
    if found is None:
        newest = next(iter(problems.values()))
        if not isinstance(newest, DamagedError):
            raise newest
        raise DamagedError(_none_left(folder, list(problems.values())))
    return *found, list(problems)


def restore_from(path: str, targets: dict) -> tuple[pathlib.Path, dict]:
    """The step at `path`, or the last one of a run that can be restored, and its items."""
    folder = _existing(path)
    if step_files.is_step(folder):
        return folder, restore(folder, targets)
    step_folder, items, _ = restore_latest(_steps_inside(folder), targets)
    return step_folder, items


def _none_left(folder, problems):
    return (
        f"none of the {len(problems)} checkpoints in {folder} can be read; restore one from a "
        "copy, or start anew in another --workdir:\n  " + "\n  ".join(map(str, problems))
    )


def restore_weights(step_folder: pathlib.Path, target: dict) -> dict:
    """{"params", "stats"} of a step, averaged if it has averages, sharded as `target` says."""
    item = _weights_item(step_folder)
    return restore(step_folder, {item: target})[item]


def weight_shapes(step_folder: pathlib.Path) -> dict:
    """The tree that `restore_weights` restores, with shapes and types in place of arrays."""
    with ocp.StandardCheckpointer() as reader:
        return _shapes_of(reader, step_folder.absolute() / _weights_item(step_folder))


def _score(metrics):
    return metrics[step_files.SCORE]


def _weights_item(step_folder):
    return "average" if (step_folder / "average").is_dir() else "model"


def _copy(tree):
    return jax.tree.map(jnp.copy, tree)


def _checksum(tree):
    """A checksum of all values of a tree of arrays, the same on any devices."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        total = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8), total)
    return total


def _read(reader, folder, target, checksum):
    """One item; `checksum` is the one that was saved with it, or None."""
    saved = _shapes_of(reader, folder)
    _check_same(saved, target, folder)
    try:
        tree = reader.restore(folder, target)
    except Exception as error:
        raise step_files.damage(folder, error) from error
    if checksum is not None and _dtypes(saved) == _dtypes(target) and _checksum(tree) != checksum:
        raise DamagedError(f"{folder} is damaged: its arrays differ from those that were saved")
    return tree


def _shapes_of(reader, folder):
    """Shapes and types of the arrays of an item."""
    try:
        with _without_expected_warning():
            tree = reader.metadata(folder).item_metadata.tree
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    except Exception as error:
        raise step_files.damage(folder, error) from error


@contextlib.contextmanager
def _without_expected_warning():
    """Silences a warning of Orbax: the items of a step have no metadata file of their own."""
    log = absl.logging.get_absl_logger()
    log.addFilter(_is_not_expected)
    try:
        yield
    finally:
        log.removeFilter(_is_not_expected)


def _is_not_expected(record):
    return not record.getMessage().startswith("Metadata file does not exist")


def _dtypes(tree):
    return [np.dtype(leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _save_error(manager, step, error):
    last = latest(pathlib.Path(manager.directory))
    reason = (str(error) or repr(error)).splitlines()[0]
    usable = "there is none before it" if last is None else f"the last usable one is step {last}"
    what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
    advice = remedies.advice(error) or "repair what is wrong there"
    return OSError(
        f"could not save {what} in {manager.directory} ({reason}); {usable}. "
        f"{advice[0].upper()}{advice[1:]} and run the same command again: it continues from there"
    )


def _check_same(saved, expected, folder):
    saved, expected = _shapes(saved), _shapes(expected)
    problems = [f"missing {key} {expected[key]}" for key in sorted(expected.keys() - saved.keys())]
    problems += [f"unknown {key} {saved[key]}" for key in sorted(saved.keys() - expected.keys())]
    problems += [
        f"{key} is {saved[key]}, expected {expected[key]}"
        for key in sorted(expected.keys() & saved.keys())
        if saved[key] != expected[key]
    ]
    if not problems:
        return
    shown = "\n  ".join(problems[:8])
    more = f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else ""
    raise AnotherModelError(
        f"{folder} is a checkpoint of another model: {len(problems)} of its arrays differ from "
        f"those of this config's model\n  {shown}{more}\n"
        "Use the config and variant that it was trained with"
    )


def _shapes(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "/".join(str(getattr(key, "key", key)) for key in path): tuple(leaf.shape)
        for path, leaf in leaves
    }
