"""Painting of one person: a body with clothes, hair and a face, limb by limb."""

import dataclasses

import numpy as np

from data_pipelines.synthetic.clothes import Outfit
from data_pipelines.synthetic.postures import FACE, HEAD_LENGTH, HEAD_RADII, Body

FACE_JOINTS = tuple(FACE)


@dataclasses.dataclass(frozen=True)
class Limb:
    """A tapered limb with an elliptical cross-section between two points of a body.

    `widths` are half-widths at equal intervals along the limb, in units of the standing height.
    `flatness` is the ratio of depth to width, `cap` the roundness of the ends. `reach` names the
    entry of `Outfit.reach` that says where the garment ends, and the number of limbs between the
    body and this one; beyond the garment there is skin. Limbs are painted from far to near, by
    their depth plus `depth_offset`; a limb with an `anchor` lies on it and uses its depth. `joints`
    are visible wherever the limb is. In names, {} stands for left and right.
    """

    start: str
    end: str
    frame: str
    widths: tuple[float, ...]
    garment: str
    depth_offset: float = 0.0
    joints: tuple[str, ...] = ()
    reach: tuple[str, int] = ("all", 0)
    flatness: float = 1.0
    cap: float = 0.9
    anchor: str = ""
    only_with: str = ""


ARM, FOREARM, HAND = ("{}_shoulder", "{}_elbow"), ("{}_elbow", "{}_wrist"), ("{}_wrist",)
THIGH, SHIN, FOOT = ("{}_hip", "{}_knee"), ("{}_knee", "{}_ankle"), ("{}_ankle",)
HIPS, SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
PAIRED = (
    Limb(*ARM, "{}_arm", (0.036, 0.034, 0.028), "shirt", 0.006, ARM, ("sleeves", 0)),
    Limb(*FOREARM, "{}_forearm", (0.028, 0.027, 0.018), "shirt", 0.008, FOREARM, ("sleeves", 1)),
    Limb("{}_wrist", "{}_fingers", "{}_forearm", (0.018, 0.023, 0.014), "skin", 0.009, HAND),
    Limb(*THIGH, "{}_thigh", (0.062, 0.055, 0.042), "trousers", -0.006, THIGH, ("legs", 0)),
    Limb(*SHIN, "{}_shin", (0.040, 0.042, 0.025), "trousers", -0.008, SHIN, ("legs", 1)),
    Limb("{}_heel", "{}_toes", "{}_foot", (0.027, 0.028, 0.021), "shoes", -0.007, FOOT),
    Limb("{}_ear", "{}_lobe", "head", (0.014, 0.012), "skin", 0.01, FACE_JOINTS,
         anchor="head_middle"),
    Limb("{}_eye", "{}_eye", "head", (0.013, 0.013), "white", 0.0102, FACE_JOINTS,
         anchor="head_middle"),
    Limb("{}_eye", "{}_eye", "head", (0.008, 0.008), "pupil", 0.0104, FACE_JOINTS,
         anchor="head_middle"),
    Limb("{}_brow", "{}_brow_end", "head", (0.004, 0.003), "brow", 0.01, FACE_JOINTS,
         anchor="head_middle"),
    Limb("{}_strap", "{}_strap_end", "chest", (0.012, 0.012), "bag", anchor="waist", cap=0.3,
         only_with="bag"),
)  # fmt: skip
SINGLE = (
    Limb("waistband", "crotch", "pelvis", (0.09, 0.1, 0.096), "trousers", 0, HIPS, flatness=0.68,
         cap=0.5),
    Limb("waistband", "skirt_hem", "pelvis", (0.092, 0.11, 0.125), "trousers", 0.06, HIPS,
         flatness=0.8, cap=0.1, only_with="skirt"),
    Limb("belt", "ribs", "chest", (0.094, 0.089, 0.095), "shirt", 0.002, HIPS, flatness=0.62,
         cap=0.3),
    Limb("ribs", "yoke", "chest", (0.095, 0.108, 0.096), "shirt", 0.004, SHOULDERS, flatness=0.6,
         cap=0.25),
    Limb(*SHOULDERS, "chest", (0.034, 0.04, 0.034), "shirt", 0.003, SHOULDERS),
    Limb("thorax", "upper_neck", "chest", (0.04, 0.034, 0.034), "skin", 0.0045, ("thorax",)),
    Limb("nose_root", "nose", "head", (0.005, 0.012), "nose", 0.0105, FACE_JOINTS,
         anchor="head_middle"),
    Limb("mouth", "mouth_end", "head", (0.006, 0.006), "lips", 0.01, FACE_JOINTS,
         anchor="head_middle"),
    # Cues that distinguish front from back: neckline, buttons, hair, a bag.
    Limb("neckline", "neckline_end", "chest", (0.034, 0.004), "skin", anchor="thorax",
         flatness=0.3),
    Limb("buttons", "buttons_end", "chest", (0.005, 0.005), "trim", anchor="waist", flatness=0.3,
         only_with="buttons"),
    Limb("nape", "hair_end", "head", (0.05, 0.058, 0.04), "hair", flatness=0.5,
         only_with="long hair"),
    Limb("bag", "bag_end", "chest", (0.075, 0.085, 0.085), "bag", flatness=0.6, cap=0.3,
         only_with="bag"),
)  # fmt: skip
LIMBS = SINGLE + tuple(
    dataclasses.replace(
        limb,
        start=limb.start.format(side),
        end=limb.end.format(side),
        frame=limb.frame.format(side),
        joints=tuple(joint.format(side) for joint in limb.joints),
    )
    for limb in PAIRED
    for side in ("left", "right")
)
HEAD = len(LIMBS)  # the head's number in Canvas.limb; it is an ellipsoid, not a limb
# Points of the figure that are not joints: the joint and frame they are attached to, and the offset
# from there (left, down, forward).
LANDMARKS = {
    "waistband": ("pelvis", "pelvis", (0, -0.05, 0)),
    "crotch": ("pelvis", "pelvis", (0, 0.02, 0)),
    "skirt_hem": ("pelvis", "pelvis", (0, 0.19, 0)),
    "belt": ("pelvis", "pelvis", (0, -0.03, 0)),
    "ribs": ("waist", "chest", (0, -0.02, 0)),
    "yoke": ("thorax", "chest", (0, 0.02, 0)),
    "neckline": ("thorax", "chest", (0, -0.012, 0.045)),
    "neckline_end": ("thorax", "chest", (0, 0.065, 0.06)),
    "buttons": ("thorax", "chest", (0, 0.07, 0.062)),
    "buttons_end": ("pelvis", "pelvis", (0, -0.05, 0.062)),
    "nape": ("upper_neck", "head", (0, -0.10, -0.035)),
    "hair_end": ("thorax", "chest", (0, 0.07, -0.07)),
    "bag": ("thorax", "chest", (0, 0.03, -0.1)),
    "bag_end": ("waist", "chest", (0, 0.03, -0.11)),
    "head_middle": ("upper_neck", "head", (0, -HEAD_LENGTH / 2, 0)),
    "nose_root": ("upper_neck", "head", (0, -0.09, 0.064)),
    "mouth": ("upper_neck", "head", (-0.016, -0.036, 0.054)),
    "mouth_end": ("upper_neck", "head", (0.016, -0.036, 0.054)),
    "left_brow": ("upper_neck", "head", (0.012, -0.108, 0.060)),
    "left_brow_end": ("upper_neck", "head", (0.034, -0.106, 0.050)),
    "right_brow": ("upper_neck", "head", (-0.012, -0.108, 0.060)),
    "right_brow_end": ("upper_neck", "head", (-0.034, -0.106, 0.050)),
    "left_lobe": ("left_ear", "head", (0, 0.016, 0.002)),
    "right_lobe": ("right_ear", "head", (0, 0.016, 0.002)),
    "left_strap": ("thorax", "chest", (0.07, -0.015, 0.04)),
    "left_strap_end": ("waist", "chest", (0.075, 0.0, 0.055)),
    "right_strap": ("thorax", "chest", (-0.07, -0.015, 0.04)),
    "right_strap_end": ("waist", "chest", (-0.075, 0.0, 0.055)),
}


