"""The benchmark prints what it promises, in every mode."""

import json
import sys

import pytest

from scripts import benchmark

SMALL = ("--input=32x32", "--batch=2", "--seconds=0.05", "--json", "--dataset=mpii")


def test_sweeps_convolutions(monkeypatch, capsys):
    cases = {"depthwise": ((8, 6, 4), (3, 4, 2, 4)), "1x1": ((8, 6, 4), (1, 5, 1, 1))}
    monkeypatch.setattr(benchmark, "CONVOLUTIONS", cases)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--sweep=conv", *SMALL])
    benchmark.main()
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["convolution", "depthwise", "1x1"]
    assert all(float(number) > 0 for row in rows[1:] for number in row.split()[1:])


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *SMALL, *arguments])
        benchmark.main()
        return json.loads(capsys.readouterr().out)

    return command


@pytest.mark.parametrize("mode", ["forward", "train", "predict"])
def test_times_a_network(run, mode):
    numbers = run(f"--mode={mode}", "--model=hrnet_tiny")
    assert numbers["images_per_second"] == pytest.approx(2000 / numbers["ms"])
    assert numbers["compile_seconds"] > 0
    assert numbers["peak_memory_mib"] > 0
    assert numbers["ms_in_yardsticks"] == pytest.approx(numbers["ms"] / numbers["yardstick_ms"])


def test_bfloat16_is_a_switch(run):
    assert run("--mode=forward", "--model=hrnet_tiny", "--dtype=bfloat16")["dtype"] == "bfloat16"


def test_times_the_data_and_says_where_time_goes(run, drawn):
    numbers = run("--mode=data", f"--root={drawn}")
    shares = [numbers[f"share_{name}"] for name in ("decode", "crop", "rest")]
    assert sum(shares) == pytest.approx(1)
    assert numbers["people_per_second_per_core"] == pytest.approx(1000 / numbers["person_ms"])
    assert numbers["imdecode_ms"] > 0
    assert numbers["person_in_imdecodes"] > 0


def test_times_training_from_files(run, drawn):
    numbers = run("--mode=end_to_end", "--model=hrnet_tiny", f"--root={drawn}")
    assert 0 <= numbers["share_waiting"] < 1
    assert numbers["first_step_seconds"] > 0
