"""Damaged images of all formats give pixels or one message: no crash, no hang, little memory."""

import random
import struct
from collections.abc import Sequence

import fuzzing
import numpy as np
import pictures
import pytest

from data_pipelines import images

MEGABYTES = 750  # 4 bytes for each of MAX_PIXELS, and some
PATH = f"{fuzzing.NAME}.jpg"


def decode(data: bytes) -> None:
    """Decodes an image as training does, and upright as prediction does."""
    height, width = 24, 32
    stored, _ = images.decode_as_stated(data, PATH, (width, height))
    assert stored.ndim == 3
    assert stored.dtype == np.uint8
    assert images.decode(data, PATH, upright=True).size == stored.size
    images.has_orientation(data, PATH)


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Changes bytes; now and then writes large sides wherever they may stand."""
    data = fuzzing.bytewise(rng, seeds)
    if rng.random() < 0.2 and len(data) > 64:
        side = struct.pack(rng.choice(("<I", ">I", "<H", ">H")), rng.choice((9000, 13000, 20000)))
        place = rng.randrange(64)
        data = data[:place] + side + data[place + len(side) :]
    return data


def make_seeds() -> list[bytes]:
    claims = [pictures.claiming(*size) for size in ((40, 30), (3000, 2000), (70000, 70000))]
    return [*pictures.every_kind().values(), *(data for claim in claims for data in claim.values())]


@pytest.mark.long
def test_damaged_images_are_named(tmp_path):
    report = fuzzing.fuzz(f"{__file__}:decode", make_seeds(), mutate, megabytes=MEGABYTES)
    fuzzing.require_none(report, tmp_path)
    assert report.outcomes["read"] > 20
    assert report.outcomes["message"] > 20
