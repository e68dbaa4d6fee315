"""Writes the tables of models into README.md and docs: cost, published scores, speed, memory.

    python scripts/model_table.py          # rewrites the tables between their markers
    python scripts/model_table.py --check  # exits with 1 if one is out of date

Published figures are from the tables that the configs' docstrings name. Milliseconds come from
docs/latency.json, which `python scripts/benchmark.py --json >> docs/latency.json` fills; with
--runtime=jax,onnxruntime it adds how much longer ONNX Runtime takes, a column of its own.
Memory comes from docs/memory.json, which scripts/benchmark_memory.py fills, and from
docs/programs.json, which scripts/benchmark.py --target=DEVICE --json fills.
"""

import collections
import json
import pathlib
import re
import sys

from hrjax import complexity, models
from hrjax.runtime import script_options, terminal
from hrjax.weights.published import PUBLISHED

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
BEGIN, END = "<!-- scripts/model_table.py {} -->\n", "\n<!-- end -->"
INPUT = "input, height x width"
HEAD = ("variant", INPUT, "parameters", "MACs", "published", "config")
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
    late = []
    for name, tables in TABLES.items():
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = before
        for key, make in tables.items():
            after = replace(after, key, make())
        if after != before:
            late.append(name)
            if not options.check:
                page.write_text(after, encoding="utf-8")
    if options.check and late:
        names = " and ".join(late)
        print(f"tables are out of date in {names}; run scripts/model_table.py", file=sys.stderr)
        return 1
    return 0


def replace(page: str, key: str, table: str) -> str:
    """The text of a page with the table between the markers of `key` replaced."""
    start, rest = page.split(BEGIN.format(key))
    _, end = rest.split(END, maxsplit=1)
    return f"{start}{BEGIN.format(key)}\n{table}\n{END}{end}"


def all_models() -> str:
    """The README's table: every recipe with a published figure."""
    latencies = read_latencies(DOCS / "latency.json")
    runtimes = measured_runtimes(latencies)
    rows = [(*HEAD[:-1], *runtimes.values(), HEAD[-1])]
    for name, size, published, config in ROWS:
        params, macs = costs(name, size)
        figures = (as_size(size), f"{params / 1e6:.2f} M", f"{macs / 1e9:.2f} G")
        latency = [latencies.get((name, size, runtime), "") for runtime in runtimes]
        rows.append((name, *figures, published, *latency, recipe(name, size, config)))
    return as_table(rows)


def best_models(protocol: str) -> str:
    """The networks that no other one beats in both speed and accuracy by a protocol's figures."""
    latencies = read_latencies(DOCS / "latency.json")
    runtimes = measured_runtimes(latencies)
    pattern = re.compile(re.escape(protocol).replace(re.escape("{}"), r"([\d.]+)") + "$")
    candidates = []
    for name, size, published, config in ROWS:
        times = [latencies.get((name, size, runtime), "") for runtime in runtimes]
        if (match := pattern.match(published)) and times[0]:
            ms, *ratios = (float(time) for time in times if time)
            fastest = ms * min([1.0, *ratios])
            candidates.append((fastest, -float(match[1]), match[1], name, size, times, config))
    rows = [(protocol.split(" {}")[0], "variant", INPUT, *runtimes.values(), "config")]
    best = 0.0
    for _, _, score, name, size, times, config in sorted(candidates):
        if float(score) > best:
            best = float(score)
            rows.append((score, name, as_size(size), *times, recipe(name, size, config)))
    return as_table(rows)


def published_names() -> str:
    """The networks that are downloaded by their names."""
    latencies = read_latencies(DOCS / "latency.json")
    runtimes = measured_runtimes(latencies)
    paddle = re.compile(re.escape(PADDLE_AP).replace(re.escape("{}"), r"([\d.]+)"))
    scores = {(name, size): paddle.match(published) for name, size, published, _ in ROWS}
    scores = {key: match[1] for key, match in scores.items() if match}
    rows = [("name", "network", INPUT, "COCO AP (ground-truth boxes)", *runtimes.values())]
    for name, row in PUBLISHED.items():
        variant, size = models.split_size(row.model)
        times = [latencies.get((variant, size, runtime), "") for runtime in runtimes]
        # Files that were trained in another way than the recipe have no figure of it.
        score = "–" if name.endswith("_distilled") else scores[variant, size]
        rows.append((f"`{name}`", variant, as_size(size), score, *times))
    return as_table(rows)


