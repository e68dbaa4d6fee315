"""Converts weights into a checkpoint of ours, or into a file for other programs.

    python scripts/convert_weights.py --source=pose_hrnet_w32_256x192.pth \\
        --output=checkpoints/hrnet_w32
    python scripts/convert_weights.py --source=runs/quickstart --output=quickstart.safetensors

The source is a run, a step of it, a published file (of PyTorch, Paddle, safetensors, NumPy), its
https address, or a published name. The output is a folder, or a .safetensors or .npz file with the
tensors under their official names. Either holds the model card and predicts, evaluates
(`--mode=eval --checkpoint=`) and starts a training (`--config.init_from=`) on its own. The variant
and the number of joints of a file are recognized where it fits only one variant.

The SHA-256 of a downloaded file is logged. `--sha256=` requires it, or its first digits (at least
8); so does #sha256= after a file, an address or a published name, wherever weights are named.
"""

import logging
import pathlib
import sys

import jax
from ml_collections import ConfigDict

from data_pipelines import files
from data_pipelines.messages import sizes, written
from hrjax import models, recipes
from hrjax.runtime import script_options, terminal
from hrjax.weights import checkpoints, file_formats, source, torch_names

logger = logging.getLogger(__name__)


def main():
    parser = script_options.make(__doc__)
    parser.add_argument("--source", required=True, help="weights of any kind")
    parser.add_argument(
        "--output",
        required=True,
        help="a folder, or a .safetensors or .npz file",
        type=pathlib.Path,
    )
    parser.add_argument(
        "--model",
        default="",
        metavar="VARIANT[_HxW]",
        help=f"the variant of a file; {script_options.folded(models.VARIANTS, 'models')}",
    )
    parser.add_argument("--sha256", default="", help="the SHA-256 that the source must have")
    parser.add_argument("--config", help="a recipe for a model without card, FILE.py[:VARIANT]")
    options = script_options.parse(parser)
    try:
        config = recipes.read(options.config) if options.config else None
        digits = f"#sha256={options.sha256}" if options.sha256 else ""
        print(convert(options.source + digits, options.output, options.model, config))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def convert(
    path: str, output: pathlib.Path, model: str = "", config: ConfigDict | None = None
) -> str:
    """Writes the folder or the file; returns a line that describes it."""
    is_file = output.suffix in file_formats.WRITTEN
    if output.is_file() or (not is_file and checkpoints.latest(output) is not None):
        raise ValueError(f"{output} exists already; choose another --output")
    files.require_no_input([output], [path])
    opened = source.open(path, model=model)
    if config is not None:
        opened = opened.with_config(config)
    return save(opened, output)


def save(opened: source.Source, output: pathlib.Path) -> str:
    """Writes opened weights, with their card, to a folder or a file; returns a line about it."""
    _, params, stats = opened.restore()
    card, said = find_card(opened), written.wrote(output)
    if output.suffix in file_formats.WRITTEN:
        tensors = torch_names.to_torch(opened.variant, params, stats)
        file_formats.write(output, tensors, card)
    else:
        save_checkpoint(output, {"params": params, "stats": stats}, card)
    count = sum(x.size for x in jax.tree.leaves(params))
    joints = f"{opened.num_joints} joints, {count:,} parameters"
    crops = f", crops of {sizes.pixels(card.input_size)}" if card else ""
    return f"{said}: {opened.variant} with {joints}{crops}"


def find_card(opened):
    """The model card, or None with a line in the log where nothing says what it would hold."""
    try:
        return opened.card
    except (ValueError, OSError) as error:
        logger.warning("converted without a model card: %s", error)
        return None


def save_checkpoint(folder, weights, card):
    """Writes step 0 of a folder of checkpoints."""
    with checkpoints.open_folder(folder, keep=1) as manager:
        score = card and card.score
        checkpoints.save(manager, 0, {"model": weights}, position={}, score=score, card=card)
        checkpoints.wait(manager)


if __name__ == "__main__":
    terminal.run(main)