class Canvas:
    """An image being painted, and the person and limb that each pixel shows.

    `image` is (h, w, 3) float32. `person` and `limb` (h, w) are numbers, and -1 in the background.
    `light` (3,) points toward the light source.
    """

    def __init__(self, image: np.ndarray, light: np.ndarray):
        self.image = image
        self.light = light / np.linalg.norm(light)
        self.person = np.full(image.shape[:2], -1, np.int16)
        self.limb = np.full(image.shape[:2], -1, np.int16)

    def window(
        self, center: np.ndarray, radius: float
    ) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """Slices around a point, clipped to the image, and the x and y offsets of their pixels."""
        near = np.maximum(np.floor(center[:2] - radius).astype(int), 0)
        far = np.maximum(np.ceil(center[:2] + radius).astype(int) + 1, 0)
        rows, columns = slice(near[1], far[1]), slice(near[0], far[0])
        height, width = self.person[rows, columns].shape
        x = np.arange(width) + (near[0] - center[0])
        y = np.arange(height)[:, None] + (near[1] - center[1])
        return (rows, columns), x, y

    def blend(
        self,
        window: tuple[slice, slice],
        coverage: np.ndarray,
        color: np.ndarray,
        person: int,
        limb: int,
    ) -> None:
        """Paints `color` over a window, with `coverage` from 0 to 1 as its opacity."""
        patch = self.image[window]
        patch += coverage[..., None] * (color - patch)
        opaque = coverage > 0.5
        self.person[window][opaque] = person
        self.limb[window][opaque] = limb


