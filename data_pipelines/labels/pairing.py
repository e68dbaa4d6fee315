"""Which points belong to which box, where a tool does not say so: by containment."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

Outline = Sequence[Sequence[float]]  # the corners of a polygon


def rectangle(box: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a box (x, y, w, h)."""
    x, y, w, h = box
    return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]


def bounds(points: Outline) -> tuple[float, float, float, float]:
    """The tight box (x, y, w, h) of points."""
    array = np.asarray(points, float)
    (x0, y0), (x1, y1) = array.min(axis=0), array.max(axis=0)
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)


def contains(outline: Outline, point: Sequence[float]) -> bool:
    """Whether a point is inside of a polygon, or on its edge."""
    x, y = float(point[0]), float(point[1])
    corners = np.asarray(outline, float)
    (ax, ay), (bx, by) = corners.T, np.roll(corners, -1, axis=0).T
    cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    within = (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx))
    within &= (np.minimum(ay, by) <= y) & (y <= np.maximum(ay, by))
    if ((cross == 0) & within).any():
        return True
    spans = (ay > y) != (by > y)
    at = ax + (y - ay) * (bx - ax) / np.where(by == ay, 1, by - ay)
    return bool(np.count_nonzero(spans & (x < at)) % 2)


def tie(
    labels: Sequence[str], points: Sequence[Sequence[float]], outlines: Mapping[Hashable, Outline]
) -> list[Hashable | None]:
    """The outline that each labeled point belongs to; None for points outside, or in doubt.

    A point inside of several belongs to the only one of them that lacks its label.
    """
    inside = [[key for key, outline in outlines.items() if contains(outline, p)] for p in points]
    owners = [keys[0] if len(keys) == 1 else None for keys in inside]
    changed = True
    while changed:
        changed = False
        taken = {(owner, label) for owner, label in zip(owners, labels, strict=True)}
        for place, (label, keys) in enumerate(zip(labels, inside, strict=True)):
            free = [key for key in keys if (key, label) not in taken]
            alone = labels.count(label) == 1 or len(free) == 1
            if owners[place] is None and len(free) == 1 and alone:
                owners[place], changed = free[0], True
                taken.add((free[0], label))
    return owners


def around(
    joints: Sequence[Sequence[float]], boxes: Mapping[Hashable, Sequence[float]]
) -> Hashable | None:
    """The only box that holds all labeled joints (x, y, visibility); None if there is not one."""
    labeled = [joint[:2] for joint in joints if joint[2] > 0]
    holding = [
        key
        for key, box in boxes.items()
        if all(contains(rectangle(box), point) for point in labeled)
    ]
    return holding[0] if len(holding) == 1 and labeled else None
