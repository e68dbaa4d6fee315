"""The base recipe, with every option and its default, and what differs from dataset to dataset."""

import dataclasses
import re

from ml_collections import ConfigDict

from hrjax import models


def recipe(variant: str, *, default: str) -> ConfigDict:
    """The base recipe for `variant`: any of `default`'s family, with `_HxW` appended or not.

    An empty `variant` is `default`. `widehrnet_18_se_384x288` is widehrnet_18_se with an input of
    384x288 pixels; without a size, the dataset's own is used.
    """
    name, height, width = re.fullmatch(r"(.*?)(?:_(\d+)x(\d+))?", variant or default).groups()
    family = type(models.VARIANTS[default])
    choices = [key for key, value in models.VARIANTS.items() if type(value) is family]
    if name not in choices:
        raise ValueError(
            f"unknown variant {name!r} in --config=…:{variant}; "
            f"choose one of: {', '.join(choices)} (add _HxW for another input size, e.g. _384x288)"
        )
    config = _base()
    config.model = ConfigDict({"name": name, **dataclasses.asdict(models.VARIANTS[name])})
    if height:
        config.data.input_size = (int(height), int(width))
    return config


def mpii(config: ConfigDict) -> ConfigDict:
    """`config` on MPII: 16 joints, 256x256, the references' augmentation, PCKh."""
    config.data.dataset = "mpii"
    config.data.root = "data/mpii"
    config.data.input_size = config.data.input_size or (256, 256)
    config.model.num_joints = 16
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    return config


def coco(config: ConfigDict) -> ConfigDict:
    """`config` on COCO: 17 joints, 256x192, half-body augmentation, AP by pycocotools."""
    config.data.dataset = "coco"
    config.data.root = "data/coco"
    config.data.input_size = config.data.input_size or (256, 192)
    config.model.num_joints = 17
    config.augment.half_body = 0.3
    return config


def mmpose(config: ConfigDict) -> ConfigDict:
    """`config` with what the recipes built on mmpose 0.x share: a short warm-up, plain MSE."""
    config.loss.factor = 1.0
    config.optimizer.warmup_steps = 500
    return config


def _base() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.init_from = ""  # a checkpoint, a file of weights or its address to start from

    config.data = ConfigDict()
    config.data.dataset = ""
    config.data.root = ""
    config.data.input_size = ()  # (height, width) of the crops
    config.data.color = "rgb"  # the order of the network's channels: rgb, bgr
    config.data.train_split = "train"
    config.data.workers = 0  # worker processes; 0 = threads of the main process
    config.data.strict = False  # whether one unreadable image ends the run
    config.data.max_unreadable = 0.2  # the share of people with unreadable images that ends it
    config.data.draw = ConfigDict()  # draw people into data.root before the run
    config.data.draw.train_images = 0  # 0 = use the files that are there
    config.data.draw.val_images = 0
    config.data.draw.seed = 0

    config.augment = ConfigDict()
    config.augment.flip = 0.5  # probability
    config.augment.half_body = 0.0  # probability
    config.augment.half_body_joints = 8  # only people with more visible joints than this
    config.augment.center_shift = 0.0  # probability
    config.augment.scale = 0.25  # size is multiplied by 1 ± scale
    config.augment.rotation = 30.0  # standard deviation, degrees
    config.augment.rotation_probability = 0.6

    config.heatmap = ConfigDict()
    config.heatmap.sigma = 2.0  # of the target Gaussian, in heatmap cells
    config.heatmap.encoding = "msra"  # msra, dark, udp (which crops its own way too)

    config.loss = ConfigDict()
    config.loss.factor = 0.5  # 0.5 in HRNet's code, 1.0 in mmpose's

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # adam, adamw, sgd
    config.optimizer.lr = 1e-3
    config.optimizer.lr_base_batch = 0  # lr is scaled by batch_size / lr_base_batch; 0 = never
    config.optimizer.weight_decay = 0.0  # adamw and sgd
    config.optimizer.momentum = 0.9  # sgd
    config.optimizer.schedule = "step"  # step, cosine
    config.optimizer.milestones = (170, 200)  # epochs at which a step schedule multiplies by decay
    config.optimizer.decay = 0.1
    config.optimizer.final_factor = 0.0  # of lr, at the end of a cosine
    config.optimizer.by_epoch = False  # whether a cosine stays the same within an epoch
    config.optimizer.warmup_steps = 0
    config.optimizer.warmup_factor = 0.001  # of lr, at the first step

    config.train = ConfigDict()
    config.train.epochs = 210
    config.train.batch_size = 32  # of all devices together
    config.train.dtype = "float32"  # float32, bfloat16
    config.train.matmul_precision = "default"  # of float32 on accelerators: default, high, highest
    config.train.ema_decay = 0.0  # of the weights' moving average; 0 = none

    config.eval = ConfigDict()
    config.eval.every_epochs = 10  # 0 = never
    config.eval.split = "val"
    config.eval.boxes = "gt"  # gt (annotated), or a JSON of detections in COCO's results format
    config.eval.box_threshold = 0.0  # detections with lower scores are left out
    config.eval.clip_boxes = False  # annotated boxes as the references clip them, 1 pixel smaller
    config.eval.metrics = ""  # coco_ap, crowdpose_ap, pckh, keypoints; "" = the dataset's own
    config.eval.batch_size = 32
    config.eval.flip_test = True
    config.eval.decode = "quarter"  # argmax, quarter, dark, udp, paddle_dark
    config.eval.report = False  # whether report.html explains what went wrong where
    config.eval.fold_batch_norm = True  # into the convolutions: faster, equal but for rounding
    config.eval.nms = "hard"  # hard, soft, none: what OKS metrics do about people found twice
    config.eval.oks_threshold = 0.9  # of two people more alike, one is dropped; soft: how fast
    config.eval.joint_threshold = 0.2  # joints with lower scores don't count in a person's score

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000
    config.checkpoint.keep = 2  # the last ones; the best is kept besides

    config.log = ConfigDict()
    config.log.every_steps = 50
    return config
