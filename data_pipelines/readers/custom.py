"""Your own dataset: any files in COCO's keypoint format, with any joints.

By default, below the root: annotations/{train,val,test}.json and their images in images. Columns
beside the example's: those of `people`.
"""

import logging
import math
import pathlib

from data_pipelines import coco_json, skeletons, splits
from data_pipelines.ground_truth import Category
from data_pipelines.messages import choices
from data_pipelines.readers import joint_names, people
from data_pipelines.readers.request import Joints, Request
from data_pipelines.skeletons import Skeleton

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
HELP = """A custom dataset wants files in COCO's keypoint format: below its root
annotations/{train,val,test}.json and images, or wherever config.data.annotations.<split> and
config.data.images.<split> say."""
# Of OKS, for joints that our datasets lack; COCO's go from 0.025 (eyes) to 0.107 (hips).
SIGMA = 0.05
MOST_JOINTS = 1000  # whole bodies with hands and faces have 133


def read(request: Request) -> splits.Split:
    """The people (or hands, or animals) of one split, in annotated boxes or in a detector's."""
    if request.split not in SPLITS:
        raise ValueError(
            f"unknown split {request.split!r} of a custom dataset; "
            f"{choices.advice(request.split, SPLITS)}"
        )
    annotations = request.annotations or f"annotations/{request.split}.json"
    path = splits.find(request.root, [annotations], HELP)
    folder = splits.find_images(request.root, [request.images or "images"], HELP)

    def skeleton(path: pathlib.Path, category: Category) -> Skeleton:
        return make_skeleton(path, category, request.joints)

    return people.read(request, path, folder, skeleton, category=request.category)


def make_skeleton(path: pathlib.Path, category: Category, joints: Joints) -> Skeleton:
    """The skeleton of a category: `joints` where they say something, else what the file says.

    Joints called left_… and right_… (or L…, …_l and so on) are each other's mirror images, unless
    the category has `flip_pairs`. Sigmas of joints that COCO has are COCO's, of others SIGMA.
    """
    names = joints.names or _names(path, category)
    _check_joints(path, names, joints)
    _warn_of_another_order(path, category, names)
    known = dict(zip(skeletons.COCO.names, skeletons.COCO.sigmas, strict=True))
    known |= dict(zip(skeletons.CROWDPOSE.names, skeletons.CROWDPOSE.sigmas, strict=True))
    guessed = [name for name in names if name not in known]
    if guessed and not joints.sigmas:
        logger.info("OKS with sigma %g for: %s", SIGMA, ", ".join(guessed))
    flip_pairs = joints.flip_pairs or _flip_pairs(path, category, names)
    flip_pairs = flip_pairs or joint_names.mirrored_names(names)
    lonely = joint_names.unpaired(names, flip_pairs)
    if lonely:
        logger.warning(
            "%s: joints are named for the left and the right but have no pair, so that mirrored "
            "images teach them wrongly: %s; say in config.data.skeleton.flip_pairs which belong "
            "together",
            *(path, ", ".join(lonely)),
        )
    return Skeleton(
        names=names,
        flip_pairs=flip_pairs,
        limbs=joints.limbs or _limbs(path, category, names),
        sigmas=joints.sigmas or tuple(known.get(name, SIGMA) for name in names),
        upper_body=joints.upper_body or joint_names.upper_body(names),
    )


def _warn_of_another_order(path, category, names):
    """Warns where the file has the joints in another order than the config, or a trained model."""
    own = category.fields.get("keypoints")
    if isinstance(own, list) and tuple(own) != names and sorted(map(str, own)) == sorted(names):
        logger.warning(
            "%s has the joints %s; config.data.skeleton.names, which is used, has them in another "
            "order: %s",
            *(path, ", ".join(map(str, own)), ", ".join(names)),
        )


def _names(path, category):
    names = category.fields.get("keypoints")
    if not names and names != 0:
        raise ValueError(
            f"{path}: the category {category.name!r} doesn't name its joints (a list 'keypoints'); "
            "name them there or in config.data.skeleton.names"
        )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{path}: keypoints of the category {category.name!r} is {coco_json.shown(names)}; "
            "expected a list of the joints' names, or name them in config.data.skeleton.names"
        )
    if len(names) > MOST_JOINTS:
        raise ValueError(
            f"{path}: the category {category.name!r} has {len(names)} joints; expected at most "
            f"{MOST_JOINTS}"
        )
    return tuple(names)


