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
    assert compare_runs.train(tmp_path / "alone_0", ["--config=none"], 0, 1) == 0.25
    assert "alone_0: AP 0.2500" in capsys.readouterr().out
