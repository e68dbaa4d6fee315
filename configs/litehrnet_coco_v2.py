"""Lite-HRNet on COCO with techniques newer than its paper: UDP, AdamW, averaged weights.

Not a published recipe: configs/litehrnet_coco.py has the authors'. `common.v2` and the numbers
below are what differs. A small network gets milder augmentation than HRNet.

    python -m hrjax.main --config=configs/litehrnet_coco_v2.py
    python -m hrjax.main --config=configs/litehrnet_coco_v2.py:litehrnet_30_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default litehrnet_18."""
    config = common.recipe(variant, default="litehrnet_18", dataset="coco", input_size=(256, 192))
    config = common.v2(config)
    large = config.data.input_size == (384, 288)

    config.optimizer.name = "adamw"
    config.optimizer.lr = 4e-3
    config.optimizer.lr_base_batch = 512
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.01
    config.optimizer.warmup_steps = 1000
    config.train.epochs = 300
    config.train.batch_size = 256 if large else 512
    config.train.batch_norm_size = 32 if large else 64
    config.augment.scale = 0.35
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0
    return config
