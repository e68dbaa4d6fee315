"""The base of every recipe: all fields of a config with their units, choices and defaults."""

import dataclasses

from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.messages import choices
from hrjax import models


def recipe(variant: str, *, default: str, dataset: str, input_size: tuple[int, int]) -> ConfigDict:
    """The base recipe for `variant` on `dataset`, locked, so that a misspelled field is an error.

    `variant` is any network of `default`'s family, or empty for `default` itself. `_HxW` appended
    to it replaces `input_size` (height, width): hrnet_w48_384x288. Joints, splits and the default
    folder of the dataset come from `datasets.DATASETS`.
    """
    name, size = models.split_size(variant or default)
    family = type(models.VARIANTS[default])
    known = [key for key, value in models.VARIANTS.items() if type(value) is family]
    if name not in known:
        raise ValueError(
            f"unknown variant {name!r} in --config=…:{variant}; {choices.advice(name, known)} "
            "(append _HxW for another input size, height x width as in the papers, e.g. _384x288)"
        )
    entry = datasets.find(dataset)
    config = _base()
    config.model = ConfigDict({"name": name, **dataclasses.asdict(models.VARIANTS[name])})
    if entry.skeleton is not None:
        config.model.num_joints = entry.skeleton.num_joints
    config.data.dataset, config.data.root = dataset, entry.root
    config.data.train_split, config.eval.split = entry.train_split, entry.eval_split
    config.data.input_size = size or input_size
    return config.lock()


def evaluate_on(config: ConfigDict, dataset: str) -> ConfigDict:
    """`config`, evaluated on another dataset than the one it trains on."""
    entry = datasets.find(dataset)
    config.eval.dataset, config.eval.root = dataset, entry.root
    config.eval.split = entry.eval_split
    return config


def v2(config: ConfigDict) -> ConfigDict:
    """`config` with techniques that are newer than the papers.

    Unbiased coordinates (UDP), weight decay, averaged weights and more augmentation. The recipes
    that use it also choose AdamW, a cosine, a longer warm-up and more epochs.
    """
    config.heatmap.encoding = "udp"
    config.eval.decode = "udp"
    config.loss.factor = 1.0
    config.augment.half_body = 0.3
    config.augment.center_shift = 0.3
    config.augment.color_jitter = 0.2
    config.augment.dropout = 0.5
    config.optimizer.weight_decay = 0.01
    config.train.ema_decay = 0.9998
    return config


def _base() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # of initial weights, drop path, augmentation and the order of people
    config.deterministic = False  # True: GPUs repeat a run bit for bit, at some cost in speed
    # Weights to start from: a run, a checkpoint, or a file of weights or its https address.
    config.init_from = ""  # "": random weights
    for add_section in (_data, _augment, _loss, _optimizer, _train, _eval):
        add_section(config)
    return config


def _data(config):
    config.data = ConfigDict()
    config.data.dataset = ""  # coco, mpii, crowdpose, ochuman, custom
    config.data.root = ""  # the folder with the dataset's files
    config.data.input_size = ()  # (height, width) of the crops in pixels
    config.data.color = "rgb"  # the channel order of the network's input: rgb, bgr
    config.data.train_split = "train"  # the split to train on
    config.data.records = False  # True: images come from records (scripts/prepare_data.py build)
    config.data.group_images = False  # True: people of one image come together, decoded once
    config.data.workers = 0  # processes that read and augment; 0: threads of the main process
    config.data.strict = False  # True: an unreadable image ends the run; False: it is masked
    config.data.max_unreadable = 0.2  # fraction of people with unreadable images that ends the run
    config.data.max_pixels = 178_956_970  # of an image that is decoded; larger ones are unreadable
    # For the dataset "custom": annotation files in COCO's keypoint format and image folders, one
    # per split, absolute or relative to data.root.
    config.data.annotations = ConfigDict(
        {
            "train": "annotations/train.json",
            "val": "annotations/val.json",
            "test": "annotations/test.json",
        }
    )
    config.data.images = ConfigDict({"train": "images", "val": "images", "test": "images"})
    config.data.category = ""  # the category to learn; "": the only one that has joints
    # The joints of "custom", numbered from 0. What is empty comes from the annotation file or
    # follows from the names of the joints.
    config.data.skeleton = ConfigDict()
    config.data.skeleton.names = ()
    config.data.skeleton.flip_pairs = ()  # ((1, 2), …); (): joints named left and right
    config.data.skeleton.limbs = ()  # ((0, 1), …), lines to draw
    config.data.skeleton.sigmas = ()  # one per joint, for OKS
    config.data.skeleton.upper_body = ()  # the upper half in half-body augmentation: (0, 1, …)
    config.data.mix = ConfigDict()  # more datasets to train on; joints are matched by name
    config.data.mix.datasets = ()  # ("mpii", "crowdpose"); (): none
    config.data.mix.roots = ()  # their folders; (): each dataset's default
    # Shares of a batch in any unit: data.dataset first, then each of mix.datasets.
    config.data.mix.weights = ()  # (): in proportion to their numbers of people
    config.data.draw = ConfigDict()  # draws synthetic people into data.root before the run
    config.data.draw.train_images = 0  # 0: nothing is drawn
    config.data.draw.val_images = 0
    config.data.draw.seed = 0


