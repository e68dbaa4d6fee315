"""What people look like: a color for each limb, which tells apart people whose places do not.

Trackers compare the appearance of people who come back (Wojke et al., "Simple Online and Realtime
Tracking with a Deep Association Metric", 2017). The colors of clothes, hair and skin along the
limbs need no network of their own. Colors are in CIE Lab, limbs are pairs of joints.
"""

from collections.abc import Sequence

import cv2
import numpy as np

PLACES = np.linspace(0.1, 0.9, 9)  # on a limb, where its color is taken
CERTAIN = 0.5  # of a person's best joint score; both joints of a limb must have as much
LIGHTNESS = 0.5  # the weight of differences in lightness: shadows change it more than the hue
TOLERANCE = 15.0  # by which colors of one limb differ: the standard deviation, in Lab units
FEWEST = 2  # limbs; fewer say too little
ADAPTATION = 0.05  # per frame, so that colors follow the light, and single errors do not matter


def limb_colors(
    image: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, limbs: Sequence[tuple[int, int]]
) -> np.ndarray:
    """The mean colors (n, l, 3) along limbs of poses (n, k, 2), in an image (h, w, 3) uint8 RGB.

    NaN where a joint of the limb scores low, compared with the person's best, or where the limb is
    not inside the image.
    """
    n, pairs = len(keypoints), np.reshape(limbs, (-1, 2)).astype(int)
    ends = keypoints[:, pairs]  # (n, l, 2, 2)
    points = ends[:, :, :1] + PLACES[:, None] * (ends[:, :, 1:] - ends[:, :, :1])
    best = scores.max(axis=1, initial=0)[:, None, None]
    certain = ((scores[:, pairs] >= CERTAIN * best) & (best > 0)).all(axis=-1)
    inside = ((points >= 0) & (points <= np.array(image.shape[1::-1]) - 1)).all(axis=(-2, -1))
    known = certain & inside  # not where joints are NaN
    rows = np.rint(np.where(known[..., None, None], points, 0)).astype(int)
    pixels = image[rows[..., 1], rows[..., 0]].reshape(-1, 1, 3).astype(np.float32) / 255
    if not len(pixels):
        return np.zeros((n, len(pairs), 3))
    colors = cv2.cvtColor(pixels, cv2.COLOR_RGB2Lab).reshape(*points.shape[:3], 3).mean(axis=2)
    return np.where(known[..., None], colors, np.nan).astype(np.float64)


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How alike people look, (n, m), 0 to 1, by colors (n, l, 3) and (m, l, 3) of their limbs.

    It is the mean over the limbs whose colors both have; NaN where these are fewer than FEWEST.
    """
    difference = (first[:, None] - second[None]) * (LIGHTNESS, 1, 1)
    alike = np.exp(-np.square(difference / TOLERANCE).sum(axis=-1) / 2)  # (n, m, l)
    known = np.isfinite(alike)
    counts = known.sum(axis=-1)
    means = np.where(known, alike, 0).sum(axis=-1) / np.maximum(counts, 1)
    return np.where(counts >= FEWEST, means, np.nan)


def adapted(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Colors (n, l, 3) as they were before, moved a little to those of now; NaN is unknown."""
    moved = before + ADAPTATION * (now - before)
    moved = np.where(np.isfinite(moved), moved, before)
    return np.where(np.isfinite(moved), moved, now)
