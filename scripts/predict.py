"""Predicts the joints of people in images, videos or a camera stream; draws and saves them.

    python scripts/predict.py --checkpoint=runs/quickstart --source=photo.jpg
    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=photos --boxes=detections.json
    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=walk.mp4 --detector=yolox.onnx
    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=webcam --boxes=100,0,300,480

--boxes is a JSON file of detections in COCO's results format or of COCO annotations, or x,y,w,h,
repeated for several people. Without --boxes and --detector the whole image is one person's box.
Writes <output>/<name> for each image or <output>/<name>.mp4 for a video, and <output>/results.json
in COCO's format. Input that cannot be used is listed at the end, with exit status 1; the rest is
processed.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import tqdm

from data_pipelines import files
from data_pipelines.images import MAX_PIXELS
from hrjax import recipes, visualize
from hrjax.prediction import boxes, frames, media, person_detector, results
from hrjax.prediction.box_files import BoxFile
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import Predictor
from hrjax.prediction.results import ImageResults
from hrjax.runtime import compilation_cache, memory, terminal
from hrjax.weights.published import PUBLISHED

FRAMES_AT_ONCE = 8
SHOWN_PROBLEMS = 50
RESULTS = "results.json"
WRITTEN = (".jpg", ".jpeg", ".png")


def main() -> None:
    options = parse()
    problems = []
    try:
        predict(options, problems)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    report(problems)


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(PUBLISHED)
    parser.add_argument(
        "--checkpoint",
        required=True,
        help=f"a run, a step of it, converted weights, a weights file or its address, or: {names}",
    )
    parser.add_argument(
        "--source", required=True, help="an image, a folder, a video, webcam or webcam:1"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("predictions"),
        help="the folder to write to (default: predictions)",
    )
    parser.add_argument("--model", default="", help="the variant of a weights file, VARIANT[_HxW]")
    parser.add_argument(
        "--config", help="the config file to use instead of the saved one, FILE.py[:VARIANT[_HxW]]"
    )
    add_box_options(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.2,
        help="draw only joints with higher scores (default: 0.2)",
    )
    parser.add_argument(
        "--heatmaps", action="store_true", help="also draw the heatmaps of each person (images)"
    )
    parser.add_argument(
        "--decode",
        default="",
        help="argmax, quarter, dark, udp or paddle_dark (default: the checkpoint's)",
    )
    parser.add_argument(
        "--flip_test",
        action=argparse.BooleanOptionalAction,
        help="average with the flipped image (default: the checkpoint's setting)",
    )
    add_limits(parser)
    options = parser.parse_args()
    if options.boxes and options.detector:
        parser.error("--boxes and --detector exclude each other; give one of them")
    if options.heatmaps and media.is_video(options.source):
        parser.error("--heatmaps works for images, not for videos")
    return options


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how much is read."""
    parser.add_argument("--max_frames", type=int, help="stop a video or camera after this many")
    parser.add_argument(
        "--max_pixels",
        type=int,
        default=MAX_PIXELS,
        help=f"skip images and videos with more pixels (default: {MAX_PIXELS:,})",
    )


