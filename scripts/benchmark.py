"""Times the networks, the training step and the data on this machine.

    python scripts/benchmark.py --model=widehrnet_18 --input=256x256 --batch=8 --mode=train
    python scripts/benchmark.py --mode=data --dataset=coco --root=data/coco --group_images
    python scripts/benchmark.py --mode=predict --model=hrnet_w32 --input=256x192 --dataset=coco
    python scripts/benchmark.py --mode=end_to_end --model=widehrnet_18 --input=128x128
    python scripts/benchmark.py --sweep=conv --batch=8
    python scripts/benchmark.py --sweep=memory --model=hrnet_w32 --input=256x192 --batch=8

forward is the network alone; train a step with Adam; decode is every way from heatmaps to joints,
as a share of the network's time; data reads, augments and stacks, and says what a person costs one
core, in milliseconds and in bare decodings of the image; end_to_end trains from files. predict: ms
is one jitted call from uint8 crops to joints in image pixels, with the flip test; people_per_second
goes from files to joints by `hrjax.Predictor`; the shares are of the time for one person: decoding
pictures, cropping, the network, and what follows on the device.
--sweep=conv times kinds of convolutions as `hrjax.models.layers.backend_ops` computes them on this
backend, beside XLA's own convolution.
--sweep=memory compiles training steps and tells the memory that XLA plans for them: by batch size,
depth and what saves memory. Nothing is run.

Without --root, people are drawn into a temporary folder. Times are medians. The yardstick, a
2048x2048 by 2048x2048 float32 matrix product, is measured before and after in the same process;
times in its units compare between machines.
"""

import argparse
import json
import statistics
import tempfile

import jax

from benchmarks import convolutions, networks, people, timing
from configs import common
from data_pipelines import synthetic
from hrjax import models, runs

MODES = {
    "forward": networks.time_forward,
    "train": networks.time_training,
    "data": people.time_data,
    "predict": people.time_predict,
    "decode": networks.time_decoding,
    "end_to_end": people.time_end_to_end,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=[*MODES], default="forward")
    parser.add_argument("--sweep", choices=("conv", "memory"), help="instead of a network")
    parser.add_argument("--model", choices=sorted(models.VARIANTS), default="widehrnet_18")
    parser.add_argument("--input", default="256x256", help="height x width of the crops")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--accumulate", type=int, default=1, help="parts of a training batch")
    parser.add_argument("--remat", action="store_true", help="compute blocks again, to save memory")
    parser.add_argument("--seconds", type=float, default=5, help="how long to measure")
    parser.add_argument("--dataset", choices=("coco", "crowdpose", "mpii"), default="mpii")
    parser.add_argument("--root", default="", help="of the dataset, for data and end_to_end")
    parser.add_argument("--group_images", action="store_true", help="decode each image once")
    parser.add_argument("--records", action="store_true", help="--root has its images in records")
    parser.add_argument("--workers", type=int, default=0, help="processes that read data")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    runs.keep_freed_memory()

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


def make_config(options, folder):
    """A recipe with the asked model and sizes, on `--root` or on people drawn into `folder`."""
    height, width = (int(side) for side in options.input.split("x"))
    recipe = common.recipe(options.model, default=options.model)
    layouts = {"mpii": common.mpii, "coco": common.coco, "crowdpose": common.crowdpose}
    config = layouts[options.dataset](recipe)
    config.data.input_size = (height, width)
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
        synthetic.write(config.data.root, **size, seed=0)
    return config


if __name__ == "__main__":
    main()
