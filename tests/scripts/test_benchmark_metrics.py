"""The benchmark of metrics compares the arrays with the loops."""

import json
import sys

import pytest

from scripts import benchmark_metrics


def test_says_how_much_faster_the_arrays_are(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_metrics.py", "--people=400", "--json"])
    benchmark_metrics.main()
    numbers = json.loads(capsys.readouterr().out)
    assert 200 < numbers["kept"] < 400
    assert numbers["times_faster"] == pytest.approx(numbers["loops_s"] / numbers["arrays_s"])
    assert {"pycocotools_s", "faster_coco_eval_s"} & numbers.keys()
