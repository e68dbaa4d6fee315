"""Predicts the joints of people in images, videos or a camera stream; draws and saves them.

    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=photo.jpg
    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=photos --boxes=detections.json
    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=walk.mp4 --detector=yolox_s
    python scripts/predict.py --checkpoint=hrnet_w32_coco --source=webcam --detector=rtmdet_nano

--boxes is a JSON file of detections in COCO's results format or of COCO annotations, or x,y,w,h,
repeated for several people, or image for the whole image. Without --boxes and --detector the
network searches for people itself, which is slow and misses small ones. People are followed through
videos. Writes <output>/<name> for each image or <output>/<name>.mp4 for a video, and
<output>/results.json in COCO's format, for videos also <output>/results.csv. Input that cannot be
used is listed at the end, with exit status 1; the rest is processed.
"""

import argparse
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines.images import MAX_PIXELS
from data_pipelines.messages import progress, sizes, written
from hrjax import recipes, visualize
from hrjax.prediction import boxes, detectors, frames, media, outputs, results, search
from hrjax.prediction.box_files import BoxFile
from hrjax.prediction.film import follow, reading, smoothing, writing
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import Predictor
from hrjax.prediction.results import ImageResults
from hrjax.runtime import compilation_cache, memory, script_options, terminal
from hrjax.weights.published import PUBLISHED

FRAMES_AT_ONCE = 8
SHOWN_PROBLEMS = 50
RESULTS, TABLE = "results.json", "results.csv"
SEARCH_EVERY = 30  # frames; a search takes as long as predicting some fifty people


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
    parser = script_options.make(__doc__)
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
    add_box_options(parser.add_argument_group("where people are"))
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
    add_film_options(parser.add_argument_group("videos and cameras"))
    options = script_options.parse(parser)
    if options.boxes and options.detector:
        parser.error("--boxes and --detector exclude each other; give one of them")
    if options.heatmaps and media.is_video(options.source):
        parser.error("--heatmaps works for images, not for videos")
    if (options.smooth or options.detect_every is not None) and not media.is_video(options.source):
        parser.error("--smooth and --detect_every work for videos, not for images")
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


def add_film_options(parser: argparse._ArgumentGroup) -> None:
    """Adds the options of videos and cameras."""
    parser.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="follow people through a video, with an id for each (default)",
    )
    parser.add_argument(
        "--detect_every",
        type=int,
        help="find people in every Nth frame of a video and follow their joints in between; 0: in "
        f"the first alone (default: 1, or {SEARCH_EVERY} without --boxes and --detector)",
    )
    parser.add_argument(
        "--smooth", action="store_true", help="smooth joints in time, by the One Euro filter"
    )
    one_euro = smoothing.OneEuro()
    for name, meaning in smoothing.MEANINGS.items():
        default = getattr(one_euro, name)
        text = f"of the filter: {meaning} (default: {default})"
        parser.add_argument(f"--{name}", type=float, default=default, help=text)


def add_box_options(parser: argparse._ArgumentGroup) -> None:
    """Adds the options that say where people are."""
    parser.add_argument(
        "--boxes",
        action="append",
        default=[],
        help="person boxes: a JSON file; x,y,w,h in pixels, repeated for several people; or image",
    )
    parser.add_argument(
        "--category",
        default="",
        help="the category in the JSON file to use, its name or id (default: person)",
    )
    names = ", ".join(detectors.NAMES)
    parser.add_argument(
        "--detector", help=f"what finds people: an ONNX file or its address, or one of {names}"
    )
    parser.add_argument(
        "--box_threshold",
        type=float,
        default=0.3,
        help="skip boxes with lower scores (default: 0.3)",
    )


@dataclasses.dataclass(frozen=True)
class Session:
    """What prediction uses, where its results go, and the problems that it collects."""

    options: argparse.Namespace
    predictor: Predictor
    find_boxes: boxes.FindBoxes
    problems: list[str]
    writer: results.ResultsWriter
    written: list[pathlib.Path]


def predict(options: argparse.Namespace, problems: list[str]) -> None:
    """Predicts the source and writes the output; adds what could not be used to `problems`."""
    is_video = media.is_video(options.source)
    outputs.check_folder(options.output, options.source)
    images = [] if is_video else media.find_images(options.source, exclude=options.output)
    planned = outputs.plan(options.output, media.frame_names(images, options.source))
    others = [options.output / name for name in (RESULTS, TABLE, video_name(options.source))]
    given = [options.source, options.checkpoint, options.detector, options.config, *options.boxes]
    outputs.check(planned, options.output / RESULTS, others, [*images, *filter(None, given)])
    there = written.names_there(options.output)
    if options.heatmaps:
        outputs.check_heatmaps(planned)
    find_boxes = open_boxes(options, images)
    follower_options(options)
    predictor = Predictor(
        options.checkpoint,
        model=options.model,
        config=recipes.read(options.config) if options.config else None,
        flip_test=options.flip_test,
        decode=options.decode,
    )
    print(predictor.describe())
    find_boxes = find_boxes or search.find_boxes(
        predictor,
        predictor.settings.input_size,
        threshold=options.box_threshold,
        is_film=is_video,
    )
    film = reading.open_film(options.source, max_pixels=options.max_pixels) if is_video else None
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output / TABLE if is_video else None
    writer = results.ResultsWriter(
        options.output / RESULTS, table=table, joints=predictor.skeleton.names
    )
    files = [options.output / RESULTS, *([table] if table else [])]
    session = Session(options, predictor, find_boxes, problems, writer, [])
    try:
        if film is not None:
            predict_film(session, film)
        else:
            predict_images(session, images, planned)
    except KeyboardInterrupt:
        problems.append("interrupted")
    finally:
        writer.close()
    print(written.summarize([*session.written, *files], options.output, there))
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


