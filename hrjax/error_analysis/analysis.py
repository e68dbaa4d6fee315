"""What kinds of errors there are and what each costs in AP, as in the COCO keypoint error analysis.

Ronchi and Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation, ICCV 2017,
and its code. A person of the results belongs to whom it matches at an OKS of 0.1. Each of its
joints is compared with the same joint and its mirror twin of everybody in the image; the nearest of
them, by keypoint similarity, says what happened:

    good       the right joint, 0.85 or nearer
    jitter     the right joint, between 0.5 and 0.85
    inversion  its own mirror twin, 0.5 or nearer: left and right confused
    swap       somebody else's joint or its twin, 0.5 or nearer
    miss       none is as near as 0.5
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton
from hrjax.error_analysis import matching
from hrjax.error_analysis.matching import Curves, Found, Truth

KINDS = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
ERRORS = KINDS[1:]
BELONGS, NEAR, EXACT = 0.1, 0.5, 0.85
SIZES = {"medium": (32**2, 96**2), "large": (96**2, 1e10)}  # COCO's, in square pixels
CROWDS = {"1 person": (1, 1), "2 or 3": (2, 3), "4 to 6": (4, 6), "7 or more": (7, np.inf)}


@dataclasses.dataclass(frozen=True)
class Group:
    """AP and AR of a part of the people, and how many they are."""

    people: int
    ap: float
    ar: float


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What `analyze` finds.

    `kinds` (m, k) are numbers of KINDS, -1 where nothing can be said; `shares` (k, 5) what part of
    the labelled joints of the people who were found each kind is; `costs` what AP rises by if one
    thing is put right, `joint_costs` (k, 4) if one kind of error of one joint is; `owners` (m,) are
    rows of `truth` or -1, and `alike` (m,) the OKS with them.
    """

    truth: Truth
    found: Found
    curves: Curves
    kinds: np.ndarray
    shares: np.ndarray
    costs: Mapping[str, float]
    joint_costs: np.ndarray
    groups: Mapping[str, Mapping[str, Group]]
    owners: np.ndarray
    alike: np.ndarray


def analyze(truth: Truth, found: Found, skeleton: Skeleton) -> Analysis:
    """The whole analysis; the sigmas of `skeleton` must be those of the metric."""
    problem = _Problem(truth, found, skeleton.sigmas)
    owners, alike = problem.owners()
    kinds, strength = classify(problem, owners, skeleton.flip_order)
    fixed = corrected(problem, owners, kinds, strength)
    counts = (kinds[..., None] == np.arange(len(KINDS))).sum(axis=0)
    now = problem.curves()
    return Analysis(
        truth=truth,
        found=found,
        curves=now,
        kinds=kinds,
        shares=counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
        costs=_costs(problem, now.ap, owners, alike, kinds, fixed),
        joint_costs=_joint_costs(problem, now.ap, kinds, fixed),
        groups=_groups(problem, owners),
        owners=owners,
        alike=alike,
    )


@dataclasses.dataclass(frozen=True)
class _Problem:
    """Truth and results, with every change to them a new problem."""

    truth: Truth
    found: Found
    sigmas: Sequence[float]

    def matched(self, thresholds=matching.THRESHOLDS):
        first, second = matching.pairs(self.found, self.truth)
        points = self.found.keypoints[first]
        alike = matching.similarity(points, self.truth, second, self.sigmas)
        return matching.match(self.found, self.truth, alike, first, second, thresholds)

    def curves(self, skipped: np.ndarray | bool = False):
        return matching.curves(self.found, self.truth, self.matched(), skipped=skipped)

    def owners(self):
        """Whom each found person belongs to, rows of the truth or -1, and the OKS with them."""
        owners = self.matched(np.array([BELONGS]))[:, 0]
        alike = matching.similarity(self.found.keypoints, self.truth, owners, self.sigmas)
        return owners, np.where(owners >= 0, alike, 0)

    def moved(self, keypoints):
        return dataclasses.replace(self, found=dataclasses.replace(self.found, keypoints=keypoints))

    def only(self, count):
        """With those people only who `count` (g,)."""
        truth = dataclasses.replace(self.truth, count=self.truth.count & count)
        return dataclasses.replace(self, truth=truth)

    def without(self, dropped):
        """Without the found people who are `dropped` (m,)."""
        fields = dataclasses.fields(self.found)
        kept = {field.name: getattr(self.found, field.name)[~dropped] for field in fields}
        return dataclasses.replace(self, found=Found(**kept))


