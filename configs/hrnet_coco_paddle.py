"""HRNet on COCO at 256x192 as in Paddle's HRNet-Keypoint: Adam, lr 5e-4, 210 epochs.

Published AP on COCO val2017, ground-truth boxes (the table of Paddle's README): hrnet_w32 76.9.
Figures with a detector's boxes are lower. Trained from ImageNet weights with batch 64 per GPU.

    python -m hrjax.main --config=configs/hrnet_coco_paddle.py
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnet_w32."""
    config = common.recipe(variant, default="hrnet_w32", dataset="coco", input_size=(256, 192))

    config.optimizer.name = "adam"
    config.optimizer.lr = 5e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 1000
    config.train.epochs = 210
    config.train.batch_size = 64
    config.train.batch_norm_size = 64
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 2.0

    config.augment.half_body = 0.3
    return config
