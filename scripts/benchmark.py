"""Measures networks, training steps, data loading and prediction on this machine.

    python scripts/benchmark.py --model=widehrnet_18 --input=256x256 --batch=8 --mode=train
    python scripts/benchmark.py --mode=data --dataset=coco --root=data/coco --group_images
    python scripts/benchmark.py --mode=predict --model=hrnet_w32 --input=256x192 --dataset=coco
    python scripts/benchmark.py --mode=end_to_end --model=widehrnet_18 --input=128x128
    python scripts/benchmark.py --runtime=jax,onnxruntime,openvino --model=litehrnet_18 --batch=1
    python scripts/benchmark.py --sweep=conv --batch=8
    python scripts/benchmark.py --sweep=memory --model=hrnet_w32 --input=256x192 --batch=8
    python scripts/benchmark.py --target=h200 --mode=train --model=hrnet_w32 --input=256x192 \\
        --batch=64 --dtype=bfloat16

Modes:
  forward     the network alone
  train       a training step with Adam
  decode      each decoding method, as a fraction of the network's time
  data        loading: read, augment, batch; also the CPU time per person on one core, in
              milliseconds and relative to decoding the image alone
  end_to_end  training from files
  predict     ms is one jitted call from uint8 crops to joints in image pixels, with the flip test;
              people_per_second is `hrjax.Predictor` from files to joints; the shares divide the
              time per person into image decoding, cropping, the network, and the rest on the device

--sweep=conv measures convolutions as computed by `hrjax.models.layers.backend_ops` on this backend,
and XLA's own convolution. --sweep=memory compiles training steps without running them, and prints
the memory that XLA plans for them by batch size, depth and memory-saving option.

--runtime times the network in other runtimes, from uint8 crops to heatmaps, by the program of
`hrjax.export_onnx`. Several are timed in turns, in one process, and each prints its own numbers.

--target compiles forward, train or predict for a device that need not be present, runs nothing, and
prints what the program does there: kernels by kind, transposes and copies of parameters,
collectives, memory, bytes moved and operations, and a bound on the time: the sum over kernels of
the largest of bytes / bandwidth, operations / peak and the 1.5 us of a launch. It is no prediction.

Without --root, people are drawn into a temporary folder. Times are medians. The yardstick, a
2048x2048 by 2048x2048 float32 matrix product, is measured before and after in the same process.
Times in units of the yardstick are comparable across machines.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import jax
from ml_collections import ConfigDict

from benchmarks import convolutions, networks, people, programs, runtimes, targets, timing
from configs import common
from data_pipelines.synthetic import drawing
from hrjax import models
from hrjax.runtime import memory, script_options, terminal

MODES = {
    "forward": networks.time_forward,
    "train": networks.time_training,
    "data": people.time_data,
    "predict": people.time_predict,
    "decode": networks.time_decoding,
    "end_to_end": people.time_end_to_end,
}

LOWERED = {
    "forward": networks.lower_forward,
    "train": networks.lower_training,
    "predict": networks.lower_prediction,
}


def main() -> None:
    parser = script_options.make(__doc__)
    parser.add_argument(
        "--mode", **script_options.one_of(MODES, "MODE"), default="forward", help="default: forward"
    )
    parser.add_argument(
        "--sweep", **script_options.one_of(("conv", "memory")), help="instead of a mode"
    )
    parser.add_argument(
        "--model",
        **script_options.one_of(sorted(models.VARIANTS), "VARIANT"),
        default="widehrnet_18",
        help=f"{script_options.folded(models.VARIANTS, 'models')}; default: widehrnet_18",
    )
    parser.add_argument("--input", default="256x256", help=script_options.INPUT)
    parser.add_argument("--batch", type=int, default=8, help="batch size")
    parser.add_argument(
        "--dtype", **script_options.one_of(("float32", "bfloat16")), default="float32"
    )
    parser.add_argument("--accumulate", type=int, default=1, help="microbatches per training step")
    parser.add_argument("--remat", action="store_true", help="recompute blocks to save memory")
    parser.add_argument("--seconds", type=float, default=5, help="duration of a measurement")
    parser.add_argument(
        "--dataset", **script_options.one_of(("coco", "crowdpose", "mpii")), default="mpii"
    )
    parser.add_argument("--root", default="", help="of the dataset, for data, end_to_end, predict")
    parser.add_argument("--group_images", action="store_true", help="decode each image once")
    parser.add_argument("--records", action="store_true", help="read images from records")
    parser.add_argument("--workers", type=int, default=0, help="worker processes that load data")
    parser.add_argument("--batch_norm_size", type=int, default=0, help="people in a group; 0: all")
    parser.add_argument(
        "--runtime",
        default="",
        help=f"for --mode=forward, with commas: {', '.join(runtimes.RUNTIMES)}",
    )
    parser.add_argument(
        "--target",
        **script_options.one_of(targets.TARGETS, "DEVICE"),
        help="a device to compile for",
    )
    parser.add_argument("--devices", type=int, default=1, help="of the target, sharing the batch")
    parser.add_argument("--dump", default="", help="a file for the program compiled for the target")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = script_options.parse(parser)
    memory.keep_freed_memory()

    if options.target:
        try:
            numbers = read_program(options)
        except ValueError as error:
            parser.error(str(error))
        if not options.json:
            numbers |= {f"kernels: {kind}": n for kind, n in numbers.pop("kinds").items()}
        print(json.dumps(numbers) if options.json else timing.as_text(numbers))
        return
    if options.sweep == "conv":
        print(convolutions.sweep(options.batch, options.seconds))
        return
    if options.sweep == "memory":
        print(networks.sweep_memory(make_config(options)))
        return
    if options.runtime:
        try:
            compare_runtimes(options)
        except ValueError as error:
            parser.error(str(error))
        return
    before = timing.yardstick()
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(options)
        if not options.root:
            config.data.root = draw_people(options, folder)
        numbers = MODES[options.mode](config, options.seconds)
    report(options, numbers, before)


def report(options: argparse.Namespace, numbers: timing.Numbers, before: float) -> None:
    """Prints the numbers, and the time in yardsticks of `before` and now."""
    unit = statistics.median([before, timing.yardstick()])
    numbers["ms_in_yardsticks"] = numbers["ms"] / unit
    numbers |= {"yardstick_ms": unit, "peak_memory_mib": timing.peak_memory()}
    device = jax.devices()[0].device_kind
    numbers = {"mode": options.mode, **vars(options), "device": device, **numbers}
    print(json.dumps(numbers) if options.json else timing.as_text(numbers))


def compare_runtimes(options: argparse.Namespace) -> None:
    """Times the network in several runtimes, in turns, and prints the numbers of each."""
    names = options.runtime.split(",")
    unknown = sorted({*names} - {*runtimes.RUNTIMES})
    if unknown:
        choices = ", ".join(runtimes.RUNTIMES)
        raise ValueError(f"unknown --runtime {', '.join(unknown)}; choose among: {choices}")
    if options.mode != "forward" or options.target or options.dtype != "float32":
        raise ValueError("--runtime is for --mode=forward in float32, without --target")
    before = timing.yardstick()
    for name, numbers in runtimes.time_in_turns(
        make_config(options), names, options.seconds
    ).items():
        report(argparse.Namespace(**vars(options) | {"runtime": name}), numbers, before)


def read_program(options: argparse.Namespace) -> dict:
    """Compiles for the target and reads what the program does there."""
    if options.mode not in LOWERED:
        choices = ", ".join(LOWERED)
        raise ValueError(f"--target has no --mode={options.mode}; choose one of: {choices}")
    mesh = targets.make_mesh(options.target, options.devices)
    lowered = LOWERED[options.mode](make_config(options), mesh)
    start = time.perf_counter()
    compiled = targets.compile_for(options.target, lowered, triton=options.mode == "forward")
    seconds = time.perf_counter() - start
    text = compiled.as_text()
    if options.dump:
        pathlib.Path(options.dump).write_text(text, encoding="utf-8")
    numbers = programs.summarize(programs.kernels(text), targets.TARGETS[options.target])
    mib = timing.program_memory(compiled)
    numbers |= {"compile_seconds": seconds, "program_memory_mib": mib}
    asked = ("target", "devices", "mode", "model", "input", "batch", "dtype", "batch_norm_size")
    return {**{name: getattr(options, name) for name in asked}, **numbers}


def make_config(options: argparse.Namespace) -> ConfigDict:
    """A recipe for the options."""
    size = script_options.height_width(options.input)
    model, dataset = options.model, options.dataset
    config = common.recipe(model, default=model, dataset=dataset, input_size=size)
    config.augment.half_body = 0.0 if dataset == "mpii" else 0.3
    config.data.root = options.root
    config.data.workers = options.workers
    config.data.records, config.data.group_images = options.records, options.group_images
    config.train.batch_size = config.eval.batch_size = options.batch
    config.train.dtype = options.dtype
    config.train.accumulate = options.accumulate
    config.train.remat = options.remat
    config.train.batch_norm_size = options.batch_norm_size
    config.eval.every_epochs = 0
    return config


def draw_people(options: argparse.Namespace, folder: str) -> str:
    """Draws the people that the mode reads, if any, and returns their folder inside of `folder`."""
    root = f"{folder}/people"
    images = {"data": (200, 2), "end_to_end": (200, 2), "predict": (2, 4 * options.batch)}
    if options.mode in images:
        train_images, val_images = images[options.mode]
        drawing.write(root, train_images=train_images, val_images=val_images, seed=0)
    return root


if __name__ == "__main__":
    terminal.run(main)
