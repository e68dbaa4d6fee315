"""scripts/benchmark_memory.py prints a line for each program, and memory grows with the batch."""

import json

import pytest

from scripts import benchmark_memory


@pytest.mark.long
def test_memory_grows_with_the_batch(monkeypatch, capsys):
    options = ("--models=hrnet_tiny", "--modes=predict", "--batches=1,8")
    monkeypatch.setattr("sys.argv", ["benchmark_memory.py", *options])
    benchmark_memory.main()
    small, large = map(json.loads, capsys.readouterr().out.splitlines())
    assert (small["mode"], small["model"], small["input"]) == ("predict", "hrnet_tiny", "256x192")
    assert (small["batch"], large["batch"]) == (1, 8)
    # Seven more people: their uint8 crops and mirrored float32 copies alone take this much.
    assert large["mib"] - small["mib"] > 7 * (1 + 2 * 4) * 256 * 192 * 3 / 2**20
