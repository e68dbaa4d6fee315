"""Weights & Biases and MLflow as places that a run's log is written to.

Both are optional packages. `config.log.wandb` names a project, `config.log.mlflow` an experiment;
where their servers are, and whether there is one at all, they learn from the environment, as in
other programs (WANDB_MODE, WANDB_BASE_URL, MLFLOW_TRACKING_URI). A run that continues is the same
run there: its ids are in <workdir>/trackers.json.
"""

import dataclasses
import functools
import importlib
import importlib.util
import json
import logging
import pathlib
import re
import time
import typing
import uuid
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from data_pipelines import files
from hrjax.runtime import run_folder
from hrjax.training.logs.writers import Background, Writer

logger = logging.getLogger(__name__)

IDS = "trackers.json"
TITLES = {"wandb": "Weights & Biases", "mlflow": "MLflow"}
WITHOUT_LOGIN = ("offline", "dryrun", "disabled")  # modes of Weights & Biases
LONGEST_VALUE = 500  # characters of a parameter that all versions of MLflow take
AT_ONCE = 100  # parameters that MLflow takes in one request


def check(config: ConfigDict) -> None:
    """Raises ValueError where the config names a tracker whose package is not installed."""
    for name in _chosen(config):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"config.log.{name} is {config.log[name]!r}, but the package {name} can't be "
                f"imported ({error}): pip install 'hrjax[{name}]', or leave the field empty"
            ) from error


def open_all(config: ConfigDict, workdir: pathlib.Path) -> list[Writer]:
    """The trackers that the config names, for the run in `workdir`, each in its own thread."""
    return [
        Background(TITLES[name], functools.partial(OPENERS[name], config, workdir))
        for name in _chosen(config)
    ]


def _chosen(config):
    return [name for name in TITLES if config.log[name]]


@dataclasses.dataclass(frozen=True)
class Wandb:
    """Writes to a run of Weights & Biases; steps before `start` are there already."""

    run: typing.Any
    start: int

    def write(
        self, step: int, numbers: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Logs the numbers of a step, and its images where Pillow is installed."""
        if step < self.start:
            return
        import wandb

        shown = {name: wandb.Image(image) for name, image in images.items() if _has_pillow()}
        self.run.log({**numbers, **shown}, step=step)

    def close(self, *, failed: bool = False) -> None:
        """Sends the rest."""
        self.run.finish(exit_code=int(failed))


def _open_wandb(config, workdir):
    import wandb

    needs_login = wandb.setup().settings.mode not in WITHOUT_LOGIN
    # `init` would ask on the terminal, in the middle of the run.
    if needs_login and not wandb.login(prompt=False, verify=False):
        raise ValueError("not logged in: run `wandb login`, or set WANDB_MODE=offline")
    entity, _, project = config.log.wandb.rpartition("/")
    own_id = _read_ids(workdir).get("wandb") or uuid.uuid4().hex[:8]
    _keep_id(workdir, "wandb", own_id)
    run = wandb.init(
        project=project,
        entity=entity or None,
        name=workdir.absolute().name,
        id=own_id,
        resume="allow",
        dir=str(workdir),
        # It would catch what we write to the terminal, and print the numbers that we print.
        settings=wandb.Settings(console="off", quiet=True),
    )
    logger.info("%s: %s", TITLES["wandb"], f"offline, in {run.dir}" if run.offline else run.url)
    run.config.update(_parameters(config), allow_val_change=True)
    return Wandb(run, start=run.step if run.resumed else 0)


@dataclasses.dataclass(frozen=True)
class Mlflow:
    """Writes to a run of MLflow by a client of its."""

    client: typing.Any
    run_id: str

    def write(
        self, step: int, numbers: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Logs the numbers of a step, and its images where Pillow is installed."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [Metric(_name(name), x, now, step) for name, x in numbers.items()]
        self.client.log_batch(self.run_id, metrics=metrics)
        for name, image in images.items():
            if _has_pillow():
                self.client.log_image(self.run_id, image, key=name, step=step)

    def close(self, *, failed: bool = False) -> None:
        """Ends the run there."""
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


def _open_mlflow(config, workdir):
    import mlflow

    # It tries again by itself, and urllib3 would say so each time.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    client, run_id = mlflow.MlflowClient(), _read_ids(workdir).get("mlflow")
    if run_id:
        client.update_run(run_id, status="RUNNING")
        return Mlflow(client, run_id)
    experiment = mlflow.set_experiment(config.log.mlflow)
    run = client.create_run(experiment.experiment_id, run_name=workdir.absolute().name)
    _keep_id(workdir, "mlflow", run.info.run_id)
    _log_parameters(client, run.info.run_id, _parameters(config))
    return Mlflow(client, run.info.run_id)


def _log_parameters(client, run_id, parameters):
    from mlflow.entities import Param

    rows = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in parameters.items()]
    for start in range(0, len(rows), AT_ONCE):
        client.log_batch(run_id, params=rows[start : start + AT_ONCE])


OPENERS = {"wandb": _open_wandb, "mlflow": _open_mlflow}


def _parameters(config):
    """The fields of the config by their dotted names."""
    return run_folder.flatten(json.loads(config.to_json()))


def _read_ids(workdir):
    """The ids of the run in the trackers; none where the file is missing or damaged."""
    file = workdir / IDS
    if not file.exists():
        return {}
    try:
        ids = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        logger.warning("%s is damaged (%s); the run is a new one there", file, error)
        return {}
    known = ids.items() if isinstance(ids, dict) else ()
    return {name: value for name, value in known if isinstance(value, str)}


def _keep_id(workdir, name, value):
    ids = {**_read_ids(workdir), name: value}
    files.write_text(workdir / IDS, json.dumps(ids, indent=1) + "\n")


def _name(name):
    """`name` with characters that MLflow does not allow replaced."""
    return re.sub(r"[^\w./ -]", "_", name)


def _has_pillow():
    return importlib.util.find_spec("PIL") is not None
