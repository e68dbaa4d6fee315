"""Person boxes of frames: the whole image, or boxes given as text (`box_files` reads files)."""

from collections.abc import Callable, Sequence

import numpy as np

from hrjax.prediction.media import Frame

# Gives a frame's boxes (n, 4) as (x, y, w, h), and their scores (n,).
FindBoxes = Callable[[Frame], tuple[np.ndarray, np.ndarray]]


def whole_image(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """One box around the whole frame."""
    height, width = frame.image.shape[:2]
    return np.array([[0.0, 0.0, width, height]]), np.ones(1)


def fixed_boxes(texts: Sequence[str]) -> FindBoxes:
    """The same boxes in every frame, each given as the text x,y,w,h."""
    boxes = np.array([_parse(text) for text in texts])
    return lambda frame: (boxes, np.ones(len(boxes)))


def _parse(text):
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ValueError(f"a box is x,y,w,h in pixels, e.g. 20,10,100,200; got {text!r}")
    return numbers
