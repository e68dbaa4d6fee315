"""An evaluation explained on one HTML page that needs no other file: errors, curves, pictures."""

import base64
import html
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from data_pipelines import geometry
from data_pipelines.skeletons import Skeleton
from data_pipelines.transforms import ops
from hrjax import visualize
from hrjax.error_analysis import analysis, charts, matching
from hrjax.error_analysis.analysis import KINDS, Analysis

COLORS = ("#4c9f70", "#e0a526", "#d1495b", "#7b5ea7", "#6b7480")  # of KINDS
CURVES = (0, 5, 8)  # of the ten thresholds: 0.5, 0.75, 0.9
CURVE_COLORS = ("#222222", "#4c9f70", "#e0a526", "#d1495b")
WORST, MISSED = 12, 6  # people drawn
TILE = (256, 192)
JPEG_QUALITY = 82
COSTS = {
    "jitter": "without jitter",
    "inversion": "without inversions",
    "swap": "without swaps",
    "miss": "without misses",
    "all four": "without all four",
    "order": "scores in ideal order",
    "nobody's": "without nobody's detections",
    "not found": "without people not found",
}
IGNORED = "Everybody else is ignored, and so are the detections that belong to them."
GROUPS = {
    "size": "COCO's sizes: medium from 32² to 96² square pixels, large above.",
    "visible joints": f"How many joints are labelled and not hidden. {IGNORED}",
    "people in the image": f"How many people with labelled joints there are. {IGNORED}",
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


def page(
    found: Analysis,
    skeleton: Skeleton,
    title: str,
    numbers: Mapping[str, float],
    image_path: Callable[[int], str],
) -> str:
    """The page; `title` says how the numbers came about, `image_path` leads from ids to files."""
    sections = [
        _table([list(numbers), [f"{value:.4f}" for value in numbers.values()]]),
        _costs(found),
        _kinds(found, skeleton),
        _joint_costs(found, skeleton),
        _curves(found),
        *(_group(name, groups) for name, groups in found.groups.items()),
        _worst(found, skeleton, image_path),
        _missed(found, skeleton, image_path),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>What went wrong where</h1>\n<p>{html.escape(title)}</p>\n"
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


def _costs(found):
    now = found.curves.ap
    gains = {COSTS[name]: value for name, value in found.costs.items()}
    note = (
        f"AP is {now:.4f}. By how much it would rise if one thing alone were put right. Kinds of "
        "errors as in Ronchi and Perona (ICCV 2017): jitter is near the joint, but not near "
        "enough; an inversion confuses left and right; a swap is on somebody else; a miss is on "
        "nobody's joint. Misses are moved to where they would be jitter, jitter to where it would "
        "be good, inversions and swaps as near to the right joint as they were to the wrong one."
    )
    return _section("What errors cost", note, charts.bars(gains, color="#3b6ea5"))


def _kinds(found, skeleton):
    judged = int((found.kinds >= 0).sum())
    note = (
        f"{judged} labelled joints of the {int((found.owners >= 0).sum())} people of the results "
        "who are somebody (an OKS of 0.1 or more)."
    )
    chart = charts.stacked(skeleton.names, found.shares, KINDS, COLORS)
    legend = charts.legend(KINDS, COLORS)
    return _section("Kinds of errors, joint by joint", note, legend, chart)


def _joint_costs(found, skeleton):
    largest = max(float(found.joint_costs.max()), 1e-9)
    head = "".join(f"<th>{kind}</th>" for kind in ("", *analysis.ERRORS))
    lines = []
    for name, row in zip(skeleton.names, found.joint_costs, strict=True):
        cells = "".join(
            f'<td style="background:rgba(209,73,91,{max(value, 0) / largest * 0.8:.2f})">'
            f"{_gain(value)}</td>"
            for value in row
        )
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    note = "By how much AP would rise if one kind of error of one joint alone were put right."
    table = f"<table><tr>{head}</tr>{''.join(lines)}</table>"
    return _section("What errors cost, joint by joint", note, table)


def _gain(value):
    return f"{value:+.4f}" if abs(value) >= 5e-5 else ""


def _curves(found):
    recalls, precision = matching.RECALLS, np.maximum(found.curves.precision, 0)
    lines = {"mean of all ten": (recalls, precision.mean(axis=0))}
    lines |= {f"OKS {matching.THRESHOLDS[row]:.2f}": (recalls, precision[row]) for row in CURVES}
    note = "Precision over recall at three thresholds, and the mean of all ten, whose area is AP."
    return _section("Curves", note, charts.curves(lines, CURVE_COLORS, "recall", "precision"))


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


def _worst(found, skeleton, image_path):
    truth, results = found.truth, found.found
    figures = []
    for person, row in analysis.worst(found, WORST):
        kinds = [int((found.kinds[row] == kind).sum()) for kind in range(1, len(KINDS))]
        counted = zip(kinds, analysis.ERRORS, strict=True)
        errors = ", ".join(f"{count} {kind}" for count, kind in counted if count)
        caption = (
            f"image {truth.images[person]}, person {truth.ids[person]}: OKS "
            f"{found.alike[row]:.2f}, score {results.scores[row]:.2f}; {errors}"
        )
        tiles = _tiles(found, skeleton, image_path, person, row)
        figures.append(_figure(tiles, caption))
    note = "The truth on the left, the prediction on the right; the lowest OKS first."
    return _section("Found worst", note, *figures)


def _missed(found, skeleton, image_path):
    truth = found.truth
    figures = [
        _figure(
            _tiles(found, skeleton, image_path, person, None),
            f"image {truth.images[person]}, person {truth.ids[person]}",
        )
        for person in analysis.not_found(found, MISSED)
    ]
    note = "The largest people whom no detection is near (an OKS of 0.1)." if figures else "Nobody."
    return _section("Not found", note, *figures)


def _tiles(found, skeleton, image_path, person, row):
    """The person's truth and, beside it, the prediction `row` where there is one."""
    truth = found.truth
    corner, extent = truth.boxes[person, :2], truth.boxes[person, 2:]
    example = {
        "image_path": image_path(int(truth.images[person])),
        "center": corner + extent / 2,
        "size": geometry.BOX_PADDING * np.maximum(extent[::-1], 1),
        "visible": truth.visibility[person],
    }
    example = ops.Decode(strict=False)(example, None)
    crop = ops.Crop(TILE)
    people = [(truth.keypoints[person], truth.visibility[person])]
    if row is not None:
        people.append((found.found.keypoints[row], truth.visibility[person]))
    tiles = []
    for keypoints, shown in people:
        tile = crop({**example, "keypoints": keypoints}, None)
        tiles.append(
            visualize.draw_skeleton(tile["image"], tile["keypoints"], shown, skeleton, threshold=0)
        )
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
