"""HRNet on MPII at 256x256 as in mmpose 0.x: Adam, lr 5e-4, 210 epochs, more augmentation.

Trained from ImageNet weights with batch 64 per GPU; configs/hrnet_mpii.py has the authors' recipe.

    python -m hrjax.main --config=configs/hrnet_mpii_mmpose.py
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnet_w32."""
    config = common.recipe(variant, default="hrnet_w32", dataset="mpii", input_size=(256, 256))

    config.optimizer.name = "adam"
    config.optimizer.lr = 5e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 64
    config.train.batch_norm_size = 64
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 2.0

    config.loss.factor = 1.0
    return config