def _flip_pairs(path, category, names):
    """The category's pairs of joints, by their own names, that change places in mirrored images."""
    pairs = category.fields.get("flip_pairs") or []
    own = category.fields.get("keypoints") or []
    good = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(joint in own for joint in pair)
        for pair in pairs
    )
    paired = [joint for pair in pairs for joint in pair] if good else []
    if not good or len(set(paired)) != len(paired):
        raise ValueError(
            f"{path}: flip_pairs of the category {category.name!r} is {coco_json.shown(pairs)}; "
            "expected pairs of its joints' names, each joint once"
        )
    if len(own) != len(names):
        return ()
    # By place, since config.data.skeleton.names may call the joints otherwise.
    places = tuple((own.index(a), own.index(b)) for a, b in pairs)
    wrong = joint_names.contradicting_pairs(names, places)
    if wrong:
        logger.warning(
            "%s: flip_pairs of the category %r, which are used, contradict the joints' names: %s; "
            "set config.data.skeleton.flip_pairs if the names are right",
            *(path, category.name, ", ".join(wrong)),
        )
    return places


def _limbs(path, category, names):
    """The category's limbs, pairs of joints counted from 1 or called by their names.

    Files made from COCO's, like CrowdPose's, carry COCO's limbs, which are of no use: with limbs
    of joints that the category lacks, it has none.
    """
    limbs = category.fields.get("skeleton") or []
    numbers = {name: joint for joint, name in enumerate(names, start=1)}
    pairs = isinstance(limbs, list) and all(
        isinstance(limb, list)
        and len(limb) == 2
        and all(type(x) in (int, float, str) for x in limb)
        for limb in limbs
    )
    if not pairs:
        raise ValueError(
            f"{path}: skeleton of the category {category.name!r} is {coco_json.shown(limbs)}; "
            "expected pairs of joints, by their numbers from 1 or by their names"
        )
    joints = [tuple(numbers.get(joint, joint) for joint in limb) for limb in limbs]
    if not {joint for limb in joints for joint in limb} <= set(range(1, len(names) + 1)):
        logger.warning(
            "the category %r has limbs of joints that it lacks; none of its limbs are drawn "
            "(config.data.skeleton.limbs says which there are)",
            category.name,
        )
        return ()
    return tuple((int(a) - 1, int(b) - 1) for a, b in joints)


def _check_joints(path: pathlib.Path, names: tuple[str, ...], joints: Joints) -> None:
    """Raises ValueError where the config's fields do not fit the joints or each other."""
    if joints.sigmas and len(joints.sigmas) != len(names):
        raise ValueError(
            f"config.data.skeleton.sigmas has {len(joints.sigmas)} numbers for the {len(names)} "
            f"joints of {path}"
        )
    wrong = [x for x in joints.sigmas if type(x) not in (int, float) or not 0 < x < math.inf]
    if wrong:
        raise ValueError(
            f"config.data.skeleton.sigmas holds {wrong[0]!r}; OKS needs a number above 0 of "
            "every joint (COCO's go from 0.025 to 0.107)"
        )
    for name in ("flip_pairs", "limbs"):
        pairs = getattr(joints, name)
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            raise ValueError(
                f"config.data.skeleton.{name} is {pairs}; expected pairs of joints, e.g. ((1, 2),)"
            )
    numbers = (*sum(joints.flip_pairs, ()), *sum(joints.limbs, ()), *joints.upper_body)
    unknown = [x for x in numbers if type(x) is not int or not 0 <= x < len(names)]
    if unknown:
        raise ValueError(
            f"config.data.skeleton names the joint {unknown[0]!r}; {path} has {len(names)}, "
            "counted from 0"
        )
    _check_pairs(names, joints.flip_pairs)


def _check_pairs(names, flip_pairs):
    paired = sum(flip_pairs, ())
    twice = [joint for joint in dict.fromkeys(paired) if paired.count(joint) > 1]
    if twice:
        raise ValueError(
            f"config.data.skeleton.flip_pairs has the joint {twice[0]} ({names[twice[0]]}) more "
            "than once; a joint changes places with one other"
        )
    wrong = joint_names.contradicting_pairs(names, flip_pairs)
    if wrong:
        raise ValueError(
            f"config.data.skeleton.flip_pairs doesn't match the joints' names: {', '.join(wrong)}"
        )
