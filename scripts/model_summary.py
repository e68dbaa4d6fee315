"""Parameters, multiply-accumulates and activations of a network, as a tree of its modules.

    python scripts/model_summary.py --model=widehrnet_18 --input=256x256 --joints=16
    python scripts/model_summary.py --config=configs/hrnet_coco.py:hrnet_w48 --depth=2

MACs are those of convolutions and linear layers for one image. "as executed" counts each call;
"each module once" what would be left if no module were called twice; the last line follows the
tool that the published figure came from, which counts other things too, in its own unit.
"""

import argparse

from hrjax import complexity, experiment, models, recipes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", choices=sorted(models.VARIANTS))
    which.add_argument("--config", help="configs/FILE.py[:VARIANT[_HxW]]")
    parser.add_argument("--input", default="", help="height x width; default 256x192")
    parser.add_argument("--joints", type=int, default=17)
    parser.add_argument("--depth", type=int, default=3, help="levels of the tree to print")
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
    main()
