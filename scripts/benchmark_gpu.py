"""Measures a GPU in about ten minutes: tests, networks, and PyTorch beside them.

    python scripts/benchmark_gpu.py --output=gpu.json
    python scripts/benchmark_gpu.py --networks=hrnet_w32,litehrnet_18 --minutes=5

First it compiles all programs, several at a time, while the tests of layers and of the training
step run on the same GPU. Then it times each program: the folded network at batch 1, 32 and 256, and
a training step at batch 64, all in bfloat16 at 256x192 (height x width). Beside each time stands
the bound that `benchmark.py --target` computes from the program that ran. At last HRNet-W32 and
Lite-HRNet-18 are timed in PyTorch, in channels_last memory under autocast, eager and compiled, if
PyTorch is installed and sees the GPU. What the minutes do not suffice for is listed.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

from data_pipelines.messages import choices, written

# PyTorch needs memory too, and so do the tests, which run beside.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from benchmarks import networks, programs, targets, timing
from configs import common
from hrjax import models, text_tables
from hrjax.runtime import script_options, terminal

NETWORKS = ("hrnet_w32", "litehrnet_18", "widehrnet_18")
NETWORKS += ("ditehrnet_18", "hrformer_small", "hrnext_small")
CASES = (("train", 64), ("forward", 1), ("forward", 32), ("forward", 256))
CALLS = {"forward": networks.forward_call, "train": networks.training_call}
TESTS = ("tests/hrjax/models/layers", "tests/hrjax/training/test_step.py")
SIZE = (256, 192)
SECONDS = 1.0  # of each measurement
COMPILERS = 4  # programs compiled at the same time
COMPILING = 0.6  # of the minutes, at most, for compiling and the tests


def main() -> int:
    options = parse()
    if jax.default_backend() != "gpu" and not options.any_device:
        print(
            f"JAX sees no GPU here, but {jax.devices()[0].device_kind}; see "
            "docs/benchmarks.md for programs compiled without one, or give --any_device to try "
            "this script",
            file=sys.stderr,
        )
        return 1
    start = time.monotonic()
    end = start + 60 * options.minutes
    tests = None if options.no_tests else start_tests()
    cases = [(name, *case) for name in options.networks.split(",") for case in CASES]
    ready = start + 60 * options.minutes * COMPILING
    compiled = compile_all(cases, ready)
    failed = wait_for(tests, ready)
    rows = [measure(case, compiled.get(case), end) for case in cases]
    rows += measure_torch(cases, end)
    print(table(rows))
    if options.output:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        said = written.wrote(options.output)
        pathlib.Path(options.output).write_text(lines, encoding="utf-8")
        print(said)
    return failed


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = script_options.make(__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="variants, with commas")
    parser.add_argument("--minutes", type=float, default=10.0, help="default: 10")
    parser.add_argument("--output", default="", help="a file for a JSON object per measurement")
    parser.add_argument("--no_tests", action="store_true", help="measure only")
    parser.add_argument("--any_device", action="store_true", help="run without a GPU too")
    options = script_options.parse(parser)
    for name in options.networks.split(","):
        if name not in models.VARIANTS:
            parser.error(choices.unknown("variant", name, sorted(models.VARIANTS)))
    return options


def start_tests() -> subprocess.Popen:
    """Starts the tests of layers and of the step in another process on the same device."""
    environment = os.environ | {
        "JAX_PLATFORMS": jax.default_backend().replace("gpu", "cuda"),
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # not TF32, whose rounding tests would refuse
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS]
    root = pathlib.Path(__file__).parent.parent
    return subprocess.Popen(command, cwd=root, env=environment)


def wait_for(tests: subprocess.Popen | None, end: float) -> int:
    """The exit status of the tests; 1 if they are not done at `end`, when measuring begins."""
    if tests is None:
        return 0
    try:
        return tests.wait(timeout=max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        tests.kill()
        print("the tests took too long and were stopped", file=sys.stderr)
        return 1


def compile_all(cases: list[tuple], end: float) -> dict[tuple, jax.stages.Compiled]:
    """The programs of the cases that are compiled at `end`; the first cases go first."""
    pool = concurrent.futures.ThreadPoolExecutor(COMPILERS)
    jobs = {}
    for case in cases:
        if time.monotonic() < end:
            jobs[case] = pool.submit(lower(case).compile)
            print(f"compiling {' '.join(map(str, case))}", file=sys.stderr)
    concurrent.futures.wait(jobs.values(), timeout=max(0.0, end - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    done = {case: job for case, job in jobs.items() if job.done() and not job.cancelled()}
    for case, job in done.items():
        if job.exception():
            print(
                f"{' '.join(map(str, case))} cannot be compiled: {job.exception()}", file=sys.stderr
            )
    return {case: job.result() for case, job in done.items() if not job.exception()}


def lower(case: tuple) -> jax.stages.Lowered:
    """The program of a case, traced."""
    function, arguments = call(case)
    return function.lower(*arguments)


def call(case: tuple) -> tuple:
    """The jitted function of a case and its arguments."""
    name, mode, batch = case
    config = common.recipe(name, default=name, dataset="coco", input_size=SIZE)
    config.train.batch_size = config.eval.batch_size = batch
    config.train.dtype = "bfloat16"
    return CALLS[mode](config)


def measure(case: tuple, compiled: jax.stages.Compiled | None, end: float) -> dict:
    """The time of a compiled program and the bound on it; without a time if it is too late."""
    row = dict(zip(("network", "mode", "batch"), case, strict=True)) | {"in": "hrjax"}
    if compiled is None or time.monotonic() > end:
        return row
    numbers = timing.time_compiled(compiled, call(case)[1], SECONDS, carry=case[1] == "train")
    found = programs.kernels(compiled.as_text())
    read = programs.summarize(found, target())
    numbers |= {name: read[name] for name in ("kernels", "gib_moved", "bound_ms")}
    return row | numbers


def target() -> targets.Target:
    """The target that this device is, or the first one."""
    kind = jax.devices()[0].device_kind.lower()
    fitting = [value for name, value in targets.TARGETS.items() if name in kind]
    return fitting[0] if fitting else next(iter(targets.TARGETS.values()))


def measure_torch(cases: list[tuple], end: float) -> list[dict]:
    """The same cases in PyTorch, of the networks that are written in it."""
    try:
        from benchmarks import torch_timing
    except ImportError as error:
        print(f"PyTorch is not compared ({error})", file=sys.stderr)
        return []
    rows = []
    for name, mode, batch in cases:
        for style in torch_timing.STYLES if name in torch_timing.NETWORKS else ():
            row = {"network": name, "mode": mode, "batch": batch, "in": f"PyTorch, {style}"}
            if time.monotonic() < end:
                row |= torch_timing.measure(name, mode, batch, SIZE, style, SECONDS)
            rows.append(row)
    return rows


def table(rows: list[dict]) -> str:
    """The measurements as text; a dash where there was no time left."""
    head = ("network", "mode", "batch", "in", "ms", "people/s", "bound ms", "kernels")
    names = ("ms", "images_per_second", "bound_ms", "kernels")
    lines = [head]
    for row in rows:
        figures = (f"{row[name]:.4g}" if name in row else "-" for name in names)
        lines.append((row["network"], row["mode"], str(row["batch"]), row["in"], *figures))
    return text_tables.format_table(lines)


if __name__ == "__main__":
    terminal.run(main)
