"""Measures networks, training steps, data loading and prediction on this machine.

    python scripts/benchmark.py --model=widehrnet_18 --input=256x256 --batch=8 --mode=train
    python scripts/benchmark.py --mode=data --dataset=coco --root=data/coco --group_images
    python scripts/benchmark.py --mode=predict --model=hrnet_w32 --input=256x192 --dataset=coco
    python scripts/benchmark.py --mode=end_to_end --model=widehrnet_18 --input=128x128
    python scripts/benchmark.py --sweep=conv --batch=8
    python scripts/benchmark.py --sweep=memory --model=hrnet_w32 --input=256x192 --batch=8

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

Without --root, people are drawn into a temporary folder. Times are medians. The yardstick, a
2048x2048 by 2048x2048 float32 matrix product, is measured before and after in the same process.
Times in units of the yardstick are comparable across machines.
"""

import argparse
import json
import statistics
import tempfile

import jax
from ml_collections import ConfigDict

from benchmarks import convolutions, networks, people, timing
from configs import common
from data_pipelines.synthetic import drawing
from hrjax import models
from hrjax.runtime import memory, terminal

MODES = {
    "forward": networks.time_forward,
    "train": networks.time_training,
    "data": people.time_data,
    "predict": people.time_predict,
    "decode": networks.time_decoding,
    "end_to_end": people.time_end_to_end,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=[*MODES], default="forward")
    parser.add_argument("--sweep", choices=("conv", "memory"), help="instead of a mode")
    parser.add_argument(
        "--model", choices=sorted(models.VARIANTS), default="widehrnet_18", metavar="VARIANT"
    )
    parser.add_argument("--input", default="256x256", help="height x width of the crops")
    parser.add_argument("--batch", type=int, default=8, help="batch size")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--accumulate", type=int, default=1, help="microbatches per training step")
    parser.add_argument("--remat", action="store_true", help="recompute blocks to save memory")
    parser.add_argument("--seconds", type=float, default=5, help="duration of a measurement")
    parser.add_argument("--dataset", choices=("coco", "crowdpose", "mpii"), default="mpii")
    parser.add_argument("--root", default="", help="of the dataset, for data, end_to_end, predict")
    parser.add_argument("--group_images", action="store_true", help="decode each image once")
    parser.add_argument("--records", action="store_true", help="read images from records")
    parser.add_argument("--workers", type=int, default=0, help="worker processes that load data")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    memory.keep_freed_memory()

    if options.sweep == "conv":
        print(convolutions.sweep(options.batch, options.seconds))
        return
    if options.sweep == "memory":
        print(networks.sweep_memory(make_config(options, "")))
        return
    before = timing.yardstick()
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(options, folder)
        numbers = MODES[options.mode](config, options.seconds)
    unit = statistics.median([before, timing.yardstick()])
    numbers["ms_in_yardsticks"] = numbers["ms"] / unit
    numbers |= {"yardstick_ms": unit, "peak_memory_mib": timing.peak_memory()}
    device = jax.devices()[0].device_kind
    numbers = {"mode": options.mode, **vars(options), "device": device, **numbers}
    print(json.dumps(numbers) if options.json else timing.as_text(numbers))


def make_config(options: argparse.Namespace, folder: str) -> ConfigDict:
    """A recipe for the options, with the data in `--root` or drawn into `folder`."""
    height, width = (int(side) for side in options.input.split("x"))
    model, dataset = options.model, options.dataset
    config = common.recipe(model, default=model, dataset=dataset, input_size=(height, width))
    config.augment.half_body = 0.0 if dataset == "mpii" else 0.3
    config.data.root = options.root or f"{folder}/people"
    config.data.workers = options.workers
    config.data.records, config.data.group_images = options.records, options.group_images
    config.train.batch_size = config.eval.batch_size = options.batch
    config.train.dtype = options.dtype
    config.train.accumulate = options.accumulate
    config.train.remat = options.remat
    config.eval.every_epochs = 0
    drawn = {"data": (200, 2), "end_to_end": (200, 2), "predict": (2, 4 * options.batch)}
    if options.mode in drawn and not options.root:
        train_images, val_images = drawn[options.mode]
        size = {"train_images": train_images, "val_images": val_images}
        drawing.write(config.data.root, **size, seed=0)
    return config


if __name__ == "__main__":
    terminal.run(main)
