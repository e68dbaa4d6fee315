"""HRNet on COCO at 256x192: Adam, lr 1e-3, 210 epochs, as in the authors' yaml files.

Published AP on COCO val2017, boxes of the 56.4-AP person detector (the table of the authors'
README): hrnet_w32 74.4 (384x288: 75.8), hrnet_w48 75.1 (76.3). Trained from ImageNet weights with
batch 128 (w48 at 384x288: 96) on 4 GPUs. The yaml files set a weight decay of 1e-4, which the
authors' Adam never uses.

    python -m hrjax.main --config=configs/hrnet_coco.py
    python -m hrjax.main --config=configs/hrnet_coco.py:hrnet_w48_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnet_w32."""
    config = common.recipe(variant, default="hrnet_w32", dataset="coco", input_size=(256, 192))
    large = config.data.input_size == (384, 288)
    large_w48 = large and config.model.name == "hrnet_w48"

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 0
    config.train.epochs = 210
    config.train.batch_size = 96 if large_w48 else 128
    config.train.batch_norm_size = 24 if large_w48 else 32
    config.augment.scale = 0.35
    config.augment.rotation = 45.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.augment.half_body = 0.3
    return config