def paint_person(canvas: Canvas, body: Body, outfit: Outfit, person: int) -> None:
    """Paints a placed body onto the canvas, from the farthest limb to the nearest."""
    points = {**body.points}
    for name, (base, frame, offset) in LANDMARKS.items():
        points[name] = points[base] + body.frames[frame] @ np.array(offset) * body.size
    extras = outfit.extras if _legs_are_down(body) else outfit.extras - {"skirt"}
    layers = [(points["head_middle"][2] + 0.01 * body.size, HEAD)]
    for number, limb in enumerate(LIMBS):
        if limb.only_with and limb.only_with not in extras:
            continue
        depth = (points[limb.start][2] + points[limb.end][2]) / 2
        if limb.anchor:
            depth = points[limb.anchor][2] + 0.02 * (depth - points[limb.anchor][2])
        layers.append((depth + limb.depth_offset * body.size, number))
    if "skirt" in extras:
        outfit = dataclasses.replace(outfit, reach={**outfit.reach, "legs": 0.0})
    for depth, number in sorted(layers):
        # Limbs farther away are slightly darker.
        light = np.clip(1 + 0.7 * (depth - points["waist"][2]) / body.size, 0.78, 1.08)
        if number == HEAD:
            _paint_head(canvas, body, points["head_middle"], outfit, light, person)
        else:
            _paint_limb(canvas, body, points, number, outfit, light, person)


def _legs_are_down(body: Body) -> bool:
    down = body.frames["pelvis"][:, 1]
    knees = [body.points[f"{side}_knee"] - body.points["pelvis"] for side in ("left", "right")]
    return min(knee @ down for knee in knees) > 0.19 * body.size


