"""Lite-HRNet on COCO, distilled from HRNet-W32 as in Paddle's HRNet-Keypoint.

Published AP on COCO val2017, ground-truth boxes (the table of Paddle's README): litehrnet_30 69.4
without a teacher and 69.9 with one, an HRNet-W32 of AP 76.9. Here the teacher is the run of
configs/hrnet_coco.py; any other run, checkpoint or file of weights works too:

    python -m hrjax.main --config=configs/litehrnet_coco_distilled.py
    python -m hrjax.main --config=configs/litehrnet_coco_distilled.py \\
        --config.distill.teacher=hrnet_w32_256x192.pdparams

Paddle's teacher runs in training mode; --config.distill.batch_statistics reproduces that.
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default litehrnet_30."""
    config = common.recipe(variant, default="litehrnet_30", dataset="coco", input_size=(256, 192))
    large = config.data.input_size == (384, 288)

    config.optimizer.name = "adam"
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 512
    config.train.batch_norm_size = 64
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.augment.half_body = 0.3
    config.loss.factor = 1.0
    config.distill.teacher = "runs/hrnet_coco"
    config.distill.model = "hrnet_w32"  # used only if the teacher does not record its variant
    return config
