"""Checks, splits, packs and downloads datasets, imports labels, and recommends how to train.

    python scripts/prepare_data.py check --dataset=coco --root=data/coco
    python scripts/prepare_data.py split --annotations=labels.json --images=photos --root=data/mice
    python scripts/prepare_data.py recommend --root=data/mice
    python scripts/prepare_data.py build --dataset=coco --root=data/coco --out=data/coco_records
    python scripts/prepare_data.py download --dataset=crowdpose --root=data/crowdpose
    python scripts/prepare_data.py import --from=yolo --labels=exported --output=data/mice

check reports problems of the files, summarizes them and draws people before and after augmentation;
it exits with 1 if something must be repaired. split holds images of an annotation file in COCO's
format out, and recommend writes a config that fine-tunes a published network on such a dataset
(docs/few_pictures.md). build writes the images into ArrayRecord shards, for
--config.data.records=True; the same command continues an interrupted build, and build --verify
compares the shards with their checksums. download gets the files that programs may download,
resumes an interrupted download, and lists what to download by hand and where to put it. import
makes a custom dataset of the files of an annotation tool (docs/labels.md lists them), says what was
lost and guessed, and checks it.
"""

import ast
import os
import pathlib
import shlex
import shutil
import sys

import numpy as np

from configs import common
from data_pipelines import dataset_check, datasets, files, splits
from data_pipelines.downloads import archives, sources, web
from data_pipelines.labels import importing, writing
from data_pipelines.messages import progress, written
from data_pipelines.readers.request import Joints, Request
from data_pipelines.transforms import chains
from hrjax import visualize
from hrjax.runtime import script_options, terminal
from preparing import label_options, splitting

COMMANDS = {
    "check": "list what is wrong with the files, and draw some people",
    "build": "write the images into records",
    "download": "get the files that programs may download",
}
SHEET_PEOPLE = 8
AUGMENTED = 4  # crops of each person after augmentation, beside the one before


def main() -> int:
    """Runs the command line; returns the exit status."""
    options = script_options.parse(_parser())
    try:
        if options.run is not run_import:
            options.root = options.root or datasets.DATASETS[options.dataset].root
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = script_options.make(__doc__)
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND")
    importer = commands.add_parser("import", help="make a dataset of the files of a labeling tool")
    label_options.add(importer).set_defaults(run=run_import)
    every = {name: commands.add_parser(name, help=text) for name, text in COMMANDS.items()}
    for name, command in every.items():
        known = sorted(sources.SOURCES if name == "download" else datasets.DATASETS)
        command.add_argument(
            "--dataset",
            **script_options.one_of(known, "DATASET"),
            required=True,
            help=script_options.folded(known, "datasets"),
        )
        command.add_argument("--root", default="", help="default: data/<dataset>")
        command.set_defaults(run={"check": run_check, "build": run_build}.get(name, run_download))
    for name in ("check", "build"):
        every[name].add_argument("--splits", default="", help="e.g. train,val; default: both")
        every[name].add_argument("--annotations", default="", help="of a custom dataset's split")
        every[name].add_argument("--images", default="", help="of a custom dataset's split")
        every[name].add_argument("--category", default="", help="of a custom dataset's annotations")
        every[name].add_argument("--names", type=_tuple, default=(), help="('a', 'b', …)")
        every[name].add_argument("--flip_pairs", type=_tuple, default=(), help="((1,2),(3,4))")
    splitting.add(commands)
    _add_recommend(commands)
    every["check"].add_argument("--input", default="256x192", help=script_options.INPUT)
    every["check"].add_argument("--out", default="", help="the contact sheet, a .jpg")
    every["build"].add_argument("--out", default="", help="root of the packed dataset (--root)")
    every["build"].add_argument(
        "--boxes", default="", help="detections whose images are packed, too"
    )
    every["build"].add_argument("--verify", action="store_true", help="only compare checksums")
    every["download"].add_argument("--mirror", default="", help="an https folder with the archives")
    return parser


