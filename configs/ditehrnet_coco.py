"""Dite-HRNet on COCO at 256x192: Adam, lr 2e-3, 270 epochs, as in the authors' configs.

Published AP on COCO val2017, boxes of the 56.4-AP person detector (the table of the authors'
README): ditehrnet_18 65.9 (384x288: 69.0), ditehrnet_30 68.3 (71.5). Trained from scratch with
batch 256 on 8 RTX 3090.

    python -m hrjax.main --config=configs/ditehrnet_coco.py
    python -m hrjax.main --config=configs/ditehrnet_coco.py:ditehrnet_30_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default ditehrnet_18."""
    config = common.recipe(variant, default="ditehrnet_18", dataset="coco", input_size=(256, 192))
    large = config.data.input_size == (384, 288)

    config.optimizer.name = "adam"
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 270
    config.train.batch_size = 256
    config.train.batch_norm_size = 32
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.augment.half_body = 0.3
    config.augment.center_shift = 0.3
    config.loss.factor = 1.0
    return config
