"""HRNet on MPII at 256x256: Adam, lr 1e-3, 210 epochs, as in the authors' yaml files.

Published PCKh@0.5 on MPII val, ground-truth boxes (the table of the authors' README): hrnet_w32
90.3. Trained from ImageNet weights with batch 128 on 4 GPUs.

    python -m hrjax.main --config=configs/hrnet_mpii.py
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnet_w32."""
    config = common.recipe(variant, default="hrnet_w32", dataset="mpii", input_size=(256, 256))

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 0
    config.train.epochs = 210
    config.train.batch_size = 128
    config.train.batch_norm_size = 32
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0
    return config
