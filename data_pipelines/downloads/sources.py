"""The files of each dataset: where their owners offer them and where they belong on disk."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Source:
    """One archive or file to fetch; any of `proofs`, paths below the root, shows that it is there.

    `address` is empty where the owners want it fetched by hand from `page`; `folder` is where an
    archive of annotation files is unpacked, "" for an archive that brings its own folders.
    """

    name: str
    size: str
    page: str
    proofs: tuple[str, ...]
    address: str = ""
    folder: str = ""

    def is_in(self, root: pathlib.Path) -> bool:
        """Whether it is below the root already."""
        return any((root / proof).exists() for proof in self.proofs)


COCO_PAGE = "http://cocodataset.org/#download"
DETECTIONS = "https://1drv.ms/f/s!AhIXJn_J-blWzzDXoz5BeFl8sWM-"
MPII_PAGE = "http://human-pose.mpi-inf.mpg.de"
MPII_FILES = "https://openmmlab.oss-cn-hangzhou.aliyuncs.com/mmpose/datasets/mpii_annotations.tar"
CROWDPOSE_PAGE = "https://github.com/Jeff-sjtu/CrowdPose"
CROWDPOSE_FILES = "https://download.openmmlab.com/mmpose/datasets/crowdpose_annotations.tar"
OCHUMAN_PAGE = "https://github.com/liruilong940607/OCHumanApi"
SOURCES = {
    "coco": (
        Source(
            *("train2017.zip", "118,287 images, 18 GB", COCO_PAGE),
            proofs=("train2017", "images/train2017"),
        ),
        Source(
            *("val2017.zip", "5,000 images, 1 GB", COCO_PAGE),
            proofs=("val2017", "images/val2017"),
        ),
        Source(
            *("annotations_trainval2017.zip", "241 MB", COCO_PAGE),
            proofs=("annotations/person_keypoints_train2017.json",),
        ),
        Source(
            *("COCO_val2017_detections_AP_H_56_person.json", "the 56.4-AP detector's boxes"),
            page=DETECTIONS,
            proofs=("person_detection_results/COCO_val2017_detections_AP_H_56_person.json",),
        ),
    ),
    "mpii": (
        Source(
            *("mpii_human_pose_v1.tar.gz", "24,984 images, 12.9 GB", MPII_PAGE),
            proofs=("images",),
        ),
        Source(
            *("mpii_annotations.tar", "some 20 MB", MPII_FILES),
            proofs=("annotations/mpii_train.json", "annot/train.json"),
            address=MPII_FILES,
            folder="annotations",
        ),
    ),
    "crowdpose": (
        Source("images.zip", "20,000 images", CROWDPOSE_PAGE, proofs=("images",)),
        Source(
            *("crowdpose_annotations.tar", "some 100 MB", CROWDPOSE_FILES),
            proofs=("annotations/mmpose_crowdpose_trainval.json",),
            address=CROWDPOSE_FILES,
            folder="annotations",
        ),
    ),
    "ochuman": (
        Source("images.zip", "4,731 images", OCHUMAN_PAGE, proofs=("images",)),
        *(
            Source(
                name := f"ochuman_coco_format_{split}_range_0.00_1.00.json",
                "some MB",
                OCHUMAN_PAGE,
                proofs=(f"annotations/{name}",),
            )
            for split in ("val", "test")
        ),
    ),
}
