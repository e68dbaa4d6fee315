"""Checkpoints of a run, written by Orbax in the background: the most recent ones and the best one.

A step's folder holds the model card, `model.json`, and these items: `model` (params and stats),
`average` (the same two, averaged; only if the recipe averages), `optimizer` (the optimizer's
state), `position` (where the data stood, as JSON) and `checksums` (of the first three, as JSON).
The card is written into the same temporary folder as the arrays, which Orbax renames when all is
complete: a step has both or does not exist.
"""

import contextlib
import json
import logging
import pathlib
import zlib
from collections.abc import Callable

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from hrjax.weights import model_card
from hrjax.weights.model_card import ModelCard

logger = logging.getLogger(__name__)

SCORE = "score"
DAMAGED = ".damaged"  # appended to the name of a step's folder when it is set aside
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of folders that Orbax is still writing


class DamagedError(OSError):
    """A checkpoint can't be read, or its arrays differ from those that were saved."""


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
    metrics = None if score is None else {SCORE: score}
    try:
        manager.save(step, args=arguments, metrics=metrics)
    except Exception as error:
        raise _save_error(manager, step, error) from error


def wait(manager: ocp.CheckpointManager) -> None:
    """Returns when the last save is on disk; raises OSError if it failed."""
    try:
        manager.wait_until_finished()
    except Exception as error:
        raise _save_error(manager, None, error) from error


def latest(folder: pathlib.Path) -> int | None:
    """The most recent complete step of a folder of checkpoints, or None."""
    return max(_steps(folder), default=None)


def best(folder: pathlib.Path) -> int | None:
    """The step with the best score, the most recent one if none has a score, or None."""
    scores = {step: _read_score(folder / str(step)) for step in _steps(folder)}
    scored = [step for step, score in scores.items() if score is not None]
    return max(scored, key=scores.get) if scored else latest(folder)


def find(path: str, *, prefer: Callable[[pathlib.Path], int | None] = best) -> pathlib.Path:
    """The folder of one step: `path` itself, or `prefer`'s choice in a run or checkpoints folder.

    A step is known by what it contains and may have any name; in a run it is named by its number.
    """
    folder = pathlib.Path(path).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint at {folder}: there is no such folder")
    if is_step(folder):
        return folder
    inside = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    step = prefer(inside)
    if step is None:
        raise FileNotFoundError(
            f"no complete checkpoint in {inside}: expected a run's work directory, its "
            "checkpoints folder, or the folder of one step, which holds _CHECKPOINT_METADATA"
        )
    return inside / str(step)


def restore(step_folder: pathlib.Path, targets: dict) -> dict:
    """The items named in `targets` (name → tree of ShapeDtypeStruct), sharded as the targets."""
    step_folder = step_folder.absolute()  # Orbax finds nothing in a relative one
    checksums = _read_json(step_folder, "checksums")
    restored = {}
    with ocp.StandardCheckpointer() as reader:
        for name, target in targets.items():
            folder = step_folder / name
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
    """The most recent step that can be restored, its items, and the damaged steps after it."""
    damaged = []
    for step in sorted(_numbers(folder), reverse=True):
        step_folder = folder / str(step)
        try:
            if not is_step(step_folder):
                raise DamagedError(
                    f"{step_folder} is not complete: _CHECKPOINT_METADATA is missing"
                )
            read_position(step_folder)
            return step_folder, restore(step_folder, targets), damaged
        except (DamagedError, FileNotFoundError) as error:
            logger.warning("%s; falling back to the checkpoint before it", error)
            damaged.append(step_folder)
    raise DamagedError(
        f"none of the {len(damaged)} checkpoints in {folder} can be read (see above); restore "
        "one from a copy, or start anew in another --workdir"
    )


def set_aside(damaged: list[pathlib.Path]) -> None:
    """Renames folders of damaged steps, so that the same steps can be saved again."""
    for step_folder in damaged:
        aside = step_folder.with_name(step_folder.name + DAMAGED)
        step_folder.rename(aside)
        logger.warning("the damaged checkpoint is now %s; you may delete it", aside)


def restore_weights(step_folder: pathlib.Path, target: dict) -> dict:
    """{"params", "stats"} of a step, averaged if it has averages, sharded as `target` says."""
    item = _weights_item(step_folder)
    return restore(step_folder, {item: target})[item]


def weight_shapes(step_folder: pathlib.Path) -> dict:
    """The tree that `restore_weights` restores, with shapes and types in place of arrays."""
    with ocp.StandardCheckpointer() as reader:
        return _shapes_of(reader, step_folder.absolute() / _weights_item(step_folder))


def read_card(step_folder: pathlib.Path) -> ModelCard | None:
    """The model card of a step; None for checkpoints that are older than cards."""
    file = step_folder / model_card.FILE
    return model_card.read(file) if file.is_file() else None


def read_position(step_folder: pathlib.Path) -> dict:
    """Where the data stood when the step was saved."""
    if not (step_folder / "position" / "metadata").is_file():
        raise DamagedError(f"{step_folder} is damaged: its position is missing")
    return _read_json(step_folder, "position")


def _score(metrics):
    return metrics[SCORE]


def _read_score(step_folder):
    file = step_folder / "metrics" / "metrics"
    if not file.is_file():
        return None
    try:
        return float(json.loads(file.read_text())[SCORE])
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedError(f"{file} is damaged ({error})") from error


def _steps(folder):
    return [step for step in _numbers(folder) if is_step(folder / str(step))]


def _numbers(folder):
    """The steps that have a folder, complete or not."""
    if not folder.is_dir():
        return []
    return [int(child.name) for child in folder.iterdir() if child.name.isdigit()]


def is_step(folder: pathlib.Path) -> bool:
    """Whether a folder is one complete step, whatever its name."""
    # Orbax renames a step's folder when all of it is written.
    return (folder / "_CHECKPOINT_METADATA").is_file() and UNFINISHED not in folder.name


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
        raise _damage(folder, error) from error
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
        raise _damage(folder, error) from error


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


def _damage(folder, error):
    reason = (str(error) or repr(error)).splitlines()[0]
    return DamagedError(f"{folder} is damaged ({reason})")


def _dtypes(tree):
    return [np.dtype(leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _read_json(step_folder, name):
    """A JSON item of a step; {} where there is none."""
    file = step_folder / name / "metadata"
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedError(f"{file} is damaged ({error})") from error


def _save_error(manager, step, error):
    last = latest(pathlib.Path(manager.directory))
    reason = (str(error) or repr(error)).splitlines()[0]
    usable = "there is none before it" if last is None else f"the last usable one is step {last}"
    what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
    return OSError(
        f"could not save {what} in {manager.directory} ({reason}); {usable}. "
        "Free some disk space and run the same command again: it continues from there"
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
