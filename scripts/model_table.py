"""Writes the README's table of models: cost, published scores with their boxes, and speed here.

    python scripts/model_table.py          # rewrites the table between its markers in README.md
    python scripts/model_table.py --check  # exits with 1 if it is out of date

Published figures are from the tables that the configs' docstrings name. Milliseconds come from
docs/latency.json, which `python scripts/benchmark.py --json >> docs/latency.json` fills; with
--runtime=jax,onnxruntime it adds those of ONNX Runtime, for which the table then has a column.
"""

import json
import pathlib
import sys

from hrjax import complexity, models
from hrjax.runtime import script_options, terminal

ROOT = pathlib.Path(__file__).parent.parent
BEGIN, END = "<!-- scripts/model_table.py -->", "<!-- end -->"
HEAD = ("variant", "input, height x width", "parameters", "MACs", "published", "config")
COCO_AP, WIDE_AP = "COCO AP {} (56.4-AP detector)", "COCO AP {} (56-AP detector)"
PADDLE_AP, OCHUMAN_AP = "COCO AP {} (ground-truth boxes)", "OCHuman AP {} (ground-truth boxes)"
MPII_PCKH = "MPII PCKh@0.5 {} (ground-truth boxes)"
# Variant, height x width, published figure, config; the config's docstring names the table.
ROWS = [
    ("hrnet_w32", (256, 192), COCO_AP.format(74.4), "hrnet_coco"),
    ("hrnet_w32", (384, 288), COCO_AP.format(75.8), "hrnet_coco"),
    ("hrnet_w48", (256, 192), COCO_AP.format(75.1), "hrnet_coco"),
    ("hrnet_w48", (384, 288), COCO_AP.format(76.3), "hrnet_coco"),
    ("hrnet_w32", (256, 256), MPII_PCKH.format(90.3), "hrnet_mpii"),
    ("hrnet_w32", (256, 192), PADDLE_AP.format(76.9), "hrnet_coco_paddle"),
    ("pose_resnet_50", (256, 192), COCO_AP.format(70.4), "resnet_coco"),
    ("pose_resnet_50", (384, 288), COCO_AP.format(72.2), "resnet_coco"),
    ("pose_resnet_101", (256, 192), COCO_AP.format(71.4), "resnet_coco"),
    ("pose_resnet_101", (384, 288), COCO_AP.format(73.6), "resnet_coco"),
    ("pose_resnet_152", (256, 192), COCO_AP.format("72.0"), "resnet_coco"),
    ("pose_resnet_152", (384, 288), COCO_AP.format(74.3), "resnet_coco"),
    ("pose_resnet_50", (256, 256), MPII_PCKH.format(88.5), "resnet_mpii"),
    ("pose_resnet_101", (256, 256), MPII_PCKH.format(89.1), "resnet_mpii"),
    ("litehrnet_18", (256, 192), COCO_AP.format(64.8), "litehrnet_coco"),
    ("litehrnet_18", (384, 288), COCO_AP.format(67.6), "litehrnet_coco"),
    ("litehrnet_30", (256, 192), COCO_AP.format(67.2), "litehrnet_coco"),
    ("litehrnet_30", (384, 288), COCO_AP.format(70.4), "litehrnet_coco"),
    ("naive_litehrnet_18", (256, 192), COCO_AP.format(62.8), "litehrnet_coco"),
    ("wider_naive_litehrnet_18", (256, 192), COCO_AP.format("66.0"), "litehrnet_coco"),
    ("litehrnet_30", (256, 192), PADDLE_AP.format(69.4), "litehrnet_coco_paddle"),
    ("litehrnet_18", (256, 256), MPII_PCKH.format(85.4), "litehrnet_mpii"),
    ("litehrnet_30", (256, 256), MPII_PCKH.format("87.0"), "litehrnet_mpii"),
    ("naive_litehrnet_18", (256, 256), MPII_PCKH.format(85.3), "litehrnet_mpii"),
    ("wider_naive_litehrnet_18", (256, 256), MPII_PCKH.format(86.8), "litehrnet_mpii"),
    ("ditehrnet_18", (256, 192), COCO_AP.format(65.9), "ditehrnet_coco"),
    ("ditehrnet_18", (384, 288), COCO_AP.format("69.0"), "ditehrnet_coco"),
    ("ditehrnet_30", (256, 192), COCO_AP.format(68.3), "ditehrnet_coco"),
    ("ditehrnet_30", (384, 288), COCO_AP.format(71.5), "ditehrnet_coco"),
    ("ditehrnet_18", (256, 256), MPII_PCKH.format("87.0"), "ditehrnet_mpii"),
    ("ditehrnet_30", (256, 256), MPII_PCKH.format(87.6), "ditehrnet_mpii"),
    ("widehrnet_18", (256, 256), MPII_PCKH.format(87.7), "widehrnet_mpii"),
    ("widehrnet_18_se", (256, 256), MPII_PCKH.format(88.47), "widehrnet_mpii"),
    ("widehrnet_18_se", (256, 192), WIDE_AP.format(69.8), "widehrnet_coco"),
    ("hrformer_small", (256, 192), COCO_AP.format("74.0"), "hrformer_coco"),
    ("hrformer_small", (384, 288), COCO_AP.format(75.6), "hrformer_coco"),
    ("hrformer_base", (256, 192), COCO_AP.format(75.6), "hrformer_coco"),
    ("hrformer_base", (384, 288), COCO_AP.format(77.2), "hrformer_coco"),
    ("hrnext_small", (256, 192), COCO_AP.format(76.1), "hrnext_coco"),
    ("hrnext_base", (384, 288), COCO_AP.format("77.0"), "hrnext_coco"),
    ("hrnext_small", (256, 192), OCHUMAN_AP.format(63.1), "hrnext_ochuman"),
    ("hrnext_base", (384, 288), OCHUMAN_AP.format(67.1), "hrnext_ochuman"),
    ("efenet_small", (256, 192), "inferred design", "efenet_coco"),
    ("efenet_base", (256, 192), "inferred design", "efenet_coco"),
]


