"""What kinds of errors there are and what each costs in AP, as in the COCO keypoint error analysis.

Ronchi and Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation, ICCV 2017,
and its code. A detection belongs to the annotated person that it matches at an OKS of 0.1. Each of
its joints is compared with the same joint, and with its left/right twin, of all people in the
image; the nearest of them, by keypoint similarity, decides the kind:

    good       the right joint, 0.85 or nearer
    jitter     the right joint, between 0.5 and 0.85
    inversion  its own left/right twin, 0.5 or nearer: left and right confused
    swap       another person's joint or its twin, 0.5 or nearer
    miss       none is as near as 0.5
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.ground_truth import Truth
from hrjax.detections import Detections
from hrjax.error_analysis import matching
from hrjax.error_analysis.matching import Curves, Ranked

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
    """The errors of detections and what they cost; m detections are `ranked`.

    `kinds` (m, k) are numbers of KINDS, -1 where nothing can be said; `shares` (k, 5) what part of
    the labeled joints of detected people each kind is; `costs` what AP rises by if one thing is put
    right, `joint_costs` (k, 4) if one kind of error of one joint is; `owners` (m,) are the rows of
    `truth` that detections belong to, or -1, and `alike` (m,) the OKS with them.
    """

    truth: Truth
    ranked: Ranked
    curves: Curves
    kinds: np.ndarray
    shares: np.ndarray
    costs: Mapping[str, float]
    joint_costs: np.ndarray
    groups: Mapping[str, Mapping[str, Group]]
    owners: np.ndarray
    alike: np.ndarray


def analyze(truth: Truth, detections: Detections, *, max_people: int) -> Analysis:
    """The whole analysis of the `max_people` best detections of each image; 0 takes all."""
    problem = _Problem(truth, matching.rank(detections, max_people), truth.counted)
    owners, alike = problem.owners()
    kinds, strength = classify(problem, owners, truth.skeleton.flip_order)
    fixed = corrected(problem, owners, kinds, strength)
    counts = (kinds[..., None] == np.arange(len(KINDS))).sum(axis=0)
    now = problem.curves()
    return Analysis(
        truth=truth,
        ranked=problem.ranked,
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
    """Truth and detections, and which annotations count (g,); every change makes a new problem."""

    truth: Truth
    ranked: Ranked
    counted: np.ndarray

    @property
    def sigmas(self):
        return self.truth.skeleton.sigmas

    @property
    def keypoints(self):
        return self.ranked.detections.keypoints

    def matched(self, thresholds=matching.THRESHOLDS):
        first, second = matching.pairs(self.ranked, self.truth)
        alike = matching.similarity(self.keypoints[first], self.truth, second, self.sigmas)
        people = (self.truth, self.counted)
        return matching.match(self.ranked, *people, alike, first, second, thresholds)

    def curves(self, ignored: np.ndarray | bool = False):
        return matching.curves(self.ranked, self.counted, self.matched(), ignored=ignored)

    def owners(self):
        """The row of the truth that each detection belongs to, or -1, and the OKS with it."""
        owners = self.matched(np.array([BELONGS]))[:, 0]
        if not len(self.truth):
            return owners, np.zeros(len(owners))
        alike = matching.similarity(self.keypoints, self.truth, owners, self.sigmas)
        return owners, np.where(owners >= 0, alike, 0)

    def with_detections(self, **columns):
        """With other columns of the detections; their ranks stay."""
        detections = dataclasses.replace(self.ranked.detections, **columns)
        return dataclasses.replace(
            self, ranked=dataclasses.replace(self.ranked, detections=detections)
        )

    def only(self, chosen):
        """Only the annotations that are `chosen` (g,) count."""
        return dataclasses.replace(self, counted=self.counted & chosen)

    def without(self, dropped):
        """Without the detections that are `dropped` (m,)."""
        kept = np.flatnonzero(~dropped)
        ranked = self.ranked
        ranked = Ranked(ranked.detections.take(kept), ranked.rows[kept], ranked.ranks[kept])
        return dataclasses.replace(self, ranked=ranked)


def classify(
    problem: _Problem, owners: np.ndarray, flip_order: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each joint, (m, k), and the similarity with what it is nearest to, (m, k)."""
    truth = problem.truth
    first, second = matching.pairs(problem.ranked, truth)
    points = problem.keypoints[first]
    same = matching.joint_similarity(points, truth, second, problem.sigmas)
    twin = matching.joint_similarity(
        points, truth, second, problem.sigmas, joints=np.array(flip_order)
    )
    own = second == owners[first]
    right, twisted, other = (np.zeros(problem.keypoints.shape[:2]) for _ in range(3))
    right[first[own]], twisted[first[own]] = same[own], twin[own]
    np.maximum.at(other, first[~own], np.maximum(same, twin)[~own])
    nearest = np.stack([right, other, twisted])
    strength = nearest.max(axis=0)
    which = nearest.argmax(axis=0)  # of equals the first, as in the paper's code
    kinds = np.choose(which, [np.where(strength >= EXACT, GOOD, JITTER), SWAP, INVERSION])
    kinds = np.where(strength >= NEAR, kinds, MISS)
    labeled = (owners >= 0)[:, None] & (truth.visibility[owners] > 0)
    return np.where(labeled, kinds, -1), strength


