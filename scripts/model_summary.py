"""Prints parameters, multiply-accumulates and activations of a network as a tree of its modules.

    python scripts/model_summary.py --model=widehrnet_18 --input=256x256 --joints=16
    python scripts/model_summary.py --config=configs/hrnet_coco.py:hrnet_w48 --depth=2

MACs are the multiply-accumulates of convolutions and linear layers for one image. "MACs as
executed" counts every call, "unique modules" counts each module once even if it is called twice.
The last line follows the authors' tool, which counts other operations too, in its own unit.
"""

from hrjax import complexity, experiment, models, recipes
from hrjax.runtime import script_options, terminal


def main() -> None:
    parser = script_options.make(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--model",
        **script_options.one_of(sorted(models.VARIANTS), "VARIANT"),
        help=script_options.folded(models.VARIANTS, "models"),
    )
    which.add_argument("--config", help="configs/FILE.py[:VARIANT[_HxW]]")
    parser.add_argument("--input", default="", help=f"{script_options.INPUT} (default: 256x192)")
    parser.add_argument("--joints", type=int, default=17, help="number of joints (default: 17)")
    parser.add_argument("--depth", type=int, default=3, help="levels of the tree (default: 3)")
    options = script_options.parse(parser)
    name, fields, size = options.model, {"num_joints": options.joints}, (256, 192)
    if options.config:
        config = recipes.read(options.config)
        name, fields = config.model.name, experiment.model_fields(config)
        size = config.data.input_size
    if options.input:
        size = script_options.height_width(options.input)
    print(complexity.summarize(name, size, depth=options.depth, **fields))


if __name__ == "__main__":
    terminal.run(main)
