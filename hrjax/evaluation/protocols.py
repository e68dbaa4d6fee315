"""How an evaluation is done: the choices that make its numbers comparable, or not."""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from data_pipelines import datasets

GROUND_TRUTH = "gt"  # the boxes of an evaluation on annotated people
# How many detections of each image the metrics of benchmarks compare; others compare all.
MAX_PEOPLE = {"coco_ap": 20, "crowdpose_ap": 20}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The choices that the numbers of an evaluation depend on.

    `metric` is one of `metrics.METRICS`. AP compares the `max_people` best detections of each
    image, 0 for all.
    """

    model: str
    dataset: str
    metric: str
    boxes: str
    input_size: tuple[int, int]
    flip_test: bool
    decode: str
    nms: str
    oks_threshold: float
    joint_threshold: float
    box_threshold: float
    clip_boxes: bool
    max_people: int

    @property
    def annotated_boxes(self) -> bool:
        """Whether people are in their annotated boxes, and not in a detector's."""
        return self.boxes == GROUND_TRUTH

    def as_json(self) -> dict:
        """The fields for metrics.json."""
        boxes = "ground truth" if self.annotated_boxes else self.boxes
        return {**dataclasses.asdict(self), "boxes": boxes, "input_size": list(self.input_size)}

    def title(self, split: str, people: int) -> str:
        """One line for tables; `split` has so many `people`."""
        boxes = "ground-truth boxes"
        if not self.annotated_boxes:
            boxes = f"detected boxes ({pathlib.Path(self.boxes).name})"
        flip = "with flip test" if self.flip_test else "without flip test"
        parts = [f"{self.dataset} {split}: {people} people", boxes, flip, f"{self.decode} decoding"]
        if self.metric != "pckh":
            parts.append("without NMS" if self.nms == "none" else f"{self.nms} OKS-NMS")
        return ", ".join(parts)


def from_config(config: ConfigDict) -> Protocol:
    """The protocol that a config describes."""
    section = config.eval
    dataset = section.dataset or config.data.dataset
    metric = section.metrics or datasets.find(dataset).metric
    return Protocol(
        model=config.model.name,
        dataset=dataset,
        metric=metric,
        boxes=section.boxes,
        input_size=tuple(config.data.input_size),
        flip_test=section.flip_test,
        decode=section.decode,
        nms=section.nms,
        oks_threshold=section.oks_threshold,
        joint_threshold=section.joint_threshold,
        box_threshold=section.box_threshold,
        clip_boxes=section.clip_boxes,
        max_people=section.max_people or MAX_PEOPLE.get(metric, 0),
    )
