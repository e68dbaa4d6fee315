"""Exports a trained network as one file that needs neither hrjax nor its checkpoint.

    python scripts/export.py --checkpoint=runs/quickstart --output=model.onnx
    python scripts/export.py --checkpoint=hrnet_w32_coco --output=w32.onnx --decode=dark --check
    python scripts/export.py --checkpoint=runs/se --output=heatmaps.onnx --decode=none --batch=1
    python scripts/export.py --checkpoint=runs/se --output=model.tpu --format=stablehlo \\
        --platform=tpu
    python scripts/export.py --checkpoint=runs/se --web=page
    python scripts/export.py --checkpoint=runs/se --output=model.int8.onnx --int8

The file takes RGB crops (n, h, w, 3) uint8 and returns keypoints (n, k, 2) in pixels of the crop
and scores (n, k), or with --decode=none heatmaps. Its metadata hold the joints, the size of crops
and the model card. Predictor, scripts/predict.py and --mode=eval take ONNX files as checkpoints.
docs/exporting.md says how to run them elsewhere. --int8 needs the images of the training split;
docs/quantization.md says what it does. A network that was trained in simulated eight bits is
exported in eight bits without it. --web writes a page that finds joints in the visitor's
browser (docs/web.md).
"""

import argparse
import pathlib
import sys

import numpy as np

import hrjax
from data_pipelines.messages import sizes, written
from hrjax import experiment, recipes
from hrjax.export import programs, stablehlo, web_page
from hrjax.quantization import training_crops
from hrjax.runtime import compilation_cache, script_options, terminal
from hrjax.weights import source


def main() -> None:
    options = parse()
    try:
        print(export(options))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = script_options.make(__doc__)
    parser.add_argument("--checkpoint", required=True, help="weights of any kind")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--output", type=pathlib.Path, help="the file to write")
    place.add_argument(
        "--web",
        metavar="FOLDER",
        type=pathlib.Path,
        help="the folder to write a page to, for any web host: network and 41 MB of programs",
    )
    parser.add_argument(
        "--onnxruntime_web",
        metavar="PLACE",
        type=pathlib.Path,
        help="npm's package onnxruntime-web for --web, as a .tgz file or a folder (default: npm "
        "fetches it)",
    )
    parser.add_argument("--model", default="", help="the variant of a weights file, VARIANT[_HxW]")
    parser.add_argument(
        "--config", help="the config file to use instead of the saved one, FILE.py[:VARIANT[_HxW]]"
    )
    parser.add_argument(
        "--decode",
        default="",
        help="argmax, quarter, dark, udp or paddle_dark (default: the checkpoint's), or none: "
        "the file returns heatmaps",
    )
    parser.add_argument(
        "--flip_test",
        action=argparse.BooleanOptionalAction,
        help="average with the flipped crop (default: the checkpoint's setting, but off in --web)",
    )
    parser.add_argument(
        "--batch", default="dynamic", help="the number of crops, or dynamic for any (default)"
    )
    parser.add_argument("--half", action="store_true", help="compute in float16")
    parser.add_argument(
        "--int8", action="store_true", help="compute in eight bits, chosen on training images"
    )
    parser.add_argument(
        "--int8_crops",
        type=int,
        metavar="N",
        help=f"how many people of the training split (default: {training_crops.DEFAULT_COUNT})",
    )
    parser.add_argument(
        "--data", help="the folder of the training images (default: the config's data.root)"
    )
    parser.add_argument(
        "--format",
        default="onnx",
        **script_options.one_of(("onnx", "stablehlo")),
        help="(default: onnx)",
    )
    parser.add_argument(
        "--platform",
        **script_options.one_of(stablehlo.PLATFORMS),
        help="what a StableHLO program is for (default: cpu)",
    )
    parser.add_argument(
        "--license", default=programs.LICENSE, help="the license of the weights, for the metadata"
    )
    parser.add_argument(
        "--check", action="store_true", help="run the ONNX file and compare it with the checkpoint"
    )
    options = script_options.parse(parser)
    if options.batch != "dynamic" and not (options.batch.isdecimal() and int(options.batch)):
        parser.error(f"--batch={options.batch}: expected a positive number, or dynamic")
    if options.platform and options.format != "stablehlo":
        parser.error("--platform belongs to --format=stablehlo; ONNX files run on every platform")
    if options.int8 and (options.half or options.format != "onnx"):
        parser.error("--int8 belongs to --format=onnx, without --half")
    least = training_crops.LEAST
    if options.int8_crops is not None and options.int8_crops < least:
        parser.error(f"--int8_crops={options.int8_crops}: expected {least} or more")
    if not options.int8 and (options.int8_crops is not None or options.data):
        parser.error("--int8_crops and --data belong to --int8")
    if options.check and options.format != "onnx":
        parser.error("--check belongs to --format=onnx")
    if options.web and (options.format != "onnx" or options.decode == programs.HEATMAPS):
        parser.error("--web takes neither --format=stablehlo nor --decode=none")
    if options.web and options.flip_test is None:
        options.flip_test = False  # it would halve the frames per second
    if options.onnxruntime_web and not options.web:
        parser.error("--onnxruntime_web belongs to --web")
    return options


