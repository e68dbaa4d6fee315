"""Films of drawn people with known truth: smooth paths, occlusion and a shaking camera.

`plan` decides everything by a seed, `Film.people` says where people are in a frame, and
`Film.draw` draws it. Frames are independent of each other: any of them can be drawn alone.
"""

import dataclasses
import functools
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines import skeletons
from data_pipelines.skeletons import Skeleton
from data_pipelines.synthetic import clothes, figures, postures, scenes

SMALLEST_SIDE = 64
LEG = 0.505  # from the pelvis to the ground, in standing heights
MARGIN = 0.035  # of a person's box around the points of the body, in standing heights
TURN = 55  # degrees that a person turns away from the camera at full walking speed
FULL_SPEED = 0.6  # of walking, in standing heights per second
SWING = 24  # degrees of the legs at that speed
# The parts of a body that hide what is behind them: two points and a half-width.
PARTS = (
    ("thorax", "pelvis", 0.075),
    ("head_top", "upper_neck", 0.055),
    *((f"{side}_shoulder", f"{side}_elbow", 0.03) for side in ("left", "right")),
    *((f"{side}_elbow", f"{side}_wrist", 0.025) for side in ("left", "right")),
    *((f"{side}_hip", f"{side}_knee", 0.05) for side in ("left", "right")),
    *((f"{side}_knee", f"{side}_ankle", 0.035) for side in ("left", "right")),
)
PILLAR_WIDTHS = (0.05, 0.09)  # relative to the width of the image


@dataclasses.dataclass(frozen=True)
class Wave:
    """A smooth course in time: sines of `sizes` (m,), `rates` (m,) in Hz and `phases` (m,)."""

    sizes: np.ndarray
    rates: np.ndarray
    phases: np.ndarray

    def __call__(self, time: float) -> float:
        """The value at a time in seconds."""
        return float(self.sizes @ np.sin(2 * np.pi * (self.rates * time + self.phases)))

    def slope(self, time: float) -> float:
        """The change per second at a time."""
        speeds = 2 * np.pi * self.rates * self.sizes
        return float(speeds @ np.cos(2 * np.pi * (self.rates * time + self.phases)))


@dataclasses.dataclass(frozen=True)
class Walker:
    """A person who walks to and fro: looks, standing height in pixels, and courses in time.

    `across` is the place in pixels from the middle of the image, `growth` the relative change of
    the size, and `arm` the angle in degrees that the raised arm leaves its rest by.
    """

    posture: postures.Posture
    outfit: clothes.Outfit
    height: float
    across: Wave
    growth: Wave
    arm: Wave
    cadence: float
    phase: float


@dataclasses.dataclass(frozen=True)
class FilmedPerson:
    """One person of a frame, in pixels of the image; `track_id` is the same in all frames.

    `keypoints` (k, 2) are the film's joints; `visible` (k,) says which are inside the image and not
    behind another person or a pillar (a joint behind the person's own body counts as visible).
    `box` (4,) is (x, y, w, h) around the whole person, hidden or not.
    """

    track_id: int
    keypoints: np.ndarray
    visible: np.ndarray
    box: np.ndarray