def _add_recommend(commands):
    command = commands.add_parser("recommend", help="write a config that fine-tunes a network")
    command.add_argument(
        "--root", required=True, help="a dataset in COCO's format, with any joints"
    )
    command.add_argument(
        "--out", default="", help="the config; default: beside the root, data/mice.py"
    )
    command.add_argument("--weights", default="", help="weights to start from; default: published")
    command.add_argument("--model", default="", help="the variant of a weights file, VARIANT[_HxW]")
    command.add_argument(
        "--device", **script_options.one_of(("cpu", "gpu")), help="to train on; default: this one"
    )
    command.add_argument("--category", default="", help="of the annotations")
    command.add_argument("--names", type=_tuple, default=(), help="('a', 'b', …)")
    command.add_argument("--flip_pairs", type=_tuple, default=(), help="((1,2),(3,4))")
    command.set_defaults(run=_recommend)


def _recommend(options):
    from preparing import recommending  # imports JAX

    return recommending.run(options)


def run_check(options) -> int:
    """Prints each split's summary and problems, and draws its contact sheet."""
    serious, size = False, script_options.height_width(options.input)
    for split in _splits(options):
        people = _read(options, split)
        print(dataset_check.summarize(people), end="\n\n")
        problems = dataset_check.find_problems(people, _shown)
        print("\n".join(map(str, problems)) or "no problems found", end="\n\n")
        sheet = _sheet(options, split)
        inputs = os.fsdecode, people.columns["image_path"].tolist()
        files.require_no_input([sheet], [people.annotation_file, *map(*inputs)])
        drawn, said = contact_sheet(people, size), written.wrote(sheet)
        visualize.save(drawn, sheet)
        print(f"{said}: rows of people before and after augmentation; look at it\n")
        serious |= any(problem.serious for problem in problems)
    return int(serious)


def _sheet(options, split):
    """The contact sheet of a split, which has its name where there are several."""
    if not options.out:
        return pathlib.Path(f"{options.dataset}_{split}.jpg")
    out = pathlib.Path(options.out)
    return out.with_stem(f"{out.stem}_{split}") if len(_splits(options)) > 1 else out


def _shown(paths):
    return progress.over(paths, "reading", units="images")


def contact_sheet(people: splits.Split, size: tuple[int, int]) -> np.ndarray:
    """People evenly spaced over the split, as evaluation and as training crop them."""
    rows = np.unique(np.linspace(0, len(people) - 1, SHEET_PEOPLE).astype(int))
    config = common.recipe("", default="hrnet_w32", dataset="coco", input_size=size)
    config.augment.half_body = 0.3
    train = chains.train_ops(config.augment, people.skeleton, size, strict=False)
    plain = chains.eval_ops(size, strict=False)
    tiles = []
    for row in rows:
        for number, chain in enumerate((plain, *[train] * AUGMENTED)):
            example, rng = people[int(row)], np.random.default_rng([int(row), number])
            for op in chain:
                example = op(example, rng)
            shown = (example["keypoints"], example["visible"], people.skeleton)
            tiles.append(visualize.draw_skeleton(example["image"], *shown, threshold=0.5))
    return visualize.grid(tiles, columns=2 * (1 + AUGMENTED))