def _augment(config):
    config.augment = ConfigDict()
    config.augment.flip = 0.5  # probability of a mirror image
    config.augment.half_body = 0.0  # probability of a box around the upper or lower body alone
    config.augment.half_body_joints = 8  # only for people with more visible joints than this
    config.augment.center_shift = 0.0  # probability of moving the box by up to a fifth of its size
    config.augment.scale = 0.25  # the box is multiplied by 1 + scale * a normal draw
    config.augment.rotation = 30.0  # degrees, multiplied by a normal draw
    config.augment.rotation_probability = 0.6
    # The normal draws: clipped (scale to ±1, rotation to ±2, as in HRNet) or truncated (all to ±1
    # and a shift of the box as well, as in mmpose 1.x).
    config.augment.draws = "clipped"
    config.augment.shift = 0.16  # fraction of the padded box, times a draw; truncated only
    config.augment.shift_probability = 0.3  # truncated only
    config.augment.color_jitter = 0.0  # brightness, contrast and saturation vary by this fraction
    config.augment.hue = 0.0  # hues turn by up to this fraction of the color circle
    config.augment.blur = 0.0  # probability of a Gaussian blur
    config.augment.dropout = 0.0  # probability of blacking out a rectangle


def _loss(config):
    config.heatmap = ConfigDict()
    config.heatmap.sigma = 2.0  # of the target Gaussian, in heatmap cells
    # How joints become heatmaps: msra, dark, udp (which also aligns crops and the flip test).
    config.heatmap.encoding = "msra"

    config.loss = ConfigDict()
    config.loss.factor = 0.5  # of the mean squared error: 0.5 in HRNet's code, 1.0 in mmpose
    config.loss.joint_weights = ()  # one per joint; (): 1 for each
    config.loss.hard_joints = 0  # counts only this many joints per person, the worst; 0: all

    config.distill = ConfigDict()
    config.distill.teacher = ""  # a run, a checkpoint or a file of weights to learn from; "": none
    config.distill.model = ""  # the teacher's variant; "": as recorded in its run
    config.distill.weight = 0.5  # multiplies the mean squared difference to the teacher's heatmaps
    # True: the teacher's batch norm uses the statistics of the batch, as in Paddle.
    config.distill.batch_statistics = False


def _optimizer(config):
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # adam, adamw, sgd
    config.optimizer.lr = 1e-3  # the peak learning rate
    # The batch size that lr is meant for: lr is multiplied by train.batch_size / lr_base_batch.
    config.optimizer.lr_base_batch = 0  # 0: lr is used as is
    config.optimizer.weight_decay = 0.0  # adamw and sgd only
    config.optimizer.momentum = 0.9  # sgd only
    config.optimizer.backbone_factor = 1.0  # multiplies lr of the backbone: stem and stages
    config.optimizer.schedule = "step"  # step, cosine
    config.optimizer.milestones = (170, 200)  # step: the epochs after which lr falls
    config.optimizer.decay = 0.1  # step: multiplies lr at each milestone
    config.optimizer.final_factor = 0.0  # cosine: where it ends, as a fraction of lr
    config.optimizer.by_epoch = False  # cosine: True: lr changes once per epoch, not at each step
    config.optimizer.warmup_steps = 0  # steps of linear warm-up; 0: none
    # The longest warm-up as a share of the run, which cuts warmup_steps short on small datasets.
    config.optimizer.warmup_limit = 1.0
    config.optimizer.warmup_factor = 0.001  # where warm-up starts, as a fraction of lr