@dataclasses.dataclass(frozen=True)
class Film:
    """A planned film; `image_size` is (height, width), `rate` in frames per second.

    `pillars` (p, 2) are the left and right edges in pixels of what stands before all people.
    `skeleton` are the joints that people have, COCO's or MPII's.
    `shake` are the courses of the camera: to the right and down in pixels, and degrees.
    """

    seed: int
    frames: int
    rate: float
    image_size: tuple[int, int]
    walkers: tuple[Walker, ...]
    pillars: np.ndarray
    shake: tuple[Wave, Wave, Wave]
    skeleton: Skeleton = skeletons.COCO

    def __iter__(self) -> Iterator[tuple[np.ndarray, list[FilmedPerson]]]:
        """Each frame (h, w, 3) uint8 RGB with its people."""
        return ((self.draw(number), self.people(number)) for number in range(self.frames))

    def people(self, number: int) -> list[FilmedPerson]:
        """The people of a frame, in the order of their track ids."""
        bodies = self._bodies(number)
        camera = self._camera(number)
        people = []
        for track_id, body in enumerate(bodies, 1):
            nearer = [other for other in bodies if other.size > body.size]
            people.append(self._filmed(track_id, body, nearer, camera))
        return people

    def draw(self, number: int) -> np.ndarray:
        """A frame (h, w, 3) uint8 RGB."""
        pad = self._pad
        background, light, strength, tone = self._setting
        canvas = figures.Canvas(background.copy(), light)
        bodies = [_moved(body, pad) for body in self._bodies(number)]
        order = sorted(range(len(bodies)), key=lambda person: bodies[person].size)
        for person in order:
            scenes.draw_shadow(canvas, bodies[person], strength)
        for person in order:
            figures.paint_person(canvas, bodies[person], self.walkers[person].outfit, person)
        for left, right in np.rint(self.pillars).astype(int) + pad:
            canvas.image[:, left:right] = _pillar(canvas.image.shape[0], right - left, tone)
        rng = np.random.default_rng([self.seed, number])
        canvas.image += 2 * rng.standard_normal((*canvas.image.shape[:2], 1), np.float32)
        image = np.clip(canvas.image, 0, 255).astype(np.uint8)
        matrix = self._camera(number) @ np.array([[1, 0, -pad], [0, 1, -pad], [0, 0, 1]])
        size = self.image_size[::-1]
        return cv2.warpAffine(image, matrix[:2], size, borderMode=cv2.BORDER_REPLICATE)

    def _filmed(self, track_id, body, nearer, camera):
        joints = scenes.joint_positions(body, self.skeleton)
        hidden = np.zeros(len(joints), bool)
        for other in nearer:
            hidden |= _covered(joints, other)
        for left, right in self.pillars:
            hidden |= (joints[:, 0] >= left) & (joints[:, 0] < right)
        keypoints = joints @ camera[:2, :2].T + camera[:2, 2]
        last = np.array(self.image_size[::-1]) - 1
        inside = ((keypoints >= 0) & (keypoints <= last)).all(axis=1)
        extent = np.array([point[:2] for point in body.points.values()])
        extent = extent @ camera[:2, :2].T + camera[:2, 2]
        near = extent.min(axis=0) - MARGIN * body.size
        far = extent.max(axis=0) + MARGIN * body.size
        return FilmedPerson(
            track_id, keypoints, inside & ~hidden, np.concatenate([near, far - near])
        )

    def _bodies(self, number):
        return [_walk(walker, number / self.rate, self.image_size) for walker in self.walkers]

    def _camera(self, number):
        """The matrix (3, 3) from the scene to the image."""
        right, down, turn = (wave(number / self.rate) for wave in self.shake)
        height, width = self.image_size
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0)
        matrix[:, 2] += right, down
        return np.vstack([matrix, [0, 0, 1]])

    @property
    def _pad(self):
        """How far the scene goes on beyond the image, so that a shaking camera sees no edge."""
        right, down, turn = (float(np.abs(wave.sizes).sum()) for wave in self.shake)
        return int(np.ceil(max(right, down) + np.deg2rad(turn) * max(self.image_size)))

    @functools.cached_property
    def _setting(self):
        """The background with its margin, the light, the strength of shadows, pillars' color."""
        rng = np.random.default_rng([self.seed, self.frames, 1])
        size = tuple(side + 2 * self._pad for side in self.image_size)
        background = scenes.draw_background(rng, size).astype(np.float32)
        light = scenes.random_light(rng)
        return background, light, rng.uniform(0.15, 0.6), 0.7 * clothes.random_color(rng)


def plan(
    seed: int,
    *,
    frames: int,
    people: int = 3,
    image_size: tuple[int, int] = (240, 320),
    rate: float = 30.0,
    pillars: int = 0,
    shake: float = 0.0,
    skeleton: Skeleton = skeletons.COCO,
) -> Film:
    """A film by a seed, of people who cross the image and each other again and again.

    `skeleton` is COCO's or MPII's. `pillars` stand before them all. `shake` is how far the camera
    moves, in pixels.
    """
    if min(frames, people) < 1 or rate <= 0 or min(image_size) < SMALLEST_SIDE or shake < 0:
        raise ValueError(
            f"can't plan a film of {frames} frames at {rate} per second with {people} people, of "
            f"size {image_size}, shaken by {shake} pixels; a film needs at least 1 frame and 1 "
            f"person, a positive rate, sides of at least {SMALLEST_SIDE} pixels, and no negative "
            "shake"
        )
    rng = np.random.default_rng([seed, 0])
    height, width = image_size
    # Different sizes, so that it is clear who is nearer.
    heights = height * np.linspace(0.5, 0.72, people) if people > 1 else [0.65 * height]
    walkers = [_walker(rng, size, width) for size in heights]
    edges = np.sort(rng.uniform(0.2, 0.8, pillars))
    widths = rng.uniform(*PILLAR_WIDTHS, pillars)
    edges = width * np.stack([edges, edges + widths], axis=1)
    waves = tuple(_wave(rng, size, (0.4, 2.5), 3) for size in (shake, shake, 0.1 * shake))
    return Film(seed, frames, rate, image_size, tuple(walkers), edges, waves, skeleton)