def export(options: argparse.Namespace) -> str:
    """Writes the file; returns a line that describes it."""
    opened = source.open(options.checkpoint, model=options.model)
    if options.config:
        opened = opened.with_config(recipes.read(options.config))
    if opened.quantization and (options.int8 or options.half):
        raise ValueError(
            f"{options.checkpoint} {programs.IN_EIGHT_BITS}; leave out --int8 and --half"
        )
    settings = {
        "decode": options.decode,
        "flip_test": options.flip_test,
        "batch": None if options.batch == "dynamic" else int(options.batch),
        "half": options.half,
        "license_text": options.license,
    }
    card = opened.card
    joints, size = len(card.skeleton.names), sizes.pixels(card.input_size)
    decoding = options.decode or card.decode
    what = f"{card.variant}, {joints} joints, crops of {size}, decoding {decoding},"
    if options.format == "stablehlo":
        platform = options.platform or "cpu"
        said = written.wrote(options.output)
        path = hrjax.export_stablehlo(opened, options.output, platform=platform, **settings)
        bits = " that simulates eight bits" if opened.quantization else ""
        return f"{said}: {what} in StableHLO for {platform}{bits}, {mib(path)}"
    if options.int8:
        settings["int8_crops"] = read_crops(opened, options)
    if options.web:
        said = written.wrote(options.web)
        folder = hrjax.export_web(
            opened, options.web, onnxruntime_web=options.onnxruntime_web, **settings
        )
        path = folder / web_page.MODEL
        view = f"python -m http.server --directory {folder}"
        line = f"{said}: a page with {what} {mib(path)}; to look at it: {view}"
    else:
        said = written.wrote(options.output)
        path = hrjax.export_onnx(opened, options.output, **settings)
        bits = ", in eight bits as it was trained" if opened.quantization else ""
        line = f"{said}: {what} in ONNX, opset {hrjax_opset()}{bits}, {mib(path)}"
    return f"{line}\n{compare(opened, path, options)}" if options.check else line


def read_crops(opened: source.Source, options: argparse.Namespace) -> np.ndarray:
    """Crops of the training split of the checkpoint's data."""
    config = opened.config.copy_and_resolve_references()
    if options.data:
        with config.unlocked():
            config.data.root = options.data
    config.data.input_size = opened.card.input_size
    count = training_crops.DEFAULT_COUNT if options.int8_crops is None else options.int8_crops
    return training_crops.read(experiment.without_drawing(config), count)


def hrjax_opset() -> int:
    """The version of ONNX's operations that files are written in."""
    from hrjax.export.translation import writing

    return writing.OPSET


def mib(path: pathlib.Path) -> str:
    """The size of a file."""
    return f"{path.stat().st_size / 2**20:.1f} MiB"


def compare(opened: source.Source, path: pathlib.Path, options: argparse.Namespace) -> str:
    """A line with the largest differences from the checkpoint, on three crops of noise."""
    returns_heatmaps = options.decode == programs.HEATMAPS
    decode = "" if returns_heatmaps else options.decode
    settings = {"flip_test": options.flip_test, "decode": decode}
    theirs, ours = (hrjax.Predictor(x, **settings) for x in (opened, path))
    height, width = ours.settings.input_size
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(3)]
    pairs = [*zip(theirs(noise), ours(noise), strict=True)]
    pixels = max(np.abs(a.keypoints - b.keypoints).max() for a, b in pairs)
    scores = max(np.abs(a.scores - b.scores).max() for a, b in pairs)
    return f"differs from the checkpoint by at most {pixels:.2g} pixels and {scores:.2g} in scores"


def start() -> None:
    """Sets up the process and exports."""
    compilation_cache.use_compilation_cache()
    main()


if __name__ == "__main__":
    terminal.run(start)
