"""Lite-HRNet on COCO at 256x192 as in Paddle's HRNet-Keypoint: Adam, lr 2e-3, 210 epochs.

Published AP on COCO val2017, ground-truth boxes (the table of Paddle's README): litehrnet_30 69.4.
Figures with a detector's boxes are lower. Trained from scratch with batch 64 per GPU.

    python -m hrjax.main --config=configs/litehrnet_coco_paddle.py
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default litehrnet_30."""
    config = common.recipe(variant, default="litehrnet_30", dataset="coco", input_size=(256, 192))

    config.optimizer.name = "adam"
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 64
    config.train.batch_norm_size = 64
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.augment.half_body = 0.3
    config.loss.factor = 1.0
    return config