def video_name(source: str) -> str:
    """The name of the video that is drawn."""
    return f"{pathlib.Path(media.video_name(source)).stem}.mp4"


def open_boxes(options: argparse.Namespace, images: list[pathlib.Path]) -> boxes.FindBoxes | None:
    """What finds the person boxes of a frame; None where the network is to search for them."""
    if options.detector:
        detector = detectors.open_detector(options.detector, threshold=options.box_threshold)
        return lambda frame: detector(frame.image)
    if not options.boxes:
        return None
    if options.boxes == ["image"]:
        return boxes.whole_image
    if len(options.boxes) == 1 and options.boxes[0].endswith(".json"):
        return BoxFile(
            options.boxes[0],
            threshold=options.box_threshold,
            category=options.category,
            folder=media.image_folder(options.source),
            names=media.frame_names(images, options.source),
        )
    return boxes.fixed_boxes(options.boxes)


def follower_options(options: argparse.Namespace) -> dict:
    """How people are followed, for `follow.Follower`."""
    searches = not (options.boxes or options.detector)
    every = options.detect_every
    one_euro = smoothing.OneEuro(options.min_cutoff, options.beta, options.d_cutoff)
    follow.check_detect_every(every or 0)
    return {
        "detect_every": (SEARCH_EVERY if searches else 1) if every is None else every,
        "smooth": one_euro if options.smooth else None,
    }


def predict_batch(session: Session, batch: list[Frame]) -> Iterator[tuple[Frame, ImageResults]]:
    """Predicts some images and writes their results; yields each with them."""
    predicted, problems = frames.predict_frames(session.predictor, batch, session.find_boxes)
    session.problems.extend(problems)
    for result in predicted:
        session.writer.add(result)
    yield from zip(batch, predicted, strict=True)


def draw(session: Session, frame: Frame, result: ImageResults) -> np.ndarray:
    """A copy of the frame with its people."""
    skeleton, threshold = session.predictor.skeleton, session.options.threshold
    return frames.draw(frame, result, skeleton, threshold=threshold)


def predict_images(
    session: Session, images: list[pathlib.Path], planned: dict[str, pathlib.Path]
) -> None:
    """Predicts image files and writes them with their people drawn."""
    options = session.options
    limit = {"max_pixels": options.max_pixels}
    pictures = media.read_images(images, options.source, session.problems, **limit)
    people = images_read = 0
    with progress.Progress("predicting", units="images", total=len(images)) as shown:
        while batch := list(itertools.islice(pictures, FRAMES_AT_ONCE)):
            for frame, result in predict_batch(session, batch):
                path = planned[frame.name]
                path.parent.mkdir(parents=True, exist_ok=True)
                visualize.save(draw(session, frame, result), path)
                if options.heatmaps:
                    save_heatmaps(session, frame, result, path)
                session.written.append(path)
                people, images_read = people + len(result.poses.boxes), images_read + 1
            shown.update(len(batch))
    read = sizes.count(images_read, "image", "images")
    print(f"found {sizes.count(people, 'person', 'people')} in {read}")


def save_heatmaps(session: Session, frame: Frame, result: ImageResults, path: pathlib.Path) -> None:
    """Draws each person's heatmaps and saves them next to the image: photo_heatmaps0.jpg, …"""
    if not len(result.poses.boxes):
        return
    crops, heatmaps = session.predictor.heatmaps(frame.image, result.poses.boxes)
    for number, person in enumerate(zip(crops, heatmaps, strict=True)):
        sheet = visualize.draw_heatmaps(*person)
        session.written.append(path.with_name(f"{path.stem}_heatmaps{number}{path.suffix}"))
        visualize.save(sheet, session.written[-1])


def predict_film(session: Session, film: reading.Video | reading.Camera) -> None:
    """Predicts a video or camera stream, follows its people and writes it with them drawn."""
    options = session.options
    follower = follow.Follower(session.predictor.skeleton, **follower_options(options))
    path = options.output / video_name(options.source)
    writer, stopwatch = writing.VideoWriter(path, film.rate), frames.Stopwatch()
    images = itertools.islice(film, options.max_frames)
    # A camera's frames are written as they come, and boxes from joints need the frame before.
    is_live = isinstance(film, reading.Camera)
    at_once = 1 if is_live or follower.detect_every != 1 else FRAMES_AT_ONCE
    number = 0
    try:
        total = film.count or None
        with progress.Progress("predicting", units="frames", total=total) as shown:
            while batch := list(itertools.islice(images, at_once)):
                for frame, result in follow_batch(session, batch, follower, stopwatch):
                    moment = frame.time if is_live else None
                    writer.write(draw(session, frame, result), moment)
                    number += 1
                shown.update(len(batch))
    except KeyboardInterrupt:
        if not is_live:
            raise
        # This is how a camera recording ends.
    finally:
        writer.close()
        film.close()
    if film.problem:
        session.problems.append(film.problem)
    dropped = f", {film.dropped} dropped to keep up with the camera" if film.dropped else ""
    print(f"{number} frames{dropped}; {follower.people} people followed")
    if number:
        print(stopwatch.describe(number, "reading, drawing and writing"))
        session.written.append(path)


def follow_batch(
    session: Session, batch: list[Frame], follower: follow.Follower, stopwatch: frames.Stopwatch
) -> Iterator[tuple[Frame, ImageResults]]:
    """Predicts some frames of a film and writes their results; yields each with them."""
    predicted, problems = frames.follow_frames(
        session.predictor, batch, session.find_boxes, follower, stopwatch
    )
    session.problems.extend(problems)
    if not session.options.track:
        predicted = [results.untracked(result) for result in predicted]
    for result in predicted:
        session.writer.add(result)
    yield from zip(batch, predicted, strict=True)


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
