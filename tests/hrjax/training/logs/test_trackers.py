"""Weights & Biases and MLflow: modules in their place, and the real ones where installed."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import types

import numpy as np
import pytest

from configs import quickstart
from hrjax.training.logs import trackers

PICTURE = {"predictions": np.zeros((4, 6, 3), np.uint8)}


def config(**places):
    made = quickstart.get_config()
    for name, place in places.items():
        made.log[name] = place
    return made


def write(workdir, steps, *, failed=False, **places):
    """Opens the trackers, and writes some steps."""
    for writer in trackers.open_all(config(**places), workdir):
        for step in steps:
            writer.write(step, {"loss": 1.0 / step, "eval/PCKh@0.5": 50.0}, PICTURE)
        writer.close(failed=failed)


@pytest.fixture
def wandb(monkeypatch):
    """A module in the place of wandb; `runs` has the arguments of `init` and what was logged."""
    module = types.ModuleType("wandb")
    module.runs = []

    def init(**arguments):
        logged, known = [], [run for run in module.runs if run["id"] == arguments["id"]]
        last = max((step for run in known for step, _ in run["logged"]), default=-1)
        parameters = {}
        run = types.SimpleNamespace(
            resumed=bool(known),
            offline=False,
            url=f"https://wandb/{arguments['id']}",
            step=last + 1,
            config=types.SimpleNamespace(update=lambda new, **_: parameters.update(new)),
            log=lambda numbers, step: logged.append((step, numbers)),
            finish=lambda exit_code: module.runs[-1].update(exit_code=exit_code),
        )
        module.runs.append({**arguments, "logged": logged, "parameters": parameters})
        return run

    module.init = init
    module.logged_in = True
    module.login = lambda prompt, verify: module.logged_in
    settings = types.SimpleNamespace(mode="online")
    module.setup = lambda: types.SimpleNamespace(settings=settings)
    module.Settings = lambda **settings: settings
    module.Image = lambda pixels: ("image", pixels.shape)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch):
    """A module in the place of mlflow; `runs` has what each run got."""
    module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    module.runs, module.allowed = {}, 100

    class Client:
        def create_run(self, experiment, run_name):
            key = f"run{len(module.runs)}"
            module.runs[key] = {"name": run_name, "metrics": [], "params": {}, "images": []}
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=key))

        def update_run(self, key, status):
            module.runs[key]["status"] = status

        def log_batch(self, key, metrics=(), params=()):
            assert len(params) <= module.allowed
            module.runs[key]["metrics"] += [(name, x, step) for name, x, _, step in metrics]
            module.runs[key]["params"].update(params)

        def log_image(self, run_id, image, *, key, step):
            module.runs[run_id]["images"].append((key, image.shape, step))

        def set_terminated(self, key, status):
            module.runs[key]["status"] = status

    module.MlflowClient = Client
    module.set_experiment = lambda name: types.SimpleNamespace(experiment_id=f"id of {name}")
    entities.Metric = lambda name, value, time, step: (name, value, time, step)
    entities.Param = lambda name, value: (name, value)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return module


def test_wandb_gets_the_config_numbers_and_pictures(wandb, tmp_path):
    (tmp_path / "first").mkdir()
    write(tmp_path / "first", [50], wandb="team/poses")
    (run,) = wandb.runs
    assert (run["entity"], run["project"], run["name"]) == ("team", "poses", "first")
    assert run["parameters"]["optimizer.lr"] == config().optimizer.lr
    ((step, numbers),) = run["logged"]
    assert (step, numbers["loss"]) == (50, 0.02)
    assert numbers["predictions"] == ("image", (4, 6, 3))
    assert run["exit_code"] == 0


def test_a_run_that_continues_is_the_same_one_in_wandb_and_repeats_no_step(wandb, tmp_path):
    write(tmp_path, [1, 2, 3], wandb="poses", failed=True)
    write(tmp_path, [2, 3, 4], wandb="poses")
    first, second = wandb.runs
    assert first["exit_code"] == 1
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": first["id"]}
    assert first["id"] == second["id"]
    assert [step for step, _ in second["logged"]] == [4]


def test_mlflow_gets_the_config_numbers_and_pictures_of_a_run_that_continues(mlflow, tmp_path):
    write(tmp_path, [1], mlflow="poses", failed=True)
    assert mlflow.runs["run0"]["status"] == "FAILED"
    write(tmp_path, [2], mlflow="poses")
    ((key, run),) = mlflow.runs.items()
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"mlflow": key}
    assert run["name"] == tmp_path.name
    # MLflow allows neither @ nor values of any length.
    assert ("eval/PCKh_0.5", 50.0, 1) in run["metrics"]
    assert ("loss", 0.5, 2) in run["metrics"]
    assert run["images"] == [("predictions", (4, 6, 3), 1), ("predictions", (4, 6, 3), 2)]
    assert run["params"]["data.input_size"] == str(list(config().data.input_size))
    assert run["status"] == "FINISHED"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_one_message_with_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    known = rf"config\.log\.{name} is 'poses'.*pip install 'hrjax\[{name}\]'"
    with pytest.raises(ValueError, match=known):
        trackers.check(config(**{name: "poses"}))
    trackers.check(config())


def test_without_a_login_the_run_goes_on_and_nothing_is_asked(wandb, tmp_path, caplog):
    wandb.logged_in = False
    write(tmp_path, [1], wandb="poses")
    assert not wandb.runs
    assert "nothing is logged to Weights & Biases (not logged in: run `wandb login`" in caplog.text
    wandb.setup().settings.mode = "offline"
    write(tmp_path, [1], wandb="poses")
    assert len(wandb.runs) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"wandb": 5}', "[" * 100_000])
def test_damaged_ids_begin_a_new_run(wandb, tmp_path, text):
    (tmp_path / "trackers.json").write_text(text)
    write(tmp_path, [1], wandb="poses")
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": wandb.runs[0]["id"]}


def run_real(tmp_path, name, **environment):
    """Writes with the real package in a process of its own, twice: a run, and its continuation."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"requires {name} (an extra of that name)")
    code = f"""
import pathlib
from hrjax.training.logs import trackers
from logs.test_trackers import config, write
chosen = config({name}="poses")
trackers.check(chosen)
workdir = pathlib.Path("run")
workdir.mkdir(exist_ok=True)
for steps in ([1, 2], [2, 3]):
    write(workdir, steps, {name}="poses")
"""
    folders = [os.getcwd(), os.path.join(os.getcwd(), "tests/hrjax/training")]
    paths = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing is logged" not in done.stderr
    assert "can't be written" not in done.stderr
    return json.loads((tmp_path / "run" / "trackers.json").read_text())[name]


@pytest.mark.long
def test_the_real_wandb_writes_without_a_network(tmp_path):
    own_id = run_real(tmp_path, "wandb", WANDB_MODE="offline", WANDB_SILENT="true")
    files = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*-{own_id}/run-{own_id}.wandb"))
    assert files
    assert all(file.stat().st_size > 1000 for file in files)


@pytest.mark.long
def test_the_real_mlflow_writes_into_a_database_without_a_server(tmp_path):
    if importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("requires sqlalchemy, which the extra mlflow has")
    database = tmp_path / "mlflow.db"
    key = run_real(tmp_path, "mlflow", MLFLOW_TRACKING_URI=f"sqlite:///{database}")
    with sqlite3.connect(database) as connection:
        select = "select key, step, value from metrics where run_uuid = ?"
        rows = set(connection.execute(select, (key,)))
        (status,) = connection.execute("select status from runs where run_uuid = ?", (key,))
    assert {("loss", 1, 1.0), ("loss", 2, 0.5), ("loss", 3, 1 / 3)} <= rows
    assert ("eval/PCKh_0.5", 3, 50.0) in rows
    assert status == ("FINISHED",)