def add_box_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where people are."""
    parser.add_argument(
        "--boxes",
        action="append",
        default=[],
        help="person boxes: a JSON file, or x,y,w,h in pixels, repeated for several people",
    )
    parser.add_argument(
        "--category",
        default="",
        help="the category in the JSON file to use, its name or id (default: person)",
    )
    parser.add_argument("--detector", help="an ONNX file of a person detector, e.g. YOLOX")
    parser.add_argument(
        "--box_threshold",
        type=float,
        default=0.3,
        help="skip boxes with lower scores (default: 0.3)",
    )


@dataclasses.dataclass(frozen=True)
class Session:
    """What prediction uses, and the results and problems that it collects."""

    options: argparse.Namespace
    predictor: Predictor
    find_boxes: boxes.FindBoxes
    problems: list[str]
    results: list[ImageResults] = dataclasses.field(default_factory=list)


def predict(options: argparse.Namespace, problems: list[str]) -> None:
    """Predicts the source and writes the output; adds what could not be used to `problems`."""
    check_folder(options)
    is_video = media.is_video(options.source)
    images = [] if is_video else media.find_images(options.source, exclude=options.output)
    outputs = plan_outputs(options, images)
    check_outputs(options, outputs, images)
    find_boxes = open_boxes(options, images)
    predictor = Predictor(
        options.checkpoint,
        model=options.model,
        config=recipes.read(options.config) if options.config else None,
        flip_test=options.flip_test,
        decode=options.decode,
    )
    video = media.Video(options.source, max_pixels=options.max_pixels) if is_video else None
    options.output.mkdir(parents=True, exist_ok=True)
    session = Session(options, predictor, find_boxes, problems)
    try:
        if video is not None:
            predict_video(session, video)
        else:
            predict_images(session, images, outputs)
    except KeyboardInterrupt:
        problems.append("interrupted")
    finally:
        results.save(session.results, options.output / RESULTS)
    if isinstance(find_boxes, BoxFile):
        problems += unused_boxes(find_boxes, options)


def unused_boxes(find_boxes: BoxFile, options: argparse.Namespace) -> list[str]:
    """The problems of a box file after all of the source was predicted."""
    if find_boxes.matched or find_boxes.problems:
        return find_boxes.problems
    return [
        f"no box of {options.boxes[0]} with a score of at least {options.box_threshold} belongs to "
        f"{options.source}: file names and image ids differ, or the file has no such boxes"
    ]


def check_folder(options: argparse.Namespace) -> None:
    """Raises ValueError if the output is the folder of the source."""
    folder = media.image_folder(options.source)
    if not media.is_camera(options.source) and files.is_same(folder, options.output):
        raise ValueError(
            f"the output would overwrite the images in {folder}; choose another --output"
        )


def plan_outputs(
    options: argparse.Namespace, images: list[pathlib.Path]
) -> dict[str, pathlib.Path]:
    """Where the drawing of each image goes, by the name of its frame."""
    outputs = {}
    for name in media.frame_names(images, options.source):
        path = options.output / name
        if path.suffix.lower() not in WRITTEN:
            path = path.with_name(f"{path.name}.jpg")
        outputs[name] = path
    return outputs


def check_outputs(
    options: argparse.Namespace, outputs: dict[str, pathlib.Path], images: list[pathlib.Path]
) -> None:
    """Raises ValueError if an output would replace an input or another output."""
    by_path = {}
    for name, path in outputs.items():
        if path in by_path:
            raise ValueError(
                f"{by_path[path]} and {name} would both be drawn into {path}; rename one of them"
            )
        by_path[path] = name
    files.require_different(by_path)
    if options.heatmaps:
        check_heatmaps(by_path)
    given = [options.source, options.checkpoint, options.detector, options.config, *options.boxes]
    written = [*by_path, options.output / RESULTS, options.output / video_name(options.source)]
    files.require_no_input(written, [*images, *(path for path in given if path)])
    there = [path for path in by_path if os.path.lexists(path)]
    if there and not (options.output / RESULTS).exists():
        raise ValueError(
            f"{there[0]} is there already, and {options.output} holds no earlier predictions that "
            "could be replaced; choose another --output"
        )


def check_heatmaps(names: dict[pathlib.Path, str]) -> None:
    """Raises ValueError if an image is called like the heatmaps of another."""
    for path, name in names.items():
        stem, heatmaps, number = path.stem.rpartition("_heatmaps")
        if heatmaps and number.isdigit() and path.with_name(stem + path.suffix) in names:
            raise ValueError(f"{name} is called like the heatmaps of another image; rename it")


def video_name(source: str) -> str:
    """The name of the video that is drawn."""
    return f"{pathlib.Path(media.video_name(source)).stem}.mp4"


def open_boxes(options: argparse.Namespace, files: list[pathlib.Path]) -> boxes.FindBoxes:
    """What finds the person boxes of a frame."""
    if options.detector:
        detector = person_detector.Detector(options.detector, threshold=options.box_threshold)
        return lambda frame: detector(frame.image)
    if not options.boxes:
        return boxes.whole_image
    if len(options.boxes) == 1 and options.boxes[0].endswith(".json"):
        return BoxFile(
            options.boxes[0],
            threshold=options.box_threshold,
            category=options.category,
            folder=media.image_folder(options.source),
            names=media.frame_names(files, options.source),
        )
    return boxes.fixed_boxes(options.boxes)


def predict_batch(session: Session, batch: list[Frame]) -> Iterator[tuple[Frame, ImageResults]]:
    """Predicts some frames and keeps their results; yields each frame with them."""
    predicted, problems = frames.predict_frames(session.predictor, batch, session.find_boxes)
    session.results.extend(predicted)
    session.problems.extend(problems)
    yield from zip(batch, predicted, strict=True)


def draw(session: Session, frame: Frame, result: ImageResults) -> np.ndarray:
    """A copy of the frame with its people."""
    skeleton, threshold = session.predictor.skeleton, session.options.threshold
    return frames.draw(frame, result, skeleton, threshold=threshold)


def predict_images(
    session: Session, images: list[pathlib.Path], outputs: dict[str, pathlib.Path]
) -> None:
    """Predicts image files and writes them with their people drawn."""
    options = session.options
    limit = {"max_pixels": options.max_pixels}
    pictures = media.read_images(images, options.source, session.problems, **limit)
    with tqdm.tqdm(total=len(images), unit="image") as bar:
        while batch := list(itertools.islice(pictures, FRAMES_AT_ONCE)):
            for frame, result in predict_batch(session, batch):
                path = outputs[frame.name]
                path.parent.mkdir(parents=True, exist_ok=True)
                visualize.save(draw(session, frame, result), path)
                if options.heatmaps:
                    save_heatmaps(session.predictor, frame, result, path)
            bar.update(len(batch))
        bar.update(len(images) - bar.n)  # unreadable files


def save_heatmaps(
    predictor: Predictor, frame: Frame, result: ImageResults, path: pathlib.Path
) -> None:
    """Draws each person's heatmaps and saves them next to the image: photo_heatmaps0.jpg, …"""
    if not len(result.poses.boxes):
        return
    crops, heatmaps = predictor.heatmaps(frame.image, result.poses.boxes)
    for number, person in enumerate(zip(crops, heatmaps, strict=True)):
        sheet = visualize.draw_heatmaps(*person)
        visualize.save(sheet, path.with_name(f"{path.stem}_heatmaps{number}{path.suffix}"))


