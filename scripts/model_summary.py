"""Prints parameters, multiply-accumulates and activations of a network as a tree of its modules.

    python scripts/model_summary.py --model=widehrnet_18 --input=256x256 --joints=16
    python scripts/model_summary.py --config=configs/hrnet_coco.py:hrnet_w48 --depth=2

MACs are the multiply-accumulates of convolutions and linear layers for one image. "MACs as
executed" counts every call, "unique modules" counts each module once even if it is called twice.
The last line follows the authors' tool, which counts other operations too, in its own unit.
"""

import argparse

from hrjax import complexity, experiment, models, recipes
from hrjax.runtime import terminal


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", choices=sorted(models.VARIANTS), metavar="VARIANT")
    which.add_argument("--config", help="configs/FILE.py[:VARIANT[_HxW]]")
    parser.add_argument(
        "--input", default="", help="height x width of the input (default: 256x192)"
    )
    parser.add_argument("--joints", type=int, default=17, help="number of joints (default: 17)")
    parser.add_argument("--depth", type=int, default=3, help="levels of the tree (default: 3)")
    options = parser.parse_args()
    name, fields, size = options.model, {"num_joints": options.joints}, (256, 192)
    if options.config:
        config = recipes.read(options.config)
        name, fields = config.model.name, experiment.model_fields(config)
        size = config.data.input_size
    if options.input:
        size = tuple(int(side) for side in options.input.split("x"))
    print(complexity.summarize(name, size, depth=options.depth, **fields))


if __name__ == "__main__":
    terminal.run(main)