def _paint_limb(
    canvas: Canvas, body: Body, points: dict, number: int, outfit: Outfit, light: float, person: int
) -> None:
    limb, size, frame = LIMBS[number], body.size, body.frames[LIMBS[number].frame]
    axis = points[limb.end] - points[limb.start]
    length = np.hypot(axis[0], axis[1])
    direction = axis[:2] / length if length > 1e-3 else np.array([0.0, 1.0])
    perpendicular = np.array([-direction[1], direction[0]])
    # The cross-section is an ellipse; these are its half extents in the image.
    lateral, forward = frame[:2, 0], limb.flatness * frame[:2, 2]
    across = np.hypot(lateral @ perpendicular, forward @ perpendicular)
    along = max(np.hypot(lateral @ direction, forward @ direction), limb.cap)
    build = size * (outfit.build if limb.frame != "head" else 1.0)
    widths = build * np.array(limb.widths)
    kind, limbs_before = limb.reach
    garment_end = outfit.reach[kind] - limbs_before
    looseness = outfit.looseness if kind != "all" else 1.0

    window_radius = length / 2 + max(widths) * looseness * max(across, along) + 1
    middle = (points[limb.start] + points[limb.end])[:2] / 2
    window, x, y = canvas.window(middle, window_radius)
    distance = x * direction[0] + y * direction[1] + length / 2
    sideways = (x * perpendicular[0] + y * perpendicular[1]) / across
    share = np.clip(distance / max(length, 1e-3), 0, 1)  # of the way from start to end
    covered = share <= garment_end
    radius = np.interp(share, np.linspace(0, 1, len(widths)), widths)
    radius = radius * np.where(covered, looseness, 1)
    side, beyond_end = sideways / radius, (distance - share * length) / (along * radius)
    edge = np.hypot(side, beyond_end)  # 1 on the outline
    coverage = np.clip((1 - edge) * radius * across + 0.5, 0, 1)
    if not coverage.any():
        return
    positions = share * np.linalg.norm(axis) / size, side * radius / size
    garment = outfit.fabrics[limb.garment](*positions)
    color = np.where(covered[..., None], garment, outfit.fabrics["skin"].color)
    edge, side, end = (np.clip(a, -1, 1) for a in (edge, side, 0.6 * beyond_end))
    cosine = side * (perpendicular @ canvas.light[:2]) + end * (direction @ canvas.light[:2])
    shade = _shade(cosine + np.sqrt(1 - edge**2) * canvas.light[2], edge)
    canvas.blend(window, coverage, color * (light * shade)[..., None], person, number)


def _shade(cosine: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Brightness from the cosine of the angle to the light; darker toward the outline."""
    return 0.68 + 0.4 * np.maximum(cosine, 0) - 0.22 * edge**4


def _paint_head(
    canvas: Canvas, body: Body, center: np.ndarray, outfit: Outfit, light: float, person: int
) -> None:
    radii = HEAD_RADII * body.size
    axes = body.frames["head"] / radii  # maps image coordinates to the unit sphere
    form = axes @ axes.T
    window, x, y = canvas.window(center, max(radii) + 1)
    # At every pixel, the root z of p·form·p = 1 that is nearer to the viewer.
    b = (form[0, 2] * x + form[1, 2] * y) / form[2, 2]
    rest = form[0, 0] * x**2 + 2 * form[0, 1] * x * y + form[1, 1] * y**2
    edge = np.sqrt(np.maximum(rest - b**2 * form[2, 2], 0))  # 1 on the outline
    coverage = np.clip((1 - edge) * min(radii) + 0.5, 0, 1)
    z = np.sqrt(np.maximum(1 - edge**2, 0) / form[2, 2]) - b
    point = np.stack(np.broadcast_arrays(x, y, z), -1)
    sphere = point @ axes  # left, down, forward on the unit sphere
    normal = point @ form
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    down, forward = sphere[..., 1], sphere[..., 2]
    is_hair = -down > outfit.hairline + 0.55 * forward
    hair = outfit.fabrics["hair"](down * 0.08, forward * 0.06)
    color = np.where(is_hair[..., None], hair, outfit.fabrics["skin"].color)
    shade = _shade(normal @ canvas.light, np.clip(edge, 0, 1))
    canvas.blend(window, coverage, color * (light * shade)[..., None], person, HEAD)


def visibility_flag(canvas: Canvas, body: Body, person: int, name: str) -> int:
    """COCO's flag of a joint: 0 outside the image or behind the head, 1 occluded, 2 visible."""
    point = body.points[name][:2]
    last = np.array(canvas.person.shape[::-1]) - 1
    outside = (point < 0).any() or (point > last).any()
    if outside or (name in FACE and body.is_behind_head(name)):
        return 0
    x, y = np.rint(point).astype(int)
    if canvas.person[y, x] != person:
        return 1
    limb = canvas.limb[y, x]
    return 2 if name in (FACE_JOINTS if limb == HEAD else LIMBS[limb].joints) else 1
