"""Sizes and counts as text; images are width x height, as cameras, browsers and viewers state it.

In the code a size is (height, width), the order of an array's axes. The names of published networks
and `VARIANT_HxW` have the papers' order, height x width; messages about pixels do not.
"""

from collections.abc import Sequence


def text(size: Sequence[float]) -> str:
    """The (height, width) of something as width x height, where the order was said: 640x480."""
    height, width = size
    return f"{width:g}x{height:g}"


def pixels(size: Sequence[float]) -> str:
    """The (height, width) of an image in pixels: 640x480 pixels (width x height)."""
    return f"{text(size)} pixels (width x height)"


def count(number: int, one: str, many: str) -> str:
    """A number of things: 1 person, 1,200 people."""
    return f"{number:,} {one if number == 1 else many}"
