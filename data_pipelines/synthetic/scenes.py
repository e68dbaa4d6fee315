"""Drawn scenes: a background, one to four people, occluding objects, and camera effects."""

import dataclasses

import cv2
import numpy as np

from data_pipelines import skeletons
from data_pipelines.synthetic import clothes, figures, postures

NUM_PEOPLE = (0.55, 0.35, 0.08, 0.02)  # probabilities of trying to place 1, 2, 3, 4 people
MAX_OVERLAP = 0.12  # of two people's boxes, relative to the smaller one
MAX_OUTSIDE = 0.12  # of a body's extent outside the image
MIN_JOINTS = 12  # of MPII's 16 inside the image; otherwise the placement is rejected
MAX_COVERED = 1  # joints of one person that an occluding object may hide
# In MPII, the neck is 0.8 head box diagonals from the head top, and 200 * scale is 4.8 diagonals.
HEAD_BOX_DIAGONAL = postures.HEAD_LENGTH / 0.8
HEIGHT_PER_HEAD_BOX = 4.8
FRACTION_BITS = 3  # OpenCV draws with a precision of 1 / 2**FRACTION_BITS pixel


@dataclasses.dataclass(frozen=True)
class Person:
    """A person's annotation for both layouts, in 0-based pixels, with integers at pixel centers.

    `mpii` (16, 2) and `coco` (17, 2) are joints. `mpii_inside` (16,) says which are inside the
    image, and `coco_flags` (17,) are COCO's visibility flags 0, 1 or 2. `mask` (h, w) marks the
    visible pixels. `head_box` (2, 2) is two corners. `center` and `scale` are MPII's, but the
    center is 0-based.
    """

    mpii: np.ndarray
    mpii_inside: np.ndarray
    coco: np.ndarray
    coco_flags: np.ndarray
    mask: np.ndarray
    head_box: np.ndarray
    center: np.ndarray
    scale: float


def draw_scene(
    rng: np.random.Generator, image_size: tuple[int, int]
) -> tuple[np.ndarray, list[Person]]:
    """An image, (h, w, 3) uint8 RGB, and its people from far to near."""
    canvas = figures.Canvas(draw_background(rng, image_size), random_light(rng))
    bodies = _place_bodies(rng, image_size)
    for body in bodies:
        draw_shadow(canvas, body, rng.uniform(0.15, 0.6))
    for number, body in enumerate(bodies):
        figures.paint_person(canvas, body, clothes.random_outfit(rng), number)
    _draw_occluders(rng, canvas, bodies)
    people = [_annotate(rng, canvas, body, number) for number, body in enumerate(bodies)]
    image = _apply_camera_effects(rng, canvas.image)
    return image, [person for person in people if person.mask.any()]


def random_light(rng: np.random.Generator) -> np.ndarray:
    """A direction toward a light above the camera, (3,)."""
    return np.array([rng.normal(0, 0.8), -rng.uniform(0.2, 1.2), rng.uniform(0.5, 1.5)])


def _place_bodies(rng: np.random.Generator, image_size: tuple[int, int]) -> list[postures.Body]:
    """Bodies in pixels, from far to near, that do not overlap too much."""
    height, width = image_size
    bodies, boxes = [], []
    count = 1 + rng.choice(len(NUM_PEOPLE), p=NUM_PEOPLE)
    tallest = rng.uniform(0.6, 1.2) if count < 3 else rng.uniform(0.5, 0.9)
    for _ in range(12 * count):
        body = postures.random_body(rng)
        size = height * tallest * rng.uniform(0.65, 1)
        positions = np.array([point[:2] for point in body.points.values()]) * size
        upper_left = positions.min(axis=0)
        extent = positions.max(axis=0) - upper_left
        share = np.array([rng.uniform(0, 1), rng.uniform(0.3, 1)])
        corner = share * ([width, height] - extent) + (2 * share - 1) * MAX_OUTSIDE * extent
        placed = body.placed(size, corner - upper_left)
        box = np.concatenate([corner, corner + extent])
        if _inside(joint_positions(placed, skeletons.MPII), image_size).sum() < MIN_JOINTS:
            continue
        if all(_overlap(box, other) < MAX_OVERLAP for other in boxes):
            bodies.append(placed)
            boxes.append(box)
        if len(bodies) == count:
            break
    return sorted(bodies, key=_lowest_y)


def _lowest_y(body: postures.Body) -> float:
    return max(point[1] for point in body.points.values())


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    common = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    smaller = min(np.prod(box[2:] - box[:2]), np.prod(other[2:] - other[:2]))
    return float(np.prod(np.maximum(common, 0)) / smaller)


def joint_positions(body: postures.Body, skeleton: skeletons.Skeleton) -> np.ndarray:
    """The joints of a placed body in pixels, (k, 2)."""
    return np.array([body.points[name][:2] for name in skeleton.names])


