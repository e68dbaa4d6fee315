"""scripts/model_table.py: the tables of all pages are up to date, and right."""

import importlib
import json

import pytest

from hrjax import models
from hrjax.weights import published
from scripts import model_table


@pytest.mark.long
def test_the_tables_are_up_to_date(monkeypatch):
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
        {**row, "model": "hrnet_w32", "runtime": "jax", "ms": 20.0},
        {**row, "model": "hrnet_w32", "runtime": "onnxruntime", "ms": 15.0},
    ]
    file = tmp_path / "latency.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert model_table.read_latencies(file) == {
        ("hrnet_w32", (256, 192), ""): "12.3",
        ("hrnet_w32", (256, 192), "onnxruntime"): "0.75",
    }
    assert model_table.read_latencies(tmp_path / "none.json") == {}


def test_quick_tables_are_up_to_date():
    # Those that need no count of operations; the long test above covers all.
    for name, tables in model_table.TABLES.items():
        page = (model_table.ROOT / name).read_text(encoding="utf-8")
        for key, make in tables.items():
            assert key == "all" or model_table.replace(page, key, make()) == page


def test_a_table_is_replaced_between_its_markers():
    page = "a\n<!-- scripts/model_table.py one -->\nold\n<!-- end -->\nb\n"
    expected = "a\n<!-- scripts/model_table.py one -->\n\nnew\n\n<!-- end -->\nb\n"
    assert model_table.replace(page, "one", "new") == expected
    assert model_table.replace(expected, "one", "new") == expected


def write_lines(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_network_that_another_beats_in_both_is_left_out(tmp_path, monkeypatch):
    row = {"mode": "forward", "batch": 1, "dtype": "float32", "input": "256x192"}
    times = {"hrnet_w32": 50.0, "hrnet_w48": 90.0, "pose_resnet_50": 60.0, "litehrnet_18": 7.0}
    write_lines(
        tmp_path, "latency.json", [{**row, "model": name, "ms": ms} for name, ms in times.items()]
    )
    monkeypatch.setattr(model_table, "DOCS", tmp_path)
    table = model_table.best_models(model_table.COCO_AP)
    # Pose-ResNet-50 has an AP of 70.4 and takes longer than HRNet-W32, which has 74.4.
    assert [line.split(" | ")[1] for line in table.split("\n")[2:]] == [
        *("litehrnet_18", "hrnet_w32", "hrnet_w48")
    ]
    assert "| COCO AP | variant |" in table


def test_memory_that_was_not_measured_is_a_dash(tmp_path, monkeypatch):
    rows = [
        {"mode": "train", "model": "a", "batch": 8, "mib": 1234.4},
        {"mode": "predict", "model": "a", "batch": 8, "mib": 10.2},
        {"mode": "predict", "model": "b", "batch": 8, "mib": 20.0},
    ]
    write_lines(tmp_path, "memory.json", rows)
    alone = {"model": "b", "batch": 1, "input": "256x192", "program_memory_mib": 5.4}
    write_lines(tmp_path, "latency.json", [alone, {**alone, "model": "a", "input": "384x288"}])
    monkeypatch.setattr(model_table, "DOCS", tmp_path)
    expected = [
        "| network | alone, batch 1 | predict, batch 8 | train, batch 8 |",
        "| --- | --- | --- | --- |",
        "| a | – | 10 | 1,234 |",
        "| b | 5 | 20 | – |",
    ]
    assert model_table.memory().split("\n") == expected


def test_every_published_name_is_in_the_table():
    for name in published.PUBLISHED:
        assert f"`{name}`" in model_table.published_names()
