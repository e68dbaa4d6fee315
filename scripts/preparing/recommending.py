"""`prepare_data.py recommend`: writes a config that fine-tunes a network on a dataset."""

import argparse
import dataclasses
import pathlib
import re
import shlex
import sys

import jax

from data_pipelines import datasets, files
from data_pipelines.readers.request import Joints, Request
from data_pipelines.splits import Split
from hrjax import models, recipes
from hrjax.config import recommendation
from hrjax.config.recommendation import Start
from hrjax.weights import model_card, published, source

SMALL, LARGE = "litehrnet_30_coco", "hrnet_w32_coco"  # on a CPU, on an accelerator
TRAIN, VAL = "train", "val"


def run(options: argparse.Namespace) -> int:
    """Prints what was found and what is recommended, and writes the config."""
    out = pathlib.Path(options.out) if options.out else beside(options.root)
    if out.exists():
        raise ValueError(f"{out} exists already; choose another place with --out, or remove it")
    train, held_out = _read(options, TRAIN), _read_held_out(options)
    device = options.device or ("cpu" if jax.default_backend() == "cpu" else "gpu")
    start = find_start(options.weights or (SMALL if device == "cpu" else LARGE), options.model)
    facts = recommendation.describe(train, held_out)
    choices = recommendation.recommend(facts, start, accelerator=device != "cpu")
    command = shlex.join(["python", "scripts/prepare_data.py", *sys.argv[1:]])
    text = recommendation.to_text(
        facts, start, choices, fields=_own_fields(options), command=command, path=str(out)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, text)
    print(recommendation.summarize(facts, device))
    print()
    print(recommendation.table(choices))
    print("\n".join(["", *(f"look at: {warning}" for warning in recommendation.warnings(facts))]))
    print(f"wrote {out}; train with\n    python -m hrjax.main --config={out}")
    return 0


def beside(root: str) -> pathlib.Path:
    """Where the config of a dataset is by default: data/mice.py for data/mice."""
    name = re.sub(r"\W+", "_", pathlib.Path(root).absolute().name) or "dataset"
    return pathlib.Path(root).parent / f"{name}.py"


def find_start(weights: str, model: str = "") -> Start:
    """The weights and how their network was trained; a published name is not fetched for that.

    Joints are learned without rounding them to cells, whatever the weights were trained with.
    """
    row, _ = published.find(weights)
    if row is None:
        card = source.open(weights, model=model).card
    else:
        card = model_card.from_config(
            recipes.find(row.model, row.dataset), datasets.find(row.dataset).skeleton
        )
    usual = dataclasses.asdict(models.VARIANTS[card.variant])
    fields = {key: x for key, x in card.fields.items() if x != usual[key] and key != "num_joints"}
    _, params, _ = models.shapes(card.variant, **card.fields)
    parts = models.backbone_parts(params)
    exact = "udp" if card.encoding == "udp" else "dark"
    return Start(
        weights=weights,
        variant=card.variant,
        fields=fields,
        parts=len(parts),
        has_head=bool(set(params) - {path[0] for path in parts} - {"final"}),
        input_size=tuple(card.input_size),
        color=card.color,
        encoding=exact,
        decode=exact,
    )


def _read(options, split) -> Split:
    joints = Joints(names=options.names, flip_pairs=options.flip_pairs)
    request = Request(options.root, split, category=options.category, joints=joints)
    return datasets.read_request("custom", request)


def _read_held_out(options):
    try:
        return _read(options, VAL)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no annotations/val.json in {options.root}: without people who are held out, "
            "no score says whether the network has learned anything. `prepare_data.py split` holds "
            "images of one annotation file out"
        ) from error


def _own_fields(options):
    """The fields that say what the dataset is."""
    chosen = {
        "data.root": options.root,
        "data.category": options.category,
        "data.skeleton.names": options.names,
        "data.skeleton.flip_pairs": options.flip_pairs,
    }
    return {field: value for field, value in chosen.items() if value}
