"""Translates the tensor names of published files into those of each family's official code.

Files agree on most names. Prefixes and wrappers are removed, and TABLES translate the names of
reimplementations.
"""

import itertools
import re
import typing
from collections.abc import Mapping

import numpy as np

MAX_NAME = 300  # characters of a tensor's name; those of our networks have less than 100
SHOWN = 8  # names in a message
SHOWN_CHARACTERS = 100  # of a name

# Entries that hold the tensors in files that hold more, in order of preference. Averaged weights
# come before the others. (mmcv and mmengine put the average into `state_dict` itself; mmcv's
# `ema_…` entries, which are not averaged, are skipped below.)
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net", "network")
# Prefixes that data parallelism, compilation and mmpose (all versions) add to names.
PREFIXES = re.compile(r"^((module|_orig_mod|backbone|keypoint_head|head)\.)+")
# PyTorch's buffers that follow from other tensors, and mmcv's copies of the unaveraged weights.
IGNORED = re.compile(r"ema_|.*(num_batches_tracked|relative_position_index)$")


def translate(content: Mapping[str, typing.Any]) -> dict[str, tuple[str, np.ndarray]]:
    """The tensors of a file by official name without prefix: the name in the file and the array.

    Entries that are not arrays are skipped, and so are buffers that follow from other tensors.
    """
    tensors = {key: x for key, x in _unwrap(content).items() if hasattr(x, "shape")}
    if not tensors or not all(isinstance(key, str) for key in tensors):
        names = ", ".join([shorten(key) for key in itertools.islice(content, SHOWN)]) or "nothing"
        more = f", … and {len(content) - SHOWN} more" if len(content) > SHOWN else ""
        raise ValueError(f"expected a state dict, arrays by name; the file holds {names}{more}")
    for key in tensors:
        if len(key) > MAX_NAME or not key.isprintable():
            raise ValueError(
                f"the tensor {shorten(key)} has a name of {len(key)} characters; expected at most "
                f"{MAX_NAME}, all printable"
            )
    tensors = {key: x for key, x in tensors.items() if not IGNORED.match(key)}
    names = [strip_prefixes(key) for key in tensors]
    tables = [table for sign, table in TABLES if any(map(sign.search, names))]
    translated = {}
    for key, x in tensors.items():
        for name, part in _translate(key, x, tables):
            if name in translated:
                both = f"{shorten(translated[name][0])} and {shorten(key)}"
                raise ValueError(f"both {both} are {shorten(name)}; leave one out")
            translated[name] = key, part
    return translated


def shorten(name: object) -> str:
    """A name from a file for a message: shortened, without control characters."""
    text = str(name) if isinstance(name, str | int | float) else type(name).__name__
    shown = "".join(x if x.isprintable() else "?" for x in text[:SHOWN_CHARACTERS])
    return shown if len(text) <= SHOWN_CHARACTERS else f"{shown}…"


def strip_prefixes(name: str) -> str:
    """`name` without the prefixes that some programs add."""
    return PREFIXES.sub("", name)


def _unwrap(content):
    for key in WRAPPERS:
        if isinstance(content.get(key), Mapping):
            return _unwrap(content[key])
    return content


def _translate(key, x, tables):
    """The official names of a tensor, or of its parts, with their arrays."""
    try:
        parts = _split(strip_prefixes(key), x)
        names = [name for name, _ in parts]
        for pattern, replacement in (row for table in tables for row in table):
            names = [re.sub(pattern, replacement, name) for name in names]
    except (IndexError, ValueError) as error:
        shape = shorten(str(np.shape(x)))
        raise ValueError(f"cannot tell what the tensor {shorten(key)} {shape} is") from error
    return list(zip(names, [part for _, part in parts], strict=True))


def _split(name, x):
    """mmpose stacks HRFormer's query, key and value; all other tensors stay whole."""
    before, stacked, after = name.partition(".attn.qkv.")
    if not stacked:
        return [(name, x)]
    parts = np.split(np.asarray(x), 3)
    return [(f"{before}.attn.{q}_proj.{after}", part) for q, part in zip("qkv", parts, strict=True)]


def _less_one(template):
    """A replacement: `template` with the groups' numbers less one, because Paddle counts from 1."""
    return lambda match: template.format(*(int(n) - 1 for n in match.groups() if n))


def _transition(match):
    stage, branch = int(match[1]), int(match[2]) - 1
    return f"transition{stage}.{branch}.0" if branch == stage else f"transition{stage}.{branch}"


def _fuse_path(match):
    """PaddleClas numbers the convolutions of an exchange unit in the order of their creation."""
    stage, module, index = (int(n) for n in match.groups())
    paths = []
    for i in range(stage):
        for j in range(stage):
            paths += [f"{i}.{j}"] if j > i else [f"{i}.{j}.{step}" for step in range(i - j)]
    return f"stage{stage}.{module}.fuse_layers.{paths[index]}"


PADDLE = (
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
    (r"^final_conv\.", "final_layer."),
)
# PaddlePaddle/models, HRNet-Keypoint/lib/models/hrnet.py, and PaddleClas's version of it.
PADDLE_HRNET = (
    (r"\._conv\.", ".conv."),
    (r"\._batch_norm\.", ".norm."),
    (r"^conv_layer1_(\d)\.conv", r"conv\1"),
    (r"^conv_layer1_(\d)\.norm", r"bn\1"),
    (r"^la1\.block_layer2_(\d+)", _less_one("layer1.{}")),
    (r"^tr(\d)\.transition_tr\d_layer_(\d)", _transition),
    (r"^tr(1)_(\d)", _transition),
    (r"^tr([23])(?=\.(?:conv|norm)\.)", lambda m: f"transition{m[1]}.{m[1]}.0"),
    (r"^st(\d)\.stage_func_list\.(\d+)", r"stage\1.\2"),
    (r"^st(\d)\.stage_st\d_(\d+)", lambda m: f"stage{m[1]}.{int(m[2]) - 1}"),
    (r"branches_func\.bb_st\d_\d+_branch_layer_(\d+)_(\d+)", _less_one("branches.{}.{}")),
    (r"basic_block_list", "branches"),
    (r"fuse_func\.residual_st\d_\d+_layer_(\d)_(\d)_(\d)", _less_one("fuse_layers.{}.{}.{}")),
    (r"fuse_func\.residual_st\d_\d+_layer_(\d)_(\d)", _less_one("fuse_layers.{}.{}")),
    (r"^stage(\d)\.(\d+)\.fuse_func\.residual_func_list\.(\d+)", _fuse_path),
    (r"conv_down\.conv", "downsample.0"),
    (r"conv_down\.norm", "downsample.1"),
    (r"^(transition.*|stage.*fuse_layers.*)\.conv\.", r"\1.0."),
    (r"^(transition.*|stage.*fuse_layers.*)\.norm\.", r"\1.1."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.norm\.", r"bn\1."),
)
PADDLE_LITEHRNET = ((r"\.norm\.", ".bn."),)
MMPOSE_HRFORMER = (
    (r"\.ffn\.", ".mlp."),
    (r"\.attn\.proj\.", ".attn.out_proj."),
)
# A pattern that only one program's names match → its table. Several may apply to a file, in turn.
TABLES = (
    (re.compile(r"\._mean$"), PADDLE),
    (re.compile(r"^conv_layer1_1\."), PADDLE_HRNET),
    (re.compile(r"^stem\.conv1\.norm\."), PADDLE_LITEHRNET),
    (re.compile(r"\.attn\.qkv\."), MMPOSE_HRFORMER),
)
