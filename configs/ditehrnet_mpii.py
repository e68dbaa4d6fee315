"""Dite-HRNet on MPII at 256x256: Adam, lr 2e-3, 260 epochs, as in the authors' configs.

Published PCKh@0.5 on MPII val, ground-truth boxes (the table of the authors' README): ditehrnet_18
87.0, ditehrnet_30 87.6. Trained from scratch with batch 256 on 8 RTX 3090.

    python -m hrjax.main --config=configs/ditehrnet_mpii.py
    python -m hrjax.main --config=configs/ditehrnet_mpii.py:ditehrnet_30
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default ditehrnet_18."""
    config = common.recipe(variant, default="ditehrnet_18", dataset="mpii", input_size=(256, 256))

    config.optimizer.name = "adam"
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 260
    config.train.batch_size = 256
    config.train.batch_norm_size = 32
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.loss.factor = 1.0
    return config
