"""The benchmark prints what it promises, in every mode."""

import dataclasses
import json
import sys

import pytest

from benchmarks import convolutions, timing
from hrjax import heatmaps, models
from scripts import benchmark

SMALL = ("--input=32x32", "--batch=2", "--seconds=0.05", "--json", "--dataset=mpii")


def test_sweeps_convolutions(monkeypatch, capsys):
    cases = {"depthwise": ((8, 6, 4), (3, 4, 2, 4)), "1x1": ((8, 6, 4), (1, 5, 1, 1))}
    monkeypatch.setattr(convolutions, "CONVOLUTIONS", cases)
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
def test_times_a_network(run, mode, drawn):
    numbers = run(f"--mode={mode}", "--model=hrnet_tiny", f"--root={drawn}")
    if mode == "predict":
        check_shares(numbers)
    assert numbers["images_per_second"] == pytest.approx(2000 / numbers["ms"])
    assert numbers["compile_seconds"] > 0
    assert numbers["peak_memory_mib"] > 0
    assert numbers["program_memory_mib"] > 0
    assert numbers["ms_in_yardsticks"] == pytest.approx(numbers["ms"] / numbers["yardstick_ms"])


def test_times_every_decoding_beside_the_network(run):
    numbers = run("--mode=decode", "--model=hrnet_tiny")
    shares = [numbers[f"share_{method}"] for method in heatmaps.DECODERS]
    assert len(shares) == 5
    assert min(shares) > 0


def check_shares(numbers):
    """How many people a second, and where the time goes."""
    assert numbers["people_per_second"] > 0
    names = ("decode", "crop", "network", "after_network")
    shares = [numbers[f"share_{name}"] for name in names]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    ratio = numbers["share_after_network"] / numbers["share_network"]
    assert numbers["after_network_by_network"] == pytest.approx(ratio)


def test_tells_the_memory_of_training_steps(monkeypatch, capsys):
    model = ("--sweep=memory", "--model=pose_resnet_50", "--batch=2", "--input=32x32")
    narrow = {"width": 4, "blocks": (1, 1), "deconvs": 1, "deconv_width": 4}
    small = dataclasses.replace(models.VARIANTS["pose_resnet_50"], **narrow)
    monkeypatch.setattr(models, "VARIANTS", {**models.VARIANTS, "pose_resnet_50": small})
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *model])
    benchmark.main()
    rows = [row.split() for row in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["2", "4", "8", "2", "2", "2"]
    assert [row[2] for row in rows[3:]] == ["accumulate=2", "remat=True", "dtype=bfloat16"]
    sizes = [timing.program_memory(Program(n)) for n in (0, 2**20)]
    assert sizes == [2.0, 3.0]


class Program:
    """A compiled program of 1 MiB of arguments, which the results share, and 1 MiB of results."""

    def __init__(self, temporary):
        self.temp_size_in_bytes = temporary
        self.output_size_in_bytes = 2 * 2**20
        self.argument_size_in_bytes = self.alias_size_in_bytes = 2**20

    def memory_analysis(self):
        return self


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
