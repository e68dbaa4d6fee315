"""An evaluation explained on one HTML page that needs no other file: errors, curves, pictures."""

import base64
import html
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from data_pipelines import geometry
from data_pipelines.ground_truth import Truth
from data_pipelines.transforms import ops
from hrjax import visualize
from hrjax.calibration import BINS
from hrjax.detections import Detections
from hrjax.error_analysis import analysis, charts, matching, reliability
from hrjax.error_analysis.analysis import KINDS, Analysis

COLORS = ("#4c9f70", "#e0a526", "#d1495b", "#7b5ea7", "#6b7480")  # of KINDS
CURVES = (0, 5, 8)  # of the ten thresholds: 0.5, 0.75, 0.9
CURVE_COLORS = ("#222222", "#4c9f70", "#e0a526", "#d1495b")
RELIABILITY_COLORS = ("#bbbbbb", "#3b6ea5", "#d1495b")
WORST, MISSED = 12, 6  # people drawn
TILE = (256, 192)
JPEG_QUALITY = 82
COSTS = {
    "jitter": "without jitter",
    "inversion": "without inversions",
    "swap": "without swaps",
    "miss": "without misses",
    "all four": "without all four",
    "scores": "with ideal scores",
    "false positives": "without false positives",
    "false negatives": "without false negatives",
}
IGNORED = "All other people are ignored, and so are the detections that belong to them."
GROUPS = {
    "size": "COCO's sizes: medium from 32² to 96² square pixels, large above.",
    "visible joints": f"How many joints are labeled and not occluded. {IGNORED}",
    "people in the image": f"How many people with labeled joints the image has. {IGNORED}",
}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:860px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2.2em}
table{border-collapse:collapse;margin:.6em 0}
td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}
svg{max-width:100%;height:auto;font:12px system-ui,sans-serif;fill:#222}
.grid{stroke:#ddd;fill:none}.key{display:inline-block;width:.8em;height:.8em;margin:0 .4em 0 1em}
figure{display:inline-block;margin:.4em;vertical-align:top}figure img{display:block}
figcaption{font-size:.85em;color:#444;max-width:27em}.note{color:#555}
"""


def explain(
    detections: Detections,
    truth: Truth,
    *,
    numbers: Mapping[str, float],
    title: str,
    image_path: Callable[[str], str],
    max_people: int,
) -> str:
    """The page about the errors of detections, of which `max_people` of each image count (0 = all).

    `numbers` are at the top of the page, and `title` says how they were measured; `image_path`
    leads from the name of an image in the annotation file to where the image is.
    """
    if not truth.skeleton.sigmas:
        raise ValueError(
            "an error analysis needs OKS, and OKS needs the sigmas of the joints; there are none"
        )
    if not truth.counted.any():
        dropped = ", ".join(f"{count} {reason}" for reason, count in truth.dropped.items())
        raise ValueError(
            f"{truth.path} has no people with labeled joints to analyze; dropped annotations: "
            f"{dropped or 'none'}"
        )
    result = analysis.analyze(truth, detections, max_people=max_people)
    return page(result, title, numbers, image_path)


def page(
    result: Analysis,
    title: str,
    numbers: Mapping[str, float],
    image_path: Callable[[str], str],
) -> str:
    """The page of an analysis; the other arguments are those of `explain`."""
    sections = [
        _table([list(numbers), [f"{value:.4f}" for value in numbers.values()]]),
        _costs(result),
        _kinds(result),
        _joint_costs(result),
        _curves(result),
        _reliability(result),
        *(_group(name, groups) for name, groups in result.groups.items()),
        _worst(result, image_path),
        _not_detected(result, image_path),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>Error analysis</h1>\n<p>{html.escape(title)}</p>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _section(heading, note, *parts):
    return f'<h2>{heading}</h2>\n<p class="note">{note}</p>\n' + "\n".join(parts)


def _table(rows):
    head, *body = rows
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    ]
    return f"<table><tr>{cells}</tr>{''.join(lines)}</table>"


def _costs(result):
    gains = {COSTS[name]: value for name, value in result.costs.items()}
    note = (
        f"AP is {result.curves.ap:.4f}. The bars show how much it would rise if one thing alone "
        "were corrected. The kinds of errors are those of Ronchi and Perona (ICCV 2017): a joint "
        "with jitter is near its place, but not near enough; an inversion confuses left and right; "
        "a swap is on another person; a miss is not near any joint. Jitter is moved to where it "
        "would be good, a miss to where it would be jitter, and inversions and swaps as near to "
        "the right joint as they were to the wrong one."
    )
    return _section("What errors cost", note, charts.bars(gains, color="#3b6ea5"))


def _kinds(result):
    judged, people = int((result.kinds >= 0).sum()), int((result.owners >= 0).sum())
    note = f"{judged} labeled joints of {people} detections that match a person (OKS 0.1 or more)."
    chart = charts.stacked(result.truth.skeleton.names, result.shares, KINDS, COLORS)
    return _section("Kinds of errors by joint", note, charts.legend(KINDS, COLORS), chart)


def _joint_costs(result):
    largest = max(float(result.joint_costs.max()), 1e-9)
    head = "".join(f"<th>{kind}</th>" for kind in ("", *analysis.ERRORS))
    lines = []
    for name, row in zip(result.truth.skeleton.names, result.joint_costs, strict=True):
        cells = "".join(
            f'<td style="background:rgba(209,73,91,{max(value, 0) / largest * 0.8:.2f})">'
            f"{_gain(value)}</td>"
            for value in row
        )
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    note = "How much AP would rise if one kind of error of one joint alone were corrected."
    table = f"<table><tr>{head}</tr>{''.join(lines)}</table>"
    return _section("What errors cost by joint", note, table)


def _gain(value):
    return f"{value:+.4f}" if abs(value) >= 5e-5 else ""


def _curves(result):
    recalls, precision = matching.RECALLS, np.maximum(result.curves.precision, 0)
    lines = {"mean of all ten": (recalls, precision.mean(axis=0))}
    lines |= {f"OKS {matching.THRESHOLDS[row]:.2f}": (recalls, precision[row]) for row in CURVES}
    note = (
        "Precision over recall at three thresholds, and the mean over all ten; AP is the area "
        "below the mean."
    )
    chart = charts.curves(lines, CURVE_COLORS, "recall", "precision")
    return _section("Precision and recall", note, chart)


def _reliability(result):
    tables = reliability.of(result)
    people, joints = _by_bin(tables.people), _by_bin(tables.joints)
    errors = dict(zip(joints, tables.errors.tolist(), strict=True))
    rows = [
        [
            *("score", "people", "mean score", "mean OKS"),
            *("joints", "mean score", "mean similarity", "median error"),
        ]
    ]
    for number in sorted(people.keys() | joints.keys()):
        error = f"{errors[number]:.1%}" if number in errors else "-"
        cells = people.get(number, _EMPTY), joints.get(number, _EMPTY)
        rows.append([_bin_name(number), *cells[0], *cells[1], error])
    lines = {"ideal": (np.array([0, 1]), np.array([0, 1]))}
    lines["people: OKS"] = (tables.people.score.clip(0, 1), tables.people.outcome)
    lines["joints: similarity"] = (tables.joints.score.clip(0, 1), tables.joints.outcome)
    chart = charts.curves(lines, RELIABILITY_COLORS, "score", "OKS or similarity", marks=True)
    note = (
        "A score that means something is what one may expect: the OKS of a person, the similarity "
        "(0 to 1) of a joint with the truth. Below the line scores promise too much, above it too "
        f"little. On average they are off by {tables.people.error:.3f} (people) and "
        f"{tables.joints.error:.3f} (joints), the expected calibration error over {BINS} bins. "
        "Errors of joints are shares of the person's size, the square root of the area. "
        "scripts/calibrate.py fits a curve that corrects scores."
    )
    return _section("Reliability of scores", note, _table(rows), chart)


_EMPTY = ("-", "-", "-")


def _by_bin(table):
    """The cells of each bin that is not empty, by its number."""
    columns = zip(table.edge, table.count, table.score, table.outcome, strict=True)
    return {
        round(edge * BINS): (str(count), f"{score:.3f}", f"{outcome:.3f}")
        for edge, count, score, outcome in columns
    }


def _bin_name(number):
    low = f"{number / BINS:.1f}"
    return f"{low} and more" if number == BINS - 1 else f"{low} to {(number + 1) / BINS:.1f}"


def _group(name, groups):
    rows = [[name, "people", "AP", "AR"]]
    rows += [
        [label, str(group.people), *(_number(value) for value in (group.ap, group.ar))]
        for label, group in groups.items()
    ]
    values = {label: group.ap for label, group in groups.items() if group.people}
    chart = charts.bars(values, color="#4c9f70", form="{:.3f}") if values else ""
    return _section(f"By {name}", GROUPS[name], _table(rows), chart)


def _number(value):
    return f"{value:.4f}" if value >= 0 else "-"


def _worst(result, image_path):
    figures = []
    for person, row in analysis.worst(result, WORST):
        kinds = [int((result.kinds[row] == kind).sum()) for kind in range(1, len(KINDS))]
        counted = zip(kinds, analysis.ERRORS, strict=True)
        errors = ", ".join(f"{count} {kind}" for count, kind in counted if count)
        score = result.ranked.detections.person_scores[row]
        caption = (
            f"{_label(result.truth, person)}: OKS {result.alike[row]:.2f}, score {score:.2f}; "
            f"{errors}"
        )
        figures.append(_figure(_tiles(result, image_path, person, row), caption))
    note = "Ground truth on the left, prediction on the right; the lowest OKS first."
    return _section("Worst detections", note, *figures)


def _not_detected(result, image_path):
    figures = [
        _figure(_tiles(result, image_path, person, None), _label(result.truth, person))
        for person in analysis.not_detected(result, MISSED)
    ]
    note = "The largest people that no detection matches (OKS 0.1 or more)." if figures else "None."
    return _section("Not detected", note, *figures)


def _label(truth, person):
    image_id = truth.image_ids[truth.image_rows[person]]
    return f"image {image_id}, person {truth.annotation_ids[person]}"


def _tiles(result, image_path, person, row):
    """The person's ground truth and, beside it, the detection `row` where there is one."""
    truth = result.truth
    image, box, shown = truth.image_rows[person], truth.boxes[person], truth.visibility[person]
    example = {
        "image_path": image_path(truth.image_names[image]),
        "center": box[:2] + box[2:] / 2,
        "size": geometry.BOX_PADDING * np.maximum(box[:1:-1], 1),
        "visible": shown,
    }
    if np.isfinite(truth.image_sizes[image]).all():
        example["image_size"] = truth.image_sizes[image]
    example = ops.Decode(strict=False)(example, None)
    poses = [truth.keypoints[person]]
    if row is not None:
        poses.append(result.ranked.detections.keypoints[row])
    options = {"size": TILE, "threshold": 0}
    tiles = [
        visualize.person_tile(example, pose, shown, truth.skeleton, **options) for pose in poses
    ]
    return visualize.grid(tiles, columns=2)


def _figure(image, caption):
    height, width = image.shape[:2]
    quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    _, contents = cv2.imencode(".jpg", image[..., ::-1], quality)
    data = base64.b64encode(contents).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'alt=""><figcaption>{html.escape(caption)}</figcaption></figure>'
    )
