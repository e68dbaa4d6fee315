"""WideHRNet on MPII at 256x256: Adam, lr 2e-3 or 5e-4, 210 epochs, as in the authors' configs.

Published PCKh@0.5 on MPII val, ground-truth boxes (the table of the authors' README): widehrnet_18
87.7, widehrnet_18_se 88.47. Trained from scratch with batch 16 on one RTX 3060. The variants with
_30 use lr 5e-4, the others 2e-3.

    python -m hrjax.main --config=configs/widehrnet_mpii.py
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_18_se
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_30
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default widehrnet_18."""
    config = common.recipe(variant, default="widehrnet_18", dataset="mpii", input_size=(256, 256))

    config.optimizer.name = "adam"
    config.optimizer.lr = 5e-4 if "_30" in config.model.name else 2e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 16
    config.train.batch_norm_size = 16
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.loss.factor = 1.0
    return config