def classify(
    problem: _Problem, owners: np.ndarray, flip_order: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each joint, (m, k), and the similarity with what it is nearest to, (m, k)."""
    truth, found = problem.truth, problem.found
    first, second = matching.pairs(found, truth)
    points = found.keypoints[first]
    same = matching.joint_similarity(points, truth, second, problem.sigmas)
    twin = matching.joint_similarity(
        points, truth, second, problem.sigmas, joints=np.array(flip_order)
    )
    own = second == owners[first]
    right, twisted, other = (np.zeros(found.keypoints.shape[:2]) for _ in range(3))
    right[first[own]], twisted[first[own]] = same[own], twin[own]
    np.maximum.at(other, first[~own], np.maximum(same, twin)[~own])
    nearest = np.stack([right, other, twisted])
    strength = nearest.max(axis=0)
    which = nearest.argmax(axis=0)  # of equals the first, as in the paper's code
    kinds = np.choose(which, [np.where(strength >= EXACT, GOOD, JITTER), SWAP, INVERSION])
    kinds = np.where(strength >= NEAR, kinds, MISS)
    labelled = (owners >= 0)[:, None] & (truth.visibility[owners] > 0)
    return np.where(labelled, kinds, -1), strength


def corrected(
    problem: _Problem, owners: np.ndarray, kinds: np.ndarray, strength: np.ndarray
) -> np.ndarray:
    """Keypoints (m, k, 2) as they would be without their errors.

    As in the paper: jitter is moved as near as 0.85, a miss as near as 0.5, and inversions and
    swaps as near to the right joint as they were to the wrong one.
    """
    truth, found = problem.truth, problem.found
    target = np.choose(np.maximum(kinds, 0), [1.0, EXACT, strength, strength, NEAR])
    variance = np.square(2 * np.asarray(problem.sigmas)) * truth.areas[owners, None]
    away = np.sqrt(-2 * np.log(np.clip(target, NEAR, 1)) * variance)
    goal = truth.keypoints[owners] + np.stack([away, np.zeros_like(away)], axis=-1)
    return np.where((kinds > GOOD)[..., None], goal, found.keypoints)


def _replace(problem, fixed, wrong):
    """The problem with the joints that are `wrong` (m, k) put right."""
    return problem.moved(np.where(wrong[..., None], fixed, problem.found.keypoints))


def _costs(problem, now, owners, alike, kinds, fixed):
    costs = {
        name: _replace(problem, fixed, kinds == kind).curves().ap - now
        for kind, name in enumerate(KINDS)
        if kind
    }
    costs["all four"] = _replace(problem, fixed, kinds > GOOD).curves().ap - now
    ranked = dataclasses.replace(problem.found, scores=alike)
    costs["order"] = dataclasses.replace(problem, found=ranked).curves().ap - now
    costs["nobody's"] = problem.without(owners < 0).curves().ap - now
    seen = np.zeros(len(problem.truth.count), bool)
    seen[owners[owners >= 0]] = True
    costs["not found"] = problem.only(seen).curves().ap - now
    return costs


def _joint_costs(problem, now, kinds, fixed):
    costs = np.zeros((kinds.shape[1], len(ERRORS)))
    for joint, kind in zip(*np.nonzero(_present(kinds)), strict=True):
        wrong = (kinds == kind + 1) & (np.arange(kinds.shape[1]) == joint)
        costs[joint, kind] = _replace(problem, fixed, wrong).curves().ap - now
    return costs


def _present(kinds):
    """Which kinds of errors joints have at all, (k, 4)."""
    return (kinds[..., None] == np.arange(1, len(KINDS))).any(axis=0)


def _groups(problem, owners):
    """AP and AR by size, by visible joints and by people in the image."""
    truth, areas = problem.truth, problem.found.areas
    sizes = {  # as COCO has them: by the extent of the joints it is decided who is no false alarm
        name: _group(problem, _between(truth.areas, *limits), ~_between(areas, *limits))
        for name, limits in SIZES.items()
    }
    joints = truth.visibility.shape[1]
    edges = [-1, *(int(joints * share) for share in (0.3, 0.6, 0.9)), joints]
    visible = (truth.visibility == 2).sum(axis=1)
    hidden = {
        f"{low + 1} to {high}": _group(problem, _between(visible, low + 1, high), owners=owners)
        for low, high in itertools.pairwise(edges)
    }
    counted = np.sort(truth.images[truth.count])
    people = np.searchsorted(counted, truth.images, "right")
    people -= np.searchsorted(counted, truth.images, "left")
    crowds = {
        name: _group(problem, _between(people, *limits), owners=owners)
        for name, limits in CROWDS.items()
    }
    return {"size": sizes, "visible joints": hidden, "people in the image": crowds}


def _between(values, low, high):
    return (values >= low) & (values <= high)


def _group(problem, chosen, skipped=None, owners=None):
    """Of the people `chosen` (g,); whoever belongs to others of the `owners` is no false alarm."""
    part = problem.only(chosen)
    skipped = (owners >= 0) & ~chosen[owners] if skipped is None else skipped
    curves = part.curves(skipped=skipped)
    return Group(int(np.count_nonzero(part.truth.count)), curves.ap, curves.ar)


def worst(analysis: Analysis, count: int) -> list[tuple[int, int]]:
    """Rows of the truth and of the results of people who were found badly, the worst first.

    Only of those with a third of their joints labelled: others show little.
    """
    owners, labelled = analysis.owners, analysis.truth.visibility > 0
    telling = analysis.truth.count & (labelled.mean(axis=1) >= 1 / 3)
    rows = np.flatnonzero((owners >= 0) & telling[owners])
    order = rows[np.argsort(analysis.alike[rows], kind="stable")]
    return [(int(owners[row]), int(row)) for row in order[:count]]


def not_found(analysis: Analysis, count: int) -> list[int]:
    """Rows of the truth of the largest people whom nobody of the results belongs to."""
    truth = analysis.truth
    missing = truth.count.copy()
    missing[analysis.owners[analysis.owners >= 0]] = False
    rows = np.flatnonzero(missing)
    return rows[np.argsort(-truth.areas[rows], kind="stable")][:count].tolist()
