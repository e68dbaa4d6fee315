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
AP10K_PAGE = "https://github.com/AlexTheBad/AP-10K"
ANIMAL_POSE_PAGE = "https://sites.google.com/view/animal-pose"
HALPE_PAGE = "https://github.com/Fang-Haoshu/Halpe-FullBody"
WHOLEBODY_PAGE = "https://github.com/jin-s13/COCO-WholeBody"
AIC_PAGE = "https://github.com/AIChallenger/AI_Challenger_2017"
HUMAN_ART_PAGE = "https://idea-research.github.io/HumanArt"
JHMDB_PAGE = "http://jhmdb.is.tue.mpg.de/dataset"
POSETRACK_PAGE = "https://posetrack.net"


def _annotations(name, proof):
    """The annotations of a dataset as mmpose offers them in COCO's format."""
    address = f"https://download.openmmlab.com/mmpose/datasets/{name}_annotations.tar"
    return Source(
        *(f"{name}_annotations.tar", "annotations in COCO's format", address),
        proofs=(proof,),
        address=address,
        folder="annotations",
    )


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
    "ap10k": (
        Source(
            "ap-10k.zip", "10,015 images and annotations", AP10K_PAGE, proofs=("data", "images")
        ),
        Source(
            *("ap10k-train-split1.json", "annotations of all splits, in the archive", AP10K_PAGE),
            proofs=("annotations/ap10k-train-split1.json",),
        ),
    ),
    "animalpose": (
        Source(
            *("images of VOC2012 and animalpose_image_part2", "4,600 images", ANIMAL_POSE_PAGE),
            proofs=("VOC2012", "animalpose_image_part2", "images"),
        ),
        _annotations("animalpose", "annotations/animalpose_train.json"),
    ),
    "halpe26": (
        Source(
            *("hico_20160224_det.tar.gz", "38,000 images, 7 GB", HALPE_PAGE),
            proofs=("hico_20160224_det/images/train2015",),
        ),
        Source("val2017.zip", "5,000 images, 1 GB", COCO_PAGE, proofs=("val2017",)),
        *(
            Source(
                name := f"halpe_{split}_v1.json",
                "some 100 MB",
                HALPE_PAGE,
                proofs=(f"annotations/{name}",),
            )
            for split in ("train", "val")
        ),
    ),
    "coco_wholebody": (
        *(
            Source(
                *(f"{split}2017.zip", "COCO's images", COCO_PAGE),
                proofs=(f"{split}2017", f"images/{split}2017"),
            )
            for split in ("train", "val")
        ),
        *(
            Source(
                name := f"coco_wholebody_{split}_v1.0.json",
                "some 100 MB",
                WHOLEBODY_PAGE,
                proofs=(f"annotations/{name}",),
            )
            for split in ("train", "val")
        ),
    ),
    "aic": (
        *(
            Source(
                name := f"ai_challenger_keypoint_{split}",
                "images",
                AIC_PAGE,
                proofs=(name, "images"),
            )
            for split in ("train_20170902", "validation_20170911")
        ),
        _annotations("aic", "annotations/aic_train.json"),
    ),
    "humanart": (
        Source(
            *("HumanArt.zip", "50,000 images and annotations", HUMAN_ART_PAGE),
            proofs=("HumanArt/annotations/training_humanart.json",),
        ),
    ),
    "jhmdb": (
        Source("Rename_Images.tar.gz", "31,838 frames", JHMDB_PAGE, proofs=("Rename_Images",)),
        _annotations("jhmdb", "annotations/Sub1_train.json"),
    ),
    "posetrack18": (
        Source("posetrack18_images.tar", "frames, 70 GB", POSETRACK_PAGE, proofs=("images",)),
        _annotations("posetrack18", "annotations/posetrack18_train.json"),
    ),
}
