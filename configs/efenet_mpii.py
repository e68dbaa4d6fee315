"""EFENet on MPII at 256x256: HRFormer's recipe, for a network and a recipe that are inferred.

Neither the authors' code nor their paper's text could be had, only their README; what this network
scores is not known, and their published scores are not its own. Heatmaps have half the input's
size, and so sigma is 4 cells: 8 pixels of the input, as elsewhere.

    python -m hrjax.main --config=configs/efenet_mpii.py
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, efenet_small by default."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="efenet_small")))
    config.heatmap.sigma = 4.0
    config.optimizer.name = "adamw"
    config.optimizer.lr = 5e-4
    config.optimizer.weight_decay = 0.01
    config.train.batch_size = 128
    return config.lock()
