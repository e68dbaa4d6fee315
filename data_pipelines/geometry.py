"""Where a person is, and the matrices between image pixels and the network's input pixels.

Points are (x, y), sizes (height, width), boxes (x, y, w, h); matrices are (2, 3) and act on points
(x, y, 1).
"""

import math

import numpy as np

BOX_PADDING = 1.25
LARGEST = 1e9  # pixels; larger numbers in a file are damage


def clip_boxes(boxes: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """Annotated boxes as the references crop them, (..., 4) float64; w or h <= 0 means no person.

    A box loses one pixel of width and height, and one that starts left of the image or above it is
    moved, not cut: its far corner is counted from the clipped corner. The official COCO loader does
    both, and the published scores depend on it.
    """
    boxes, image_sizes = np.asarray(boxes, np.float64), np.asarray(image_sizes)
    near = np.maximum(boxes[..., :2], 0)
    extent = np.maximum(boxes[..., 2:] - 1, 0)
    far = np.minimum(image_sizes[..., ::-1] - 1, near + extent)
    return np.concatenate([near, far - near], axis=-1)


def box_center_size(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centers and padded sizes of boxes, both (..., 2)."""
    boxes = np.asarray(boxes)
    center = boxes[..., :2] + boxes[..., 2:] / 2
    return center, boxes[..., :1:-1] * BOX_PADDING


def mpii_center_size(centers: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centers in 0-based pixels and padded sizes of MPII's people, both (n, 2).

    `centers` are 1-based and sit on the torso, `scales` are person heights / 200. The references
    move the center down a little so that the feet come in; a center x of -1 means that there is
    none, and then neither that nor the padding is applied.
    """
    centers, scales = np.asarray(centers, np.float64), np.asarray(scales, np.float64)
    known = centers[:, 0] != -1
    moved = centers + np.stack([np.zeros_like(scales), 15 * scales * known], axis=-1)
    side = 200 * scales * np.where(known, BOX_PADDING, 1)
    return moved - 1, np.stack([side, side], axis=-1)


def fit_aspect(size: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """The smallest size around `size`, (..., 2), with the aspect ratio of `input_size`."""
    size = np.asarray(size)
    aspect = input_size[1] / input_size[0]
    height, width = size[..., 0], size[..., 1]
    return np.stack([np.maximum(height, width / aspect), np.maximum(width, height * aspect)], -1)


def crop_matrix(
    center: np.ndarray,
    size: np.ndarray,
    rotation: float,
    input_size: tuple[int, int],
    *,
    udp: bool = False,
) -> np.ndarray:
    """The matrix from image to input pixels, float64, that puts `center` in the input's middle.

    `rotation` is in degrees. Only the width of `size` counts, as in the references; with a size
    from `fit_aspect` the height agrees with it. With `udp` (mmpose 0.x, get_warp_matrix) `size`
    lies between the centers of the outermost pixels, its height counts too, and the rotation's
    sense is the opposite.
    """
    if udp:
        return _udp_crop_matrix(center, size, rotation, input_size)
    height, width = input_size
    zoom = width / float(size[1])
    # Plain numbers: this runs for every person, and NumPy's small arrays take longer.
    cos, sin, x, y = *_turn(rotation, zoom), *map(float, center)
    return np.array(
        [
            [cos, sin, width / 2 - cos * x - sin * y],
            [-sin, cos, height / 2 + sin * x - cos * y],
        ]
    )


def _udp_crop_matrix(center, size, rotation, input_size):
    height, width = map(float, size)
    zoom_x, zoom_y = (input_size[1] - 1) / width, (input_size[0] - 1) / height
    cos, sin, x, y = *_turn(rotation, 1.0), *map(float, center)
    return np.array(
        [
            [zoom_x * cos, -zoom_x * sin, zoom_x * (width / 2 - cos * x + sin * y)],
            [zoom_y * sin, zoom_y * cos, zoom_y * (height / 2 - sin * x - cos * y)],
        ]
    )


def _turn(rotation, zoom):
    angle = math.radians(float(rotation))
    return zoom * math.cos(angle), zoom * math.sin(angle)


def invert(matrix: np.ndarray) -> np.ndarray:
    """The matrix of the opposite direction."""
    (a, b, x), (c, d, y) = matrix.tolist()
    scale = 1 / (a * d - b * c)
    return scale * np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) moved by a matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]
