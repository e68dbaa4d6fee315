"""WideHRNet on MPII with techniques newer than its paper: UDP, AdamW, averaged weights.

Not a published recipe: configs/widehrnet_mpii.py has the authors'. `common.v2` and the numbers
below are what differs. A small network gets milder augmentation than HRNet. The batch is larger
than the authors' 16, which suits batch norm and divides among 8 devices.

    python -m hrjax.main --config=configs/widehrnet_mpii_v2.py
    python -m hrjax.main --config=configs/widehrnet_mpii_v2.py:widehrnet_18_se
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default widehrnet_18."""
    config = common.recipe(variant, default="widehrnet_18", dataset="mpii", input_size=(256, 256))
    config = common.v2(config)

    config.optimizer.name = "adamw"
    config.optimizer.lr = 2e-3
    config.optimizer.lr_base_batch = 64
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.01
    config.optimizer.warmup_steps = 1000
    config.train.epochs = 300
    config.train.batch_size = 64
    config.augment.scale = 0.35
    config.augment.rotation = 40.0
    config.heatmap.sigma = 2.0
    return config
