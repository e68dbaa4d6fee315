"""scripts/model_summary.py: the summary from the command line."""

import sys

import pytest

from scripts import model_summary


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["model_summary.py", *arguments])
    model_summary.main()
    return capsys.readouterr().out


def test_a_variant_is_summarized(monkeypatch, capsys):
    out = run(monkeypatch, capsys, "--model=hrnet_tiny", "--input=64x64", "--joints=5")
    assert "hrnet_tiny, one image of 64x64" in out
    assert "reference count" in out


def test_a_recipe_sets_joints_and_input_size(monkeypatch, capsys):
    out = run(monkeypatch, capsys, "--config=configs/widehrnet_mpii.py", "--depth=1")
    assert "widehrnet_18, one image of 256x256" in out
    assert "2,685,624" in out
    assert "0.9563G" in out


def test_a_model_or_a_recipe_is_required(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys)
    assert "--model" in capsys.readouterr().err
