"""HOTA: how well people are detected and associated over time (Luiten et al., IJCV 2021).

Detections are matched as in the authors' TrackEval: in each frame once for all thresholds, by the
Hungarian method, where similarity times the alignment of both tracks over the whole film is
largest.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

THRESHOLDS = np.arange(1, 20) / 20  # of the similarity, called alpha in the paper


@dataclasses.dataclass(frozen=True)
class Frame:
    """True ids (n,) and track ids (m,) of a frame, and the similarities (n, m), 0 to 1."""

    true_ids: np.ndarray
    track_ids: np.ndarray
    similarity: np.ndarray


def hota(films: Sequence[Sequence[Frame]]) -> dict[str, float]:
    """HOTA, DetA, AssA and LocA of several films together, means over all thresholds.

    DetA is about detections, AssA about ids, LocA about places; HOTA is the mean over thresholds of
    the root of DetA times AssA. Ids of different films are those of different people.
    """
    sums = np.sum([_counts(frames) for frames in films], axis=0)
    matched, missed, wrong, association, similarity = sums
    detection = matched / np.maximum(matched + missed + wrong, 1)
    association = association / np.maximum(matched, 1)
    # Without a match there is no place that is wrong.
    location = np.where(matched > 0, similarity / np.maximum(matched, 1), 1)
    return {
        "hota": float(np.sqrt(detection * association).mean()),
        "deta": float(detection.mean()),
        "assa": float(association.mean()),
        "loca": float(location.mean()),
    }


def _counts(frames):
    """Of one film, by threshold: matches, misses, false positives, sums of A(c) and similarity."""
    frames = _with_rows(frames)
    true_counts, track_counts = (
        np.bincount(np.concatenate([np.zeros(0, int), *columns]), minlength=1)
        for columns in ([f.true_ids for f in frames], [f.track_ids for f in frames])
    )
    either = true_counts[:, None] + track_counts
    together = np.zeros(either.shape)
    for frame in frames:
        np.add.at(together, np.ix_(frame.true_ids, frame.track_ids), _share(frame.similarity))
    alignment = together / np.maximum(either - together, 1e-9)
    matches = np.zeros((len(THRESHOLDS), *either.shape))
    similarity = np.zeros(len(THRESHOLDS))
    for frame in frames:
        pairs = np.ix_(frame.true_ids, frame.track_ids)
        rows, columns = linear_sum_assignment(alignment[pairs] * frame.similarity, maximize=True)
        alike = frame.similarity[rows, columns]
        enough = alike >= THRESHOLDS[:, None] - np.finfo(float).eps  # (19, pairs)
        matches[:, frame.true_ids[rows], frame.track_ids[columns]] += enough
        similarity += (alike * enough).sum(axis=1)
    matched = matches.sum(axis=(1, 2))
    association = (matches * matches / np.maximum(either - matches, 1)).sum(axis=(1, 2))
    missed, wrong = true_counts.sum() - matched, track_counts.sum() - matched
    return np.array([matched, missed, wrong, association, similarity])


def _share(similarity):
    """Each similarity as a share of all that both of a pair have in a frame, (n, m)."""
    rest = similarity.sum(axis=0) + similarity.sum(axis=1)[:, None] - similarity
    return np.where(rest > 0, similarity / np.maximum(rest, np.finfo(float).eps), 0)


def _with_rows(frames):
    """The frames with ids that count from 0."""
    columns = []
    for name in ("true_ids", "track_ids"):
        ids = [np.asarray(getattr(frame, name), int) for frame in frames]
        known = np.unique(np.concatenate([np.zeros(0, int), *ids]))
        columns.append([np.searchsorted(known, each) for each in ids])
    return [
        Frame(true_ids, track_ids, np.reshape(frame.similarity, (len(true_ids), len(track_ids))))
        for true_ids, track_ids, frame in zip(*columns, frames, strict=True)
    ]