def _inside(joints: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    last = np.array(image_size[::-1]) - 1
    return ((joints >= 0) & (joints <= last)).all(axis=-1)


def _annotate(
    rng: np.random.Generator, canvas: figures.Canvas, body: postures.Body, number: int
) -> Person:
    image_size = canvas.person.shape
    mpii, coco = joint_positions(body, skeletons.MPII), joint_positions(body, skeletons.COCO)
    flags = [figures.visibility_flag(canvas, body, number, name) for name in skeletons.COCO.names]
    diagonal = HEAD_BOX_DIAGONAL * body.size
    scale = HEIGHT_PER_HEAD_BOX * diagonal / 200
    neck, top = body.points["upper_neck"][:2], body.points["head_top"][:2]
    # With an upright head, MPII's head boxes have a width of 0.77 times their height.
    shape = np.array([0.58, 0.79]) + np.abs(top - neck) / diagonal * [0.3, 0.0]
    half = shape / np.linalg.norm(shape) * diagonal / 2
    middle = (neck + top) / 2
    # MPII's centers lie on the body, slightly above the middle of its joints.
    center = 0.6 * (mpii.min(axis=0) + mpii.max(axis=0)) / 2 + 0.4 * body.points["waist"][:2]
    return Person(
        mpii=mpii,
        mpii_inside=_inside(mpii, image_size),
        coco=coco,
        coco_flags=np.array(flags),
        mask=canvas.person == number,
        head_box=np.array([middle - half, middle + half]),
        center=center + rng.normal(0, 8, 2) * scale,
        scale=scale,
    )


def _smooth_noise(rng: np.random.Generator, image_size: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise (h, w, 1) with blobs of `cell` pixels and a standard deviation of about 1."""
    height, width = image_size
    coarse = rng.standard_normal((int(height / cell) + 2, int(width / cell) + 2), np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


def draw_background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """A wall or sky, a floor, and clutter, (h, w, 3) float32."""
    height, width = image_size
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall, floor, tint = (_dull_color(rng) for _ in range(3))
    image = np.broadcast_to(wall + (tint - wall) * 0.5 * y, (height, width, 3)).copy()
    horizon = int(height * rng.uniform(0.45, 0.9))
    _draw_texture(rng, image[:horizon])
    image[horizon:] = floor * (0.6 + 0.4 * y[horizon:])
    _draw_texture(rng, image[horizon:])
    image = np.clip(image, 0, 255).astype(np.uint8)  # OpenCV antialiases only in uint8
    for _ in range(rng.integers(0, 4)):
        OBJECTS[rng.integers(len(OBJECTS))](rng, image, height * rng.uniform(0.1, 0.6))
    noises = [rng.uniform(0, 6) * _smooth_noise(rng, image_size, cell) for cell in (60, 16, 5)]
    return image + sum(noises)


def _dull_color(rng: np.random.Generator) -> np.ndarray:
    """A desaturated color, for walls and floors."""
    color = clothes.random_color(rng)
    return (color.mean() + 0.4 * (color - color.mean())).astype(np.float32)


def _draw_texture(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draws boards, tiles or nothing into `image`."""
    period, strength = rng.uniform(8, 40), rng.uniform(-30, 30)
    kind = rng.integers(4)
    if kind in (1, 3):
        image[:, np.arange(image.shape[1]) % period < 2] += strength
    if kind in (2, 3):
        image[np.arange(image.shape[0]) % period < 2] += strength


def _to_fixed_point(points: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(points) * 2**FRACTION_BITS).astype(np.int32)


def _fill_polygon(image: np.ndarray, points: np.ndarray, color: np.ndarray) -> None:
    cv2.fillPoly(image, [_to_fixed_point(points)], color.tolist(), cv2.LINE_AA, FRACTION_BITS)


def _random_point(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return rng.uniform(0, 1, 2) * image.shape[1::-1]


def _draw_crate(rng: np.random.Generator, image: np.ndarray, size: float) -> None:
    """Draws a crate or a window with a darker side."""
    (x, y), (w, h) = _random_point(rng, image), size * rng.uniform(0.2, 1, 2)
    color, side = clothes.random_color(rng), size * rng.uniform(0, 0.2)
    _fill_polygon(image, [(x, y), (x + w, y), (x + w, y + h), (x, y + h)], color)
    edge = [(x + w, y), (x + w + side, y - side), (x + w + side, y + h - side), (x + w, y + h)]
    _fill_polygon(image, edge, 0.7 * color)
    _fill_polygon(image, [(x, y), (x + side, y - side), edge[1], edge[0]], 1.15 * color)


def _draw_pole(rng: np.random.Generator, image: np.ndarray, size: float) -> None:
    """Draws a long thin object, upright or leaning, shaded like a limb."""
    start, length = _random_point(rng, image), size * rng.uniform(1, 3)
    angle = rng.normal(0, 0.3) + (rng.random() < 0.3) * np.pi / 2
    along = length * np.array([np.sin(angle), -np.cos(angle)])
    across = size * rng.uniform(0.02, 0.07) * np.array([np.cos(angle), np.sin(angle)])
    color = clothes.random_color(rng)
    for share, light in ((1.0, 0.6), (0.7, 0.85), (0.35, 1.05)):
        half_width = share * across
        corners = [
            start - half_width,
            start + half_width,
            start + along + half_width,
            start + along - half_width,
        ]
        _fill_polygon(image, corners, light * color)


def _draw_blob(rng: np.random.Generator, image: np.ndarray, size: float) -> None:
    """Draws a bush, a stone or a ball."""
    center, color = _random_point(rng, image), clothes.random_color(rng)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 1 + 0.15 * rng.standard_normal(24) * (rng.random() < 0.6)
    outline = np.stack([np.cos(angle), np.sin(angle)], -1) * radius[:, None]
    radii = size * rng.uniform(0.1, 0.5, 2)
    for share, light in ((1.0, 0.7), (0.8, 0.9), (0.5, 1.05)):
        shift = (1 - share) * 0.3 * radii * [-1, -1]
        _fill_polygon(image, center + shift + share * outline * radii, light * color)


def _draw_furniture(rng: np.random.Generator, image: np.ndarray, size: float) -> None:
    """Draws a table, bench or chair: a board on legs, sometimes with a back."""
    (x, y), color = _random_point(rng, image), clothes.random_color(rng)
    width, legs, thick = size * rng.uniform(0.5, 1.5), size * rng.uniform(0.3, 0.8), size * 0.06
    depth = size * rng.uniform(0.1, 0.3)
    for leg in (depth, width, 0, width - depth):
        foot = y + legs - (depth if leg in (depth, width) else 0)
        _fill_polygon(image, [(x + leg, y), (x + leg + thick, y), (x + leg + thick, foot),
                      (x + leg, foot)], 0.6 * color)  # fmt: skip
    if rng.random() < 0.4:
        back = [(x + depth, y), (x + width, y), (x + width, y - legs), (x + depth, y - legs)]
        _fill_polygon(image, back, 0.8 * color)
    top = [(x, y), (x + depth, y - depth), (x + width + depth, y - depth), (x + width, y)]
    _fill_polygon(image, top, color)
    front = [(x, y), (x + width, y), (x + width, y + thick), (x, y + thick)]
    _fill_polygon(image, front, 0.75 * color)


def _draw_fabric(rng: np.random.Generator, image: np.ndarray, size: float) -> None:
    """Draws a curtain, rug or poster with a clothing pattern."""
    x, y = (_random_point(rng, image) - size / 4).clip(0).astype(int)
    patch = image[y : y + int(size), x : x + int(size * rng.uniform(0.4, 1.2))]
    rows, columns = np.mgrid[: patch.shape[0], : patch.shape[1]] / 150.0
    patch[:] = clothes.random_fabric(rng)(rows, columns)


# Those listed twice are drawn twice as often.
OBJECTS = (
    *(_draw_crate, _draw_crate, _draw_pole, _draw_pole),
    *(_draw_blob, _draw_blob, _draw_furniture, _draw_fabric),
)


def draw_shadow(canvas: figures.Canvas, body: postures.Body, strength: float) -> None:
    """Draws a soft dark ellipse on the ground below a body."""
    positions = np.array([point[:2] for point in body.points.values()])
    left, (right, bottom) = positions[:, 0].min(), positions.max(axis=0)
    center = np.array([(left + right) / 2, bottom])
    radii = np.array([0.55 * (right - left) + 0.05 * body.size, 0.07 * body.size])
    window, x, y = canvas.window(center, 2 * max(radii))
    shadow = np.exp(-np.square(x / radii[0])) * np.exp(-np.square(y / radii[1]))
    canvas.image[window] *= 1 - strength * shadow[..., None]


def _draw_occluders(
    rng: np.random.Generator, canvas: figures.Canvas, bodies: list[postures.Body]
) -> None:
    """Draws up to two objects in front of the people, unless they hide too many joints."""
    image_size = canvas.person.shape
    pixels = [np.rint(joint_positions(body, skeletons.MPII)).astype(int) for body in bodies]
    pixels = [joints[_inside(joints, image_size)] for joints in pixels]
    for _ in range(rng.choice(3, p=(0.8, 0.15, 0.05))):
        before = np.clip(canvas.image, 0, 255).astype(np.uint8)
        after = before.copy()
        OBJECTS[rng.integers(len(OBJECTS))](rng, after, image_size[0] * rng.uniform(0.1, 0.5))
        covered = (after != before).any(axis=-1)
        if any(covered[joints[:, 1], joints[:, 0]].sum() > MAX_COVERED for joints in pixels):
            continue
        canvas.image[covered] = after[covered]
        canvas.person[covered] = canvas.limb[covered] = -1


def _apply_camera_effects(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image as uint8, with random exposure, color cast, blur and grain."""
    image = image * (rng.uniform(0.8, 1.45) * rng.normal(1, 0.05, 3)).astype(np.float32)
    image = 128 + rng.uniform(0.8, 1.15) * (image - 128) + rng.normal(0, 10)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    image += rng.uniform(1, 5) * rng.standard_normal((*image.shape[:2], 1), np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