def corrected(
    problem: _Problem, owners: np.ndarray, kinds: np.ndarray, strength: np.ndarray
) -> np.ndarray:
    """Keypoints (m, k, 2) as they would be without their errors.

    As in the paper: jitter is moved as near as 0.85, a miss as near as 0.5, and inversions and
    swaps as near to the right joint as they were to the wrong one.
    """
    truth = problem.truth
    target = np.choose(np.maximum(kinds, 0), [1.0, EXACT, strength, strength, NEAR])
    variance = np.square(2 * np.asarray(problem.sigmas)) * truth.areas[owners, None]
    away = np.sqrt(-2 * np.log(np.clip(target, NEAR, 1)) * variance)
    goal = truth.keypoints[owners] + np.stack([away, np.zeros_like(away)], axis=-1)
    return np.where((kinds > GOOD)[..., None], goal, problem.keypoints)


def _replace(problem, fixed, wrong):
    """The problem with the joints that are `wrong` (m, k) put right."""
    keypoints = np.where(wrong[..., None], fixed, problem.keypoints)
    return problem.with_detections(keypoints=keypoints)


def _costs(problem, now, owners, alike, kinds, fixed):
    costs = {
        name: _replace(problem, fixed, kinds == kind).curves().ap - now
        for kind, name in enumerate(KINDS)
        if kind
    }
    costs["all four"] = _replace(problem, fixed, kinds > GOOD).curves().ap - now
    costs["scores"] = problem.with_detections(person_scores=alike).curves().ap - now
    costs["false positives"] = problem.without(owners < 0).curves().ap - now
    seen = np.zeros(len(problem.truth), bool)
    seen[owners[owners >= 0]] = True
    costs["false negatives"] = problem.only(seen).curves().ap - now
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
    truth, areas = problem.truth, problem.ranked.detections.areas
    sizes = {  # as in COCO, the area of an unmatched detection decides whether it is ignored
        name: _group(problem, _between(truth.areas, *limits), ~_between(areas, *limits))
        for name, limits in SIZES.items()
    }
    joints = truth.visibility.shape[1]
    edges = [-1, *(int(joints * share) for share in (0.3, 0.6, 0.9)), joints]
    visible = (truth.visibility == 2).sum(axis=1)
    by_joints = {
        f"{low + 1} to {high}": _group(problem, _between(visible, low + 1, high), owners=owners)
        for low, high in itertools.pairwise(edges)
    }
    images = matching.annotated_images(truth)
    counted = np.sort(images[truth.counted])
    people = np.searchsorted(counted, images, "right") - np.searchsorted(counted, images, "left")
    crowds = {
        name: _group(problem, _between(people, *limits), owners=owners)
        for name, limits in CROWDS.items()
    }
    return {"size": sizes, "visible joints": by_joints, "people in the image": crowds}


def _between(values, low, high):
    return (values >= low) & (values <= high)


def _group(problem, chosen, ignored=None, owners=None):
    """Of the people `chosen` (g,); detections of others, by their `owners`, are ignored."""
    part = problem.only(chosen)
    if ignored is None:
        ignored = owners >= 0
        ignored[ignored] = ~chosen[owners[ignored]]
    curves = part.curves(ignored=ignored)
    return Group(int(np.count_nonzero(part.counted)), curves.ap, curves.ar)


def worst(analysis: Analysis, count: int) -> list[tuple[int, int]]:
    """Rows of the truth and of the ranked detections with the lowest OKS, the lowest first.

    Only of people with a third of their joints labeled: others show little.
    """
    owners, labeled = analysis.owners, analysis.truth.visibility > 0
    telling = analysis.truth.counted & (labeled.mean(axis=1) >= 1 / 3)
    rows = np.flatnonzero(owners >= 0)
    rows = rows[telling[owners[rows]]]
    order = rows[np.argsort(analysis.alike[rows], kind="stable")]
    return [(int(owners[row]), int(row)) for row in order[:count]]


def not_detected(analysis: Analysis, count: int) -> list[int]:
    """Rows of the truth of the largest people that no detection belongs to."""
    truth = analysis.truth
    missing = truth.counted.copy()
    missing[analysis.owners[analysis.owners >= 0]] = False
    rows = np.flatnonzero(missing)
    return rows[np.argsort(-truth.areas[rows], kind="stable")][:count].tolist()