def memory() -> str:
    """MiB on a CPU at 256x192 by network and batch."""
    rows = read_lines(DOCS / "memory.json")
    for row in read_lines(DOCS / "latency.json"):
        if row["input"] == "256x192" and "program_memory_mib" in row:
            rows.append({**row, "mode": "alone", "mib": row["program_memory_mib"]})
    columns = sorted({(row["mode"], row["batch"]) for row in rows})
    needed = collections.defaultdict(dict)
    for row in rows:
        needed[row["model"]][row["mode"], row["batch"]] = f"{row['mib']:,.0f}"
    head = ("network", *(f"{mode}, batch {batch}" for mode, batch in columns))
    lines = [(name, *(needed[name].get(key, "–") for key in columns)) for name in sorted(needed)]
    return as_table([head, *lines])


def accelerators() -> str:
    """Memory and bounds on time of programs that were compiled for an absent accelerator."""
    head = ("network", "program", "device", "batch", "kernels", "MiB on each", "bound, ms")
    lines = []
    for row in read_lines(DOCS / "programs.json"):
        groups = f", batch_norm_size={n}" if (n := row["batch_norm_size"]) else ""
        count = f"{row['devices']} " if row["devices"] > 1 else ""
        figures = (f"{row['kernels']:,}", f"{row['program_memory_mib']:,.0f}")
        place = (f"{count}{row['target']}", str(row["batch"]))
        bound = "–" if row["bound_ms"] is None else f"{row['bound_ms']:.2f}"
        lines.append((row["model"], f"{row['mode']}{groups}", *place, *figures, bound))
    return as_table([head, *sorted(lines, key=lambda line: (line[0], line[2], line[1]))])


def measured_runtimes(latencies: dict) -> dict[str, str]:
    """The runtimes that were measured, with the titles of their columns."""
    measured = {runtime for _, _, runtime in latencies} | {""}
    runtimes = {"": "ms", "onnxruntime": "ONNX / JAX"}
    return {key: title for key, title in runtimes.items() if key in measured}


def as_size(size: tuple[int, int]) -> str:
    """A size as height x width."""
    height, width = size
    return f"{height}x{width}"


def recipe(name: str, size: tuple[int, int], config: str) -> str:
    """What --config takes for a variant and an input size."""
    return f"`configs/{config}.py:{name}_{as_size(size)}`"


def as_table(rows: list[tuple[str, ...]]) -> str:
    """Rows of text as a table in Markdown; the first one is the head."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *body))


def costs(name: str, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters, and multiply-accumulates as executed, for 17 joints."""
    graph, params, stats = models.shapes(name)
    calls = complexity.trace(graph, params, stats, size)
    return complexity.count_params(params), sum(call.macs for call in calls)


def read_latencies(file: pathlib.Path) -> dict[tuple[str, tuple[int, int], str], str]:
    """By variant, size and runtime: milliseconds of JAX (""), others in times of JAX, as text.

    Others are compared with JAX in the same process, in turns, whatever the machine's speed was.
    """
    latencies, in_turns = {}, {}
    for row in read_lines(file):
        if row["mode"] == "forward" and row["batch"] == 1 and row["dtype"] == "float32":
            place = row["model"], tuple(int(side) for side in row["input"].split("x"))
            if row.get("runtime"):
                in_turns[*place, row["runtime"]] = row["ms"]
            else:
                latencies[*place, ""] = f"{row['ms']:.1f}"
    for (*place, runtime), ms in in_turns.items():
        if runtime != "jax":
            latencies[*place, runtime] = f"{ms / in_turns[*place, 'jax']:.2f}"
    return latencies


def read_lines(file: pathlib.Path) -> list[dict]:
    """The rows of a file with a line of JSON for each; [] if the file does not exist."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


TABLES = {
    "README.md": {"all": all_models},
    "docs/networks.md": {
        "names": published_names,
        "coco": lambda: best_models(COCO_AP),
        "mpii": lambda: best_models(MPII_PCKH),
    },
    "docs/troubleshooting.md": {"memory": memory, "accelerators": accelerators},
}

if __name__ == "__main__":
    terminal.run(main)
