"""EFENet on COCO at 256x192: HRFormer's recipe for a network inferred from its README.

Neither the authors' code nor the text of their paper was available, only their README. What this
network scores is unknown, and the published scores are not its own. Heatmaps have half the size of
the input, so sigma is 4 cells: 8 pixels of the input, as in other recipes.

    python -m hrjax.main --config=configs/efenet_coco.py
    python -m hrjax.main --config=configs/efenet_coco.py:efenet_base
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default efenet_small."""
    config = common.recipe(variant, default="efenet_small", dataset="coco", input_size=(256, 192))

    config.optimizer.name = "adamw"
    config.optimizer.lr = 5e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 256
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 4.0

    config.augment.half_body = 0.3
    config.loss.factor = 1.0
    return config
