"""Pose-ResNet on MPII at 256x256: Adam, lr 1e-3, 140 epochs, as in the authors' yaml files.

Published PCKh@0.5 on MPII val, ground-truth boxes (the table of HRNet's README): pose_resnet_50
88.5, pose_resnet_101 89.1. Trained from ImageNet weights with batch 128 on 4 GPUs. The authors'
files leave the channels in OpenCV's order, blue first.

    python -m hrjax.main --config=configs/resnet_mpii.py
    python -m hrjax.main --config=configs/resnet_mpii.py:pose_resnet_101
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default pose_resnet_50."""
    config = common.recipe(variant, default="pose_resnet_50", dataset="mpii", input_size=(256, 256))

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (90, 120)
    config.optimizer.warmup_steps = 0
    config.train.epochs = 140
    config.train.batch_size = 128
    config.train.batch_norm_size = 32
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.data.color = "bgr"
    return config