def _train(config):
    config.train = ConfigDict()
    config.train.epochs = 210
    config.train.batch_size = 32  # people per step, on all devices together
    # People whose statistics batch norm uses together, as those of one GPU in the references; the
    # groups do not depend on the number of devices. 0: the whole batch.
    config.train.batch_norm_size = 0
    # What the network computes in: float32, bfloat16, float64 (with JAX_ENABLE_X64=1).
    config.train.dtype = "float32"
    # Of float32 matrix products on accelerators: default, high, highest.
    config.train.matmul_precision = "default"
    config.train.ema_decay = 0.0  # per step, of averaged weights, which evaluation uses; 0: none
    config.train.accumulate = 1  # microbatches per batch, one after another to save memory
    config.train.remat = False  # True: recomputes blocks in the backward pass to save memory
    # What batch norm normalizes by: batch (the people that it sees), running (the statistics of the
    # weights that the run starts from, which stay as they are).
    config.train.batch_norm = "batch"
    # The parts of the backbone that keep their weights and batch statistics: 1: the stem, 2: the
    # stem and the first stage, … 0: none.
    config.train.freeze = 0
    # Evaluations in a row without a better score that end the run; 0: it never ends early.
    config.train.patience = 0
    config.train.on_nan = "stop"  # a loss or weights of NaN: stop, skip (leave the step out)
    config.train.max_skips = 10  # skip: more skipped steps than this end the run

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000
    config.checkpoint.keep = 2  # the latest ones; the best one is kept as well

    config.log = ConfigDict()
    config.log.every_steps = 50
    # Places that get the log as well; their packages are extras of the same names.
    config.log.wandb = ""  # PROJECT or ENTITY/PROJECT of Weights & Biases; "": none
    config.log.mlflow = ""  # an experiment of MLflow, at MLFLOW_TRACKING_URI; "": none


def _eval(config):
    config.eval = ConfigDict()
    config.eval.every_epochs = 10  # 0: never during training
    config.eval.dataset = ""  # a dataset other than data.dataset to evaluate on; "": the same
    config.eval.root = ""  # the folder of eval.dataset
    config.eval.split = "val"
    config.eval.boxes = "gt"  # gt (ground truth), or a JSON file of detections in COCO's format
    config.eval.box_threshold = 0.0  # detections with lower scores are ignored
    config.eval.clip_boxes = False  # True: ground-truth boxes lose a pixel, as in the references
    # coco_ap, crowdpose_ap, pckh, keypoints, jhmdb, posetrack.
    config.eval.metrics = ""  # "": the dataset's own
    config.eval.batch_size = 32  # people per step, on all devices together
    config.eval.flip_test = True  # averages the heatmaps of the crop and its mirror image
    # How heatmaps become joints: argmax, quarter, dark, udp, paddle_dark.
    config.eval.decode = "quarter"
    config.eval.report = False  # True: writes report.html, which explains the errors
    config.eval.fold_batch_norm = True  # into convolutions: faster, equal up to rounding
    config.eval.dtype = "float32"  # or bfloat16, for accelerators; see docs/evaluation.md
    config.eval.nms = "hard"  # OKS-NMS of people detected twice: hard, soft, none
    # hard: the OKS above which the lower-scored of two people is dropped; soft: scores are
    # multiplied by exp(-OKS² / oks_threshold).
    config.eval.oks_threshold = 0.9
    config.eval.joint_threshold = 0.2  # joints scored lower do not count in a person's score
    # How many detections of each image AP compares, the best ones; 0: as usual for the metric, 20
    # for coco_ap and crowdpose_ap, all for the others.
    config.eval.max_people = 0
