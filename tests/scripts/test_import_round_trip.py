"""From a tool's files to predictions: import, check, three training steps, predict."""

import json
import sys

import jax
import label_files
import pytest

from hrjax import recipes
from hrjax.runtime import distributed
from hrjax.training import train
from scripts import predict, prepare_data

RECIPE = """
from hrjax import recipes

def get_config(variant=""):
    config = recipes.base("pose_resnet_50", "custom", (32, 32))
    config.model.update({"num_joints": 3, "width": 4, "blocks": (1,), "deconvs": 0})
    config.train.update({"batch_size": 1, "epochs": 1})
    config.eval.update({"batch_size": 1, "every_epochs": 1})
    return config.lock()
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["yolo", "cvat_video", "label_studio", "deeplabcut", "sleap"])
def test_imported_labels_train_and_predict(tmp_path, monkeypatch, capsys, name):
    plan = label_files.make_plan(tmp_path, name)
    given = (f"--from={plan.tool}", f"--labels={plan.source}", f"--images={plan.images}")
    run = ("import", *given, f"--output={plan.output}", "--val=0.25", "--padding=0.3")
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", *run])
    assert prepare_data.main() == 0
    assert "no problems found" in capsys.readouterr().out
    (tmp_path / "recipe.py").write_text(RECIPE)
    config = recipes.read(str(tmp_path / "recipe.py"))
    with config.unlocked():
        config.data.root = str(plan.output)
    train.train(config, tmp_path / "run", mesh=distributed.make_mesh(jax.devices()[:1]))
    image = next((plan.output / "images").rglob("*.*"))
    arguments = [f"--source={image}", "--boxes=5,6,30,40", f"--output={tmp_path / 'out'}"]
    checkpoint = f"--checkpoint={tmp_path / 'run'}"
    monkeypatch.setattr(sys, "argv", ["predict.py", checkpoint, *arguments])
    predict.main()
    (entry,) = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(entry["keypoints"]) == 3 * len(label_files.NAMES)
    steps = list((tmp_path / "run" / "checkpoints").iterdir())
    assert [int(step.name) for step in steps] == [3]
