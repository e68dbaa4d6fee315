"""Finds people's joints in pictures, videos or a camera's, draws them and writes them down.

    python scripts/predictor.py --checkpoint=runs/quickstart --source=photo.jpg
    python scripts/predictor.py --checkpoint=hrnet_w32_coco --source=photos --boxes=detections.json
    python scripts/predictor.py --checkpoint=hrnet_w32_coco --source=walk.mp4 --detector=yolox.onnx
    python scripts/predictor.py --checkpoint=hrnet_w32_coco --source=webcam --boxes=100,0,300,480

--boxes takes a JSON of detections in COCO's results format or of COCO annotations, or x,y,w,h, as
often as there are people; without it and without --detector the whole picture is one person's box.
Writes <output>/<name> for each picture or <output>/<name>.mp4, and <output>/results.json in COCO's
format. What cannot be read is listed at the end and makes the exit status 1; the rest is done.
"""

import argparse
import itertools
import json
import logging
import pathlib
import sys

import absl.logging
import cv2
import tqdm

from hrjax import recipes, visualize
from hrjax.prediction import annotate, boxes, media, person_detector
from hrjax.prediction.predictor import Predictor
from hrjax.runtime import compilation_cache, memory
from hrjax.weights.published import PUBLISHED

FRAMES_AT_ONCE = 8
WRITTEN = (".jpg", ".jpeg", ".png")


def main():
    options = parse()
    problems = []
    try:
        predictor = Predictor(
            options.checkpoint,
            model=options.model,
            config=recipes.read(options.config) if options.config else None,
            flip_test=options.flip_test,
            decode=options.decode,
        )
        annotator = annotate.Annotator(
            predictor, open_boxes(options), options.threshold, problems=problems
        )
        options.output.mkdir(parents=True, exist_ok=True)
        try:
            annotate_source(annotator, options)
        except KeyboardInterrupt:
            problems.append("interrupted")
        finally:
            text = json.dumps(annotator.entries) + "\n"
            (options.output / "results.json").write_text(text)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    report(problems)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(PUBLISHED)
    parser.add_argument(
        "--checkpoint",
        required=True,
        help=f"a run, a step of it, converted weights, a file of weights, or one of: {names}",
    )
    parser.add_argument("--source", required=True, help="image, folder, video, webcam, webcam:1")
    parser.add_argument("--model", default="", help="the variant of a file, VARIANT[_HxW]")
    parser.add_argument("--config", help="a recipe instead, FILE.py[:VARIANT[_HxW]]")
    parser.add_argument("--boxes", action="append", default=[], help="a JSON, or x,y,w,h")
    parser.add_argument("--detector", help="an ONNX file of a person detector, e.g. YOLOX's")
    parser.add_argument(
        "--box_threshold", type=float, default=0.3, help="boxes with lower scores are left out"
    )
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("predictions"))
    parser.add_argument(
        "--threshold", type=float, default=0.2, help="joints with lower scores are not drawn"
    )
    parser.add_argument("--heatmaps", action="store_true", help="also a sheet for each person")
    parser.add_argument("--decode", default="", help="argmax, quarter, dark, udp, paddle_dark")
    parser.add_argument(
        "--flip_test", action=argparse.BooleanOptionalAction, help="default: as the recipe has it"
    )
    parser.add_argument("--max_frames", type=int, help="of a video or camera")
    options = parser.parse_args()
    if options.boxes and options.detector:
        parser.error("boxes come from --boxes or from --detector, not from both")
    if options.heatmaps and media.is_video(options.source):
        parser.error("--heatmaps draws pictures, not videos")
    return options


def open_boxes(options):
    """Where people are: a callable of `hrjax.prediction.boxes`."""
    if options.detector:
        detector = person_detector.Detector(options.detector, threshold=options.box_threshold)
        return lambda frame: detector(frame.image)
    if not options.boxes:
        return boxes.whole_image
    if len(options.boxes) == 1 and options.boxes[0].endswith(".json"):
        return boxes.DetectedBoxes(options.boxes[0], threshold=options.box_threshold)
    return boxes.same_boxes(options.boxes)


def annotate_source(annotator, options):
    """Does the job; what fails on the way is in `annotator.problems`."""
    source = pathlib.Path(options.source)
    folder = source.parent if source.is_file() else source
    if folder.absolute() == options.output.absolute():
        raise ValueError(f"the results would replace what is in {folder}; choose another --output")
    if media.is_video(options.source):
        annotate_video(annotator, options)
    else:
        annotate_images(annotator, options)
    found = annotator.find_boxes
    if isinstance(found, boxes.DetectedBoxes) and not found.matched:
        annotator.problems.append(
            f"no box of {options.boxes[0]} with a score of at least {options.box_threshold} "
            f"belongs to {options.source}: file names and image ids differ, or nobody was found"
        )


def annotate_images(annotator, options):
    files = media.find_images(options.source, leave_out=options.output)
    frames = media.read_images(files, options.source, annotator.problems)
    with tqdm.tqdm(total=len(files), unit="image") as bar:
        while batch := list(itertools.islice(frames, FRAMES_AT_ONCE)):
            for frame, (picture, people) in zip(batch, annotator(batch), strict=True):
                path = options.output / frame.name
                if path.suffix.lower() not in WRITTEN:
                    path = path.with_name(f"{path.name}.jpg")
                path.parent.mkdir(parents=True, exist_ok=True)
                visualize.save(picture, path)
                if options.heatmaps:
                    save_heatmaps(annotator.predictor, frame, people.boxes, path)
            bar.update(len(batch))
        bar.update(len(files) - bar.n)  # those that could not be read


def save_heatmaps(predictor, frame, found, path):
    """Writes a sheet of each person's heatmaps beside the picture: photo_heatmaps0.jpg, …"""
    if not len(found):
        return
    crops, maps = predictor.heatmaps(frame.image, found)
    for number, person in enumerate(zip(crops, maps, strict=True)):
        sheet = visualize.draw_heatmaps(*person)
        visualize.save(sheet, path.with_name(f"{path.stem}_heatmaps{number}{path.suffix}"))


def annotate_video(annotator, options):
    video = media.Video(options.source)
    path = options.output / f"{pathlib.Path(video.name).stem}.mp4"
    writer = media.VideoWriter(path, video.rate)
    frames = itertools.islice(video, options.max_frames)
    at_once = FRAMES_AT_ONCE if video.count else 1  # a camera's are shown as they come
    try:
        with tqdm.tqdm(total=video.count or None, unit="frame") as bar:
            while batch := list(itertools.islice(frames, at_once)):
                for picture, _ in annotator(batch):
                    writer.write(picture)
                bar.update(len(batch))
    except KeyboardInterrupt:
        if video.count:
            raise
        # That is how a camera's film ends.
    finally:
        writer.close()
        video.close()
    if video.problem:
        annotator.problems.append(video.problem)


def report(problems):
    """Lists the problems and ends with status 1 if there are any."""
    if problems:
        shown = "\n  ".join(problems[:50])
        more = f"\n  … and {len(problems) - 50} more" if len(problems) > 50 else ""
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        sys.exit(f"error: {count}:\n  {shown}{more}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)
    # What OpenCV says of broken files is said better in the list at the end.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    memory.keep_freed_memory()
    compilation_cache.use_compilation_cache()
    main()
