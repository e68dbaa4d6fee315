"""scripts/benchmark.py: every mode prints its documented numbers."""

import dataclasses
import json
import sys

import jax
import pytest

from benchmarks import convolutions, networks, runtimes, targets, timing
from hrjax import heatmaps, models
from hrjax.models import registry
from hrjax.runtime import distributed
from scripts import benchmark

SMALL = ("--input=32x32", "--batch=2", "--seconds=0.05", "--json", "--dataset=mpii")


def test_convolution_sweep_prints_a_row_per_convolution(monkeypatch, capsys):
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
def test_modes_that_run_a_network(run, mode, drawn):
    numbers = run(f"--mode={mode}", "--model=hrnet_tiny", f"--root={drawn}")
    if mode == "predict":
        check_shares(numbers)
    assert numbers["images_per_second"] == pytest.approx(2000 / numbers["ms"])
    assert numbers["compile_seconds"] > 0
    assert numbers["peak_memory_mib"] > 0
    assert numbers["program_memory_mib"] > 0
    assert numbers["ms_in_yardsticks"] == pytest.approx(numbers["ms"] / numbers["yardstick_ms"])


def test_programs_for_a_target_need_no_pictures(run, monkeypatch):
    here = distributed.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(targets, "make_mesh", lambda *_: here)
    monkeypatch.setattr(benchmark.drawing, "write", None)
    numbers = run("--mode=predict", "--model=hrnet_tiny", "--target=tpu-v5e")
    assert numbers["kernels"] > 10


@pytest.mark.long
def test_runtimes_are_timed_in_turns(monkeypatch, capsys):
    names = ["jax", "onnxruntime", "openvino"]
    pytest.importorskip("openvino")
    arguments = [*SMALL, "--model=hrnet_tiny", f"--runtime={','.join(names)}"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    benchmark.main()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["runtime"] for row in rows] == names
    assert len({row["calls"] for row in rows}) == 1
    for row in rows:
        assert row["images_per_second"] == pytest.approx(2000 / row["ms"])


def test_runtimes_run_the_network_once_without_the_flip_test(monkeypatch, capsys):
    plans = []
    runtime = {"jax": lambda plan, crops: lambda: plans.append(plan)}
    monkeypatch.setattr(runtimes, "RUNTIMES", runtime)
    arguments = [*SMALL, "--model=litehrnet_18", "--runtime=jax"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    benchmark.main()
    assert not plans[0].card.flip_test
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime=jax,tvm"], "unknown --runtime tvm; choose among: jax, onnxruntime, openvino"),
        (["--runtime=jax", "--mode=train"], "--runtime is for --mode=forward in float32"),
    ],
)
def test_runtimes_that_cannot_be_timed(monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *SMALL, *options])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert message in capsys.readouterr().err


def test_decode_mode_covers_every_method(run):
    numbers = run("--mode=decode", "--model=hrnet_tiny")
    shares = [numbers[f"share_{method}"] for method in heatmaps.DECODERS]
    assert len(shares) == 5
    assert min(shares) > 0


def check_shares(numbers):
    """People per second, and a breakdown that adds up."""
    assert numbers["people_per_second"] > 0
    names = ("decode", "crop", "network", "after_network")
    shares = [numbers[f"share_{name}"] for name in names]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    ratio = numbers["share_after_network"] / numbers["share_network"]
    assert numbers["after_network_by_network"] == pytest.approx(ratio)


@pytest.mark.long
def test_memory_sweep_prints_a_row_per_case(monkeypatch, capsys):
    narrow = {"width": 4, "blocks": (1,), "deconvs": 0}
    small = dataclasses.replace(models.VARIANTS["pose_resnet_50"], **narrow)
    monkeypatch.setattr(registry, "VARIANTS", {**models.VARIANTS, "pose_resnet_50": small})
    monkeypatch.setattr(networks, "memory_cases", lambda *_: [(64, (), {"remat": True})])
    command = ("--sweep=memory", "--model=pose_resnet_50", "--batch=4", "--input=32x32")
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *command])
    benchmark.main()
    _, row = capsys.readouterr().out.splitlines()
    assert row.split()[:3] == ["64", "-", "remat=True"]
    assert int(row.split()[3]) >= 1


def test_memory_cases_vary_batch_depth_and_setting():
    cases = networks.memory_cases(8, (1, 4, 3))
    assert [batch for batch, _, _ in cases] == [8, 16, 32, 8, 8, 8, 8, 8]
    assert [depth for _, depth, _ in cases[3:5]] == [(2, 8, 6), (4, 16, 12)]
    assert [list(setting) for _, _, setting in cases[5:]] == [["accumulate"], ["remat"], ["dtype"]]
    assert len(networks.memory_cases(8, ())) == 6


def test_memory_shared_by_arguments_and_results_counts_once():
    assert [timing.program_memory(Program(n)) for n in (0, 2**20)] == [2.0, 3.0]


class Program:
    """A compiled program with 1 MiB of arguments, reused for half of its 2 MiB of results."""

    def __init__(self, temporary):
        self.temp_size_in_bytes = temporary
        self.output_size_in_bytes = 2 * 2**20
        self.argument_size_in_bytes = self.alias_size_in_bytes = 2**20

    def memory_analysis(self):
        return self


def test_bfloat16_is_an_option(run):
    assert run("--mode=forward", "--model=hrnet_tiny", "--dtype=bfloat16")["dtype"] == "bfloat16"


def test_data_mode_breaks_down_the_time(run, drawn):
    numbers = run("--mode=data", f"--root={drawn}")
    shares = [numbers[f"share_{name}"] for name in ("decode", "crop", "rest")]
    assert sum(shares) == pytest.approx(1)
    assert numbers["people_per_second_per_core"] == pytest.approx(1000 / numbers["person_ms"])
    assert numbers["imdecode_ms"] > 0
    assert numbers["person_in_imdecodes"] > 0


@pytest.mark.long
def test_end_to_end_mode_trains_from_files(run, drawn):
    numbers = run("--mode=end_to_end", "--model=hrnet_tiny", f"--root={drawn}")
    assert 0 <= numbers["share_waiting"] < 1
    assert numbers["first_step_seconds"] > 0
