"""Lite-HRNet on MPII at 256x256: Adam, lr 2e-3, 210 epochs, as in the authors' configs.

Published PCKh@0.5 on MPII val, ground-truth boxes (the table of the authors' README): litehrnet_18
85.4, litehrnet_30 87.0, naive_litehrnet_18 85.3, wider_naive_litehrnet_18 86.8. Trained from
scratch with batch 256 on 8 GPUs.

    python -m hrjax.main --config=configs/litehrnet_mpii.py
    python -m hrjax.main --config=configs/litehrnet_mpii.py:litehrnet_30
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default litehrnet_18."""
    config = common.recipe(variant, default="litehrnet_18", dataset="mpii", input_size=(256, 256))

    config.optimizer.name = "adam"
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 256
    config.train.batch_norm_size = 32
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.loss.factor = 1.0
    return config
