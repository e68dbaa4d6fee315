"""HRFormer on COCO at 256x192: AdamW, lr 5e-4, 210 epochs, as in the authors' pose files.

Published on COCO val2017 with the 56.4-AP person detector: hrformer_small AP 74.0 (384x288: 75.6),
hrformer_base 75.6 (77.2); trained with batch 256 (base at 384x288: 64) on 8 GPUs in half precision,
from ImageNet weights. All parameters decay but the tables of position biases.

    python -m hrjax.main --config=configs/hrformer_coco.py
    python -m hrjax.main --config=configs/hrformer_coco.py:hrformer_base_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrformer_small by default."""
    config = common.mmpose(common.coco(common.recipe(variant, default="hrformer_small")))
    large = config.data.input_size == (384, 288)
    config.augment.center_shift = 0.3
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0
    config.optimizer.name = "adamw"
    config.optimizer.lr = 5e-4
    config.optimizer.weight_decay = 0.01
    config.train.batch_size = 256
    if large and config.model.name == "hrformer_base":
        config.model.drop_path = 0.3
        config.train.batch_size = 64
    return config.lock()
