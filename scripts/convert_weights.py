"""Turns published weights (PyTorch's, Paddle's, safetensors) into a checkpoint of ours.

    python scripts/convert_weights.py --source=pose_hrnet_w32_256x192.pth \\
        --output=checkpoints/hrnet_w32

The checkpoint is what `--mode=eval --checkpoint=` evaluates and `--config.init_from=` starts from.
The source is a file or its https address. The variant is recognised where the file fits only one;
the number of joints always is.
"""

import argparse
import logging
import pathlib
import sys

import absl.logging
import jax

from hrjax import models
from hrjax.prediction import pretrained
from hrjax.runtime import run_folder
from hrjax.weights import checkpoints, file_formats, torch_names


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True, help="a file of weights or its https address")
    parser.add_argument("--output", required=True, help="the folder to make", type=pathlib.Path)
    parser.add_argument("--model", choices=sorted(models.VARIANTS), help="the variant")
    options = parser.parse_args()
    try:
        print(convert(options.source, options.output, options.model))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def convert(source: str, output: pathlib.Path, model: str | None) -> str:
    """Writes the checkpoint; returns a line that says what it is."""
    if checkpoints.latest(output) is not None:
        raise ValueError(f"{output} has a checkpoint already; choose another --output")
    content = file_formats.read(file_formats.find(source) or pathlib.Path(source))
    model = model or torch_names.identify(content)
    joints = torch_names.num_joints(content) or models.VARIANTS[model].num_joints
    _, params, stats = torch_names.from_torch(model, content, num_joints=joints)
    with checkpoints.open_folder(output, keep=1) as manager:
        items = {"model": {"params": params, "stats": stats}}
        checkpoints.save(manager, 0, items, position={}, score=None)
        checkpoints.wait(manager)
    save_recipe(model, joints, output)
    count = sum(x.size for x in jax.tree.leaves(params))
    return f"{output}: {model} with {joints} joints, {count:,} parameters"


def save_recipe(model, joints, output):
    """Writes config.json, by which the checkpoint predicts on its own, where there is a recipe."""
    try:
        config = pretrained.recipe(model, pretrained.dataset_of(joints))
    except ValueError as error:
        logging.info("to predict with it, give a config: %s", error)
        return
    run_folder.save_config(config, output)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    absl.logging.set_verbosity(absl.logging.ERROR)
    main()
