"""Pose-ResNet on COCO at 256x192: Adam, lr 1e-3, 140 epochs, as in the authors' yaml files.

Published AP on COCO val2017, boxes of the 56.4-AP person detector (the table of HRNet's README):
pose_resnet_50 70.4 (384x288: 72.2), pose_resnet_101 71.4 (73.6), pose_resnet_152 72.0 (74.3).
Trained from ImageNet weights with batch 128 on 4 GPUs. The authors' files leave the channels in
OpenCV's order, blue first.

    python -m hrjax.main --config=configs/resnet_coco.py
    python -m hrjax.main --config=configs/resnet_coco.py:pose_resnet_152_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default pose_resnet_50."""
    config = common.recipe(variant, default="pose_resnet_50", dataset="coco", input_size=(256, 192))
    large = config.data.input_size == (384, 288)

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (90, 120)
    config.optimizer.warmup_steps = 0
    config.train.epochs = 140
    config.train.batch_size = 128
    config.train.batch_norm_size = 32
    config.augment.scale = 0.3
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.data.color = "bgr"
    return config
