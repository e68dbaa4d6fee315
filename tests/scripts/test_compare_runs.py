"""scripts/compare_runs.py: the commands and the table."""

import json
import sys

import pytest

from hrjax.config import command_line
from scripts import compare_runs


def test_the_table_has_mean_and_standard_deviation():
    table = compare_runs.summary({"alone": [0.1, 0.2, 0.3], "taught": [0.5], "lost": []})
    rows = [row.split() for row in table.splitlines()]
    assert rows[1] == ["alone", "0.2000", "0.1000", "0.1000", "0.2000", "0.3000"]
    assert rows[2] == ["taught", "0.5000", "-", "0.5000"]
    assert rows[3] == ["lost", "-", "-", "none", "finished"]


@pytest.mark.parametrize(
    ("command", "epochs"),
    [
        (compare_runs.TEACHER, 2 * compare_runs.EPOCHS),
        *(
            (command, compare_runs.EPOCHS)
            for commands in compare_runs.COMPARISONS.values()
            for command in commands.values()
        ),
    ],
)
def test_all_commands_are_valid_and_train_equally_long(command, epochs, monkeypatch):
    monkeypatch.chdir(compare_runs.ROOT)
    monkeypatch.setattr(sys, "argv", ["main", *command])
    config = command_line.parse(sys.argv).config
    assert config.train.epochs == epochs == config.eval.every_epochs
    assert (config.train.batch_size, config.data.input_size) == (16, (96, 96))
    assert config.data.dataset == "coco"


def test_finished_runs_are_reused(tmp_path, capsys):
    folder = tmp_path / "alone_0" / "eval" / "val"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"AP": 0.25}))
    assert compare_runs.train(tmp_path / "alone_0", ["--config=none"], 0, 1, ["AP"]) == [0.25]
    assert "alone_0: AP 0.2500 (0.0 CPU minutes in 0.0)" in capsys.readouterr().out


def test_recipes_for_few_people_are_compared_on_as_many_people(tmp_path, monkeypatch):
    contents = {
        "images": [{"id": 1, "file_name": "1.png", "width": 9, "height": 9}],
        "annotations": [
            {"id": n + 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
            | {"keypoints": [4, 4, 2, 5, 5, 2]}
            for n in range(100)
        ],
        "categories": [{"id": 1, "name": "mouse", "keypoints": ["snout", "tail"]}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "train.json").write_text(json.dumps(contents))
    recipe = tmp_path / "mice.py"
    recipe.write_text(
        (compare_runs.ROOT / "configs" / "hrnet_custom.py")
        .read_text()
        .replace(
            "    return config",
            f"""    config.data.root = {str(tmp_path)!r}
    config.model.num_joints = 2
    config.train.batch_size = 16
    config.train.freeze = 1
    config.init_from = "weights.npz"
    return config""",
        )
    )
    monkeypatch.chdir(compare_runs.ROOT)
    seen = {}
    for name, command in compare_runs.few_pictures(str(recipe), "test", 32).items():
        monkeypatch.setattr(sys, "argv", ["main", *command])
        config = command_line.parse(sys.argv).config
        steps = 100 // config.train.batch_size
        seen[name] = config.train.epochs * steps * config.train.batch_size
        assert (config.train.epochs, "test") == (config.eval.every_epochs, config.eval.split)
        assert config.init_from == ("" if name == "scratch" else "weights.npz")
        assert config.train.freeze == (1 if name == "recommended" else 0)
    assert seen == {"recommended": 3072, "scratch": 3072, "for_many": 3072}