def predict_video(session: Session, video: media.Video) -> None:
    """Predicts a video or camera stream and writes it with its people drawn."""
    path = session.options.output / video_name(session.options.source)
    writer = media.VideoWriter(path, video.rate)
    images = itertools.islice(video, session.options.max_frames)
    at_once = FRAMES_AT_ONCE if video.count else 1  # a camera's frames are written as they come
    try:
        with tqdm.tqdm(total=video.count or None, unit="frame") as bar:
            while batch := list(itertools.islice(images, at_once)):
                for frame, result in predict_batch(session, batch):
                    writer.write(draw(session, frame, result))
                bar.update(len(batch))
    except KeyboardInterrupt:
        if video.count:
            raise
        # This is how a camera recording ends.
    finally:
        writer.close()
        video.close()
    if video.problem:
        session.problems.append(video.problem)


def report(problems: list[str]) -> None:
    """Lists the problems and exits with status 1 if there are any."""
    if problems:
        shown = "\n  ".join(problems[:SHOWN_PROBLEMS])
        hidden = len(problems) - SHOWN_PROBLEMS
        more = f"\n  … and {hidden} more" if hidden > 0 else ""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        sys.exit(f"error: {count}:\n  {shown}{more}")


def start() -> None:
    """Sets up the process and predicts."""
    # Our list of problems describes broken files better than OpenCV's messages.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    memory.keep_freed_memory()
    compilation_cache.use_compilation_cache()
    main()


if __name__ == "__main__":
    terminal.run(start)