def main() -> int:
    parser = script_options.make(__doc__)
    parser.add_argument("--check", action="store_true", help="only check, write nothing")
    options = script_options.parse(parser)
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    start, rest = before.split(BEGIN)
    _, end = rest.split(END)
    after = f"{start}{BEGIN}\n{table()}\n{END}{end}"
    if options.check and after != before:
        print("the table in README.md is out of date; run scripts/model_table.py", file=sys.stderr)
        return 1
    if not options.check:
        readme.write_text(after, encoding="utf-8")
    return 0


def table() -> str:
    """The table of models in Markdown."""
    latencies = read_latencies(ROOT / "docs" / "latency.json")
    runtimes = {"": "ms", "onnxruntime": "ms, ONNX"}
    measured = {runtime for _, _, runtime in latencies} | {""}
    runtimes = {key: title for key, title in runtimes.items() if key in measured}
    head = (*HEAD[:-1], *runtimes.values(), HEAD[-1])
    rows = [head, ("---",) * len(head)]
    for name, size, published, config in ROWS:
        params, macs = costs(name, size)
        height, width = size
        latency = [latencies.get((name, size, runtime), "") for runtime in runtimes]
        place = f"`configs/{config}.py:{name}_{height}x{width}`"
        figures = (f"{height}x{width}", f"{params / 1e6:.2f} M", f"{macs / 1e9:.2f} G")
        rows.append((name, *figures, published, *latency, place))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def costs(name: str, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters, and multiply-accumulates as executed, for 17 joints."""
    graph, params, stats = models.shapes(name)
    calls = complexity.trace(graph, params, stats, size)
    return complexity.count_params(params), sum(call.macs for call in calls)


def read_latencies(file: pathlib.Path) -> dict[tuple[str, tuple[int, int], str], str]:
    """Milliseconds at batch 1 by variant, size and runtime ("" for JAX), as text."""
    if not file.exists():
        return {}
    latencies = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["mode"] == "forward" and row["batch"] == 1 and row["dtype"] == "float32":
            size = tuple(int(side) for side in row["input"].split("x"))
            runtime = row.get("runtime", "").replace("jax", "")
            latencies[row["model"], size, runtime] = f"{row['ms']:.1f}"
    return latencies


if __name__ == "__main__":
    terminal.run(main)
