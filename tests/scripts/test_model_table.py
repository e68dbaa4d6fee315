"""scripts/model_table.py: the table in the README is up to date."""

import importlib
import json

import pytest

from hrjax import models
from scripts import model_table


@pytest.mark.long
def test_the_table_in_the_readme_is_up_to_date(monkeypatch):
    monkeypatch.setattr("sys.argv", ["model_table.py", "--check"])
    assert model_table.main() == 0


def test_every_row_has_a_recipe():
    for name, size, _, recipe in model_table.ROWS:
        height, width = size
        variant = f"{name}_{height}x{width}"
        config = importlib.import_module(f"configs.{recipe}").get_config(variant)
        assert (config.model.name, config.data.input_size) == (name, size)


def test_every_published_family_has_a_row():
    families = {models.FAMILIES[name].__name__ for name, *_ in model_table.ROWS}
    assert families == {family.__name__ for family in models.FAMILIES.values()}


def test_latencies_are_for_one_image_in_float32(tmp_path):
    row = {"mode": "forward", "batch": 1, "dtype": "float32", "input": "256x192", "ms": 12.34}
    rows = [
        {**row, "model": "hrnet_w32"},
        {**row, "model": "hrnet_w48", "batch": 8},
        {**row, "model": "hrnet_tiny", "mode": "train"},
        {**row, "model": "hrnet_w32", "runtime": "onnxruntime", "ms": 11.0},
    ]
    file = tmp_path / "latency.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert model_table.read_latencies(file) == {
        ("hrnet_w32", (256, 192), ""): "12.3",
        ("hrnet_w32", (256, 192), "onnxruntime"): "11.0",
    }
    assert model_table.read_latencies(tmp_path / "none.json") == {}
