"""WideHRNet on COCO at 256x192: Adam, 210 epochs, as in the authors' configuration files.

Published on COCO val2017 with the 56.4-AP person detector: widehrnet_18_se AP 69.8, AR 75.6;
trained with batch 256 on 8 V100. Sigma stays 2 at 384x288, as in the authors' file.

    python -m hrjax.main --config=configs/widehrnet_coco.py
    python -m hrjax.main --config=configs/widehrnet_coco.py:widehrnet_18_se_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, widehrnet_18_se by default."""
    config = common.mmpose(common.coco(common.recipe(variant, default="widehrnet_18_se")))
    config.augment.center_shift = 0.3
    config.optimizer.lr = 5e-4
    config.train.batch_size = 256
    return config.lock()