def run_import(options) -> int:
    """Makes a custom dataset of a tool's labels, says what was lost and guessed, and checks it."""
    plan = label_options.plan(options)
    imported = importing.run(plan, _shown)
    print("\n".join(map(str, imported.notes)) or "nothing was lost or guessed", end="\n\n")
    counts = ", ".join(f"{count} in {split}" for split, count in imported.counts.items())
    print(f"wrote {plan.output}: {counts}; the notes above are in {plan.output / writing.REPORT}\n")
    category = max(imported.categories, key=imported.categories.get)
    chosen = category if len(imported.categories) > 1 else ""
    if chosen:
        others = ", ".join(f"{name} ({count})" for name, count in imported.categories.items())
        print(f"several categories, of which one is trained on and checked here: {others}\n")
    if not imported.counts.get("val"):
        print("there is no val split to evaluate on: import more images, or ask for a share\n")
    splits = ",".join(split for split, count in imported.counts.items() if count)
    arguments = ["check", "--dataset=custom", f"--root={plan.output}", f"--splits={splits}"]
    arguments += [f"--category={chosen}", f"--out={plan.output / 'check.jpg'}"]
    status = run_check(script_options.parse(_parser(), arguments))
    joints = f"--config.model.num_joints={imported.joints[category]}"
    flags = f"--config.data.root={shlex.quote(str(plan.output))} {joints}"
    flags += f" --config.data.category={shlex.quote(chosen)}" if chosen else ""
    print(f"train with python -m hrjax.main --config=configs/hrnet_custom.py {flags}")
    return status


def run_build(options) -> int:
    """Packs the images of the splits, and copies the annotation files beside them."""
    from data_pipelines import records

    out = options.out or options.root
    if options.verify:
        return _verify(records, out)
    images = {}
    for split in _splits(options):
        parts = [_read(options, split)]
        if options.boxes:
            parts.append(_read(options, split, boxes=options.boxes))
        for people in parts:
            paths = people.columns["image_path"].tolist()
            images |= {records.name(path, options.root): pathlib.Path(path) for path in paths}
    done = 0
    with progress.Progress("packing", units="images", total=len(images)) as shown:
        for now in records.build(out, images):
            shown.update(now - done)
            done = now
    if not files.is_same(out, options.root):
        _copy_annotations(pathlib.Path(options.root), pathlib.Path(out))
    print(f"{len(images)} images are in records in {out}")
    print(f"train with --config.data.root={out} --config.data.records=True")
    return 0


def _verify(records, out):
    broken = {part: names for part, names in records.verify(out) if names}
    for part, names in broken.items():
        print(f"error: {part}: {len(names)} records fail their checksums, e.g. {names[0]}")
    print("remove these folders and build again" if broken else f"all records of {out} are whole")
    return int(bool(broken))


def _copy_annotations(root, out):
    for name in ("annotations", "annot", "person_detection_results"):
        if (root / name).is_dir():
            shutil.copytree(root / name, out / name, dirs_exist_ok=True)


def run_download(options) -> int:
    """Downloads and unpacks what is missing; lists what must be downloaded by hand."""
    root = pathlib.Path(options.root)
    by_hand = []
    for source in sources.SOURCES[options.dataset]:
        mirror = options.mirror.rstrip("/")
        address = f"{mirror}/{source.name}" if mirror else source.address
        if archives.is_placed(source, root):
            print(f"already there: {source.proofs[0]}")
        elif address:
            _fetch(source, address, root)
        else:
            by_hand.append(source)
    for source in by_hand:
        print(
            f"fetch by hand: {source.name} ({source.size}) from {source.page}\n"
            f"    so that there is {root / source.proofs[0]}"
        )
    return int(bool(by_hand))


def _fetch(source, address, root):
    with archives.missing(source, root) as is_missing:
        if not is_missing:
            return
        print(f"fetching {source.name} ({source.size})")
        archive = web.fetch(address)
        try:
            archives.place(source, archive, root)
        finally:
            archive.unlink(missing_ok=True)


def _splits(options):
    entry = datasets.DATASETS[options.dataset]
    chosen = options.splits.split(",") if options.splits else (entry.train_split, entry.eval_split)
    return dict.fromkeys(chosen)


def _read(options, split, **boxes):
    request = Request(
        root=options.root,
        split=split,
        annotations=options.annotations,
        images=options.images,
        category=options.category,
        joints=Joints(names=options.names, flip_pairs=options.flip_pairs),
        **boxes,
    )
    return datasets.read_request(options.dataset, request)


def _tuple(text):
    try:
        return tuple(ast.literal_eval(text))
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a tuple") from error


if __name__ == "__main__":
    terminal.run(main)