def _wave(rng, size, rates, count=1):
    """A random course that stays within `size`, with rates from a range in Hz."""
    sizes = rng.uniform(0.5, 1, count)
    return Wave(size * sizes / sizes.sum(), rng.uniform(*rates, count), rng.uniform(0, 1, count))


def _walker(rng, size, width):
    posture = postures.random_posture(rng)
    quiet = dataclasses.replace(
        posture,
        trunk=np.clip(posture.trunk, -6, 8),
        tilt=4.0,
        head=np.clip(posture.head, -12, 12),
        arms=np.array([[0, rng.uniform(6, 14), 10, 15] for _ in range(2)]),
        legs=np.array([[0, rng.uniform(1, 4), 6, 5, 0] for _ in range(2)]),
    )
    # Walking speed decides how long a path takes: people cross the image in some seconds.
    reach = rng.uniform(0.28, 0.36) * width
    period = 2 * np.pi * reach / (size * rng.uniform(0.45, 0.75))
    return Walker(
        posture=quiet,
        outfit=clothes.random_outfit(rng),
        height=size,
        across=Wave(np.array([reach]), np.array([1 / period]), rng.uniform(0, 1, 1)),
        growth=_wave(rng, 0.04, (0.05, 0.15), 2),
        arm=_wave(rng, rng.uniform(0, 60), (0.1, 0.4), 2),
        cadence=rng.uniform(0.7, 1.0),
        phase=rng.uniform(0, 1),
    )


def _walk(walker, time, image_size):
    """The body of a person at a time, in pixels of the scene."""
    height, width = image_size
    size = walker.height * (1 + walker.growth(time))
    speed = walker.across.slope(time) / size / FULL_SPEED
    swing = SWING * np.sqrt(0.04 + min(speed**2, 2))
    stride = 2 * np.pi * (walker.cadence * time + walker.phase)
    step = swing * np.sin(stride) * np.array([1, -1])
    lift = swing * np.square(np.maximum(np.cos(stride) * np.array([1, -1]), 0))
    arms, legs = walker.posture.arms.copy(), walker.posture.legs.copy()
    arms[:, 0] -= 0.9 * step
    arms[:, 3] += 0.4 * swing
    arms[0, 1] += abs(walker.arm(time)) ** 2 / 60  # squared, so that the rest is smooth
    legs[:, 0] += step
    legs[:, 3] += 1.6 * lift
    posture = dataclasses.replace(walker.posture, yaw=TURN * np.tanh(speed), arms=arms, legs=legs)
    ground = height * (0.58 + 0.5 * (size / height - 0.3))  # nearer people stand lower
    bob = 0.008 * size * np.cos(2 * stride)
    place = np.array([width / 2 + walker.across(time), ground - LEG * size + bob])
    return postures.build_body(posture).placed(size, place)


def _moved(body, pad):
    shift = np.array([pad, pad, 0])
    points = {name: point + shift for name, point in body.points.items()}
    return dataclasses.replace(body, points=points)


def _covered(points, body):
    """Which points (n, 2) are behind a body, (n,)."""
    covered = np.zeros(len(points), bool)
    for start, end, width in PARTS:
        start, end = body.points[start][:2], body.points[end][:2]
        axis = end - start
        share = np.clip((points - start) @ axis / (axis @ axis + 1e-9), 0, 1)
        distance = np.linalg.norm(points - start - share[:, None] * axis, axis=1)
        covered |= distance < width * body.size
    return covered


def _pillar(height, width, color):
    """A round pillar, lit from the left, (h, w, 3)."""
    across = np.linspace(-0.9, 0.9, max(width, 1))
    light = 0.55 + 0.5 * np.sqrt(1 - across**2) - 0.15 * across
    return np.broadcast_to(light[:, None] * color, (height, max(width, 1), 3))[:, :width]
