"""WideHRNet on COCO at 256x192: Adam, lr 5e-4, 210 epochs, as in the authors' configs.

Published on COCO val2017, boxes of a person detector of AP 56 (the table of the authors' README):
widehrnet_18_se AP 69.8, AR 75.6. Trained from scratch with batch 256 on 8 V100. Sigma stays 2 at
384x288, as in the authors' config.

    python -m hrjax.main --config=configs/widehrnet_coco.py
    python -m hrjax.main --config=configs/widehrnet_coco.py:widehrnet_18_se_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default widehrnet_18_se."""
    config = common.recipe(
        variant, default="widehrnet_18_se", dataset="coco", input_size=(256, 192)
    )

    config.optimizer.name = "adam"
    config.optimizer.lr = 5e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 256
    config.train.batch_norm_size = 32
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.augment.half_body = 0.3
    config.augment.center_shift = 0.3
    config.loss.factor = 1.0
    return config
