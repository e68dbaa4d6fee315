"""The base recipe, with every option and its default, and what differs from dataset to dataset."""

import dataclasses

from ml_collections import ConfigDict

from hrjax import models

SPLITS = ("train", "val", "test")


def recipe(variant: str, *, default: str) -> ConfigDict:
    """The base recipe for `variant`: any of `default`'s family, with `_HxW` appended or not.

    An empty `variant` is `default`. `widehrnet_18_se_384x288` is widehrnet_18_se with an input of
    384x288 pixels; without a size, the dataset's own is used.
    """
    name, size = models.split_size(variant or default)
    family = type(models.VARIANTS[default])
    choices = [key for key, value in models.VARIANTS.items() if type(value) is family]
    if name not in choices:
        raise ValueError(
            f"unknown variant {name!r} in --config=…:{variant}; "
            f"choose one of: {', '.join(choices)} (add _HxW for another input size, e.g. _384x288)"
        )
    config = _base()
    config.model = ConfigDict({"name": name, **dataclasses.asdict(models.VARIANTS[name])})
    config.data.input_size = size or config.data.input_size
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


def crowdpose(config: ConfigDict) -> ConfigDict:
    """`config` on CrowdPose: 14 joints, 256x192, trained on trainval, tested on detected boxes."""
    config.data.dataset = "crowdpose"
    config.data.root = "data/crowdpose"
    config.data.input_size = config.data.input_size or (256, 192)
    config.data.train_split = "trainval"
    config.model.num_joints = 14
    config.augment.half_body = 0.3
    config.augment.half_body_joints = 6
    config.eval.split = "test"
    config.eval.boxes = "data/crowdpose/annotations/det_for_crowd_test_0.1_0.5.json"
    return config


def mmpose(config: ConfigDict) -> ConfigDict:
    """`config` with what the recipes built on mmpose 0.x share: a short warm-up, plain MSE."""
    config.loss.factor = 1.0
    config.optimizer.warmup_steps = 500
    return config


def hrnext(config: ConfigDict) -> ConfigDict:
    """`config` with what HRNeXt's recipes share: AdamW, a cosine epoch by epoch, 300 epochs."""
    config.augment.center_shift = 0.3
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if config.data.input_size == (384, 288) else 2.0
    config.optimizer.name = "adamw"
    config.optimizer.lr = 4e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.01
    config.optimizer.by_epoch = True
    config.train.epochs = 300
    config.train.batch_size = 256
    return config


def v2(config: ConfigDict) -> ConfigDict:
    """`config` with what the field has learnt since the papers, instead of what they did.

    Unbiased coding (UDP), AdamW, warm-up and cosine, averaged weights, more augmentation, and more
    epochs to go with it.
    """
    config.heatmap.encoding = "udp"
    config.eval.decode = "udp"
    config.loss.factor = 1.0
    config.augment.half_body = 0.3
    config.augment.center_shift = 0.3
    config.augment.scale = 0.5
    config.augment.rotation = 45.0
    config.augment.color_jitter = 0.2
    config.augment.dropout = 0.5
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.01
    config.optimizer.warmup_steps = 1000
    config.train.epochs = 300
    config.train.ema_decay = 0.9998
    return config


def _base() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.deterministic = False  # the same bits in every run on GPUs too, slower
    config.init_from = ""  # a checkpoint, a file of weights or its address to start from

    config.data = ConfigDict()
    config.data.dataset = ""
    config.data.root = ""
    config.data.input_size = ()  # (height, width) of the crops
    config.data.color = "rgb"  # the order of the network's channels: rgb, bgr
    config.data.train_split = "train"
    config.data.records = False  # whether images are in records (scripts/prepare_data.py build)
    config.data.group_images = False  # people of an image follow each other; it is decoded once
    config.data.workers = 0  # worker processes; 0 = threads of the main process
    config.data.strict = False  # whether one unreadable image ends the run
    config.data.max_unreadable = 0.2  # the share of people with unreadable images that ends it
    # Of the dataset "custom": files in COCO's keypoint format and folders of images, one for each
    # split, below data.root or absolute.
    config.data.annotations = ConfigDict({name: f"annotations/{name}.json" for name in SPLITS})
    config.data.images = ConfigDict(dict.fromkeys(SPLITS, "images"))
    config.data.category = ""  # the category that has the joints, where the file has several
    config.data.skeleton = ConfigDict()  # what the file doesn't say; joints are counted from 0
    config.data.skeleton.names = ()
    config.data.skeleton.flip_pairs = ()  # ((1, 2), …); () = those named left and right
    config.data.skeleton.limbs = ()
    config.data.skeleton.sigmas = ()  # of OKS, one per joint
    config.data.skeleton.upper_body = ()  # joints that half-body augmentation calls the upper half
    config.data.mix = ConfigDict()  # more people to train on; joints are found by their names
    config.data.mix.datasets = ()  # e.g. ("mpii", "crowdpose")
    config.data.mix.roots = ()  # where those are; () = data/mpii, data/crowdpose
    config.data.mix.weights = ()  # of data.dataset and of each of those; () = as they have people
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
    config.augment.draws = "clipped"  # normal draws of scale and rotation; truncated: mmpose 1.x's
    config.augment.shift = 0.16  # of the padded box, times a truncated draw (truncated only)
    config.augment.shift_probability = 0.3  # (truncated only)
    config.augment.color_jitter = 0.0  # brightness, contrast and saturation are multiplied by 1 ±
    config.augment.hue = 0.0  # up to this part of the color circle
    config.augment.blur = 0.0  # probability
    config.augment.dropout = 0.0  # probability that a rectangle of the crop is blacked out

    config.heatmap = ConfigDict()
    config.heatmap.sigma = 2.0  # of the target Gaussian, in heatmap cells
    config.heatmap.encoding = "msra"  # msra, dark, udp (which crops its own way too)

    config.loss = ConfigDict()
    config.loss.factor = 0.5  # 0.5 in HRNet's code, 1.0 in mmpose's
    config.loss.joint_weights = ()  # one per joint; () = all alike
    config.loss.hard_joints = 0  # of each person only as many joints count, the worst; 0 = all

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
    config.train.accumulate = 1  # parts of a batch, computed one after the other to save memory
    config.train.remat = False  # computes blocks again in the backward pass to save memory
    config.train.on_nan = "stop"  # or skip: leave such steps out, up to max_skips of them
    config.train.max_skips = 10

    config.distill = ConfigDict()
    config.distill.teacher = ""  # a run, checkpoint or file of weights to learn from as well
    config.distill.model = ""  # the teacher's variant, where `teacher` is not a run of ours
    config.distill.weight = 0.5  # of the mean squared difference to the teacher's heatmaps
    config.distill.batch_statistics = False  # the teacher's batch norm as in training (Paddle)

    config.eval = ConfigDict()
    config.eval.every_epochs = 10  # 0 = never
    config.eval.dataset = ""  # another dataset than data.dataset to evaluate on, and its root
    config.eval.root = ""
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
    # How many detections of each image AP compares, the best ones; 0 = as usual for the metric: 20
    # for coco_ap and crowdpose_ap, all for keypoints.
    config.eval.max_people = 0

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000
    config.checkpoint.keep = 2  # the last ones; the best is kept besides

    config.log = ConfigDict()
    config.log.every_steps = 50
    return config
