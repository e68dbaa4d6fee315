"""HRNeXt on COCO at 256x192: AdamW, lr 4e-3, 300 epochs, as in the authors' configs.

Published AP on COCO val2017, boxes of the 56.4-AP person detector (the table of the authors'
README): hrnext_small 76.1, hrnext_base at 384x288 77.0. Trained from scratch with batch 256 on 8
RTX 3090. The learning rate follows a cosine, epoch by epoch, down to a hundredth; weight decay
applies to all parameters.

    python -m hrjax.main --config=configs/hrnext_coco.py
    python -m hrjax.main --config=configs/hrnext_coco.py:hrnext_base_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnext_small."""
    config = common.recipe(variant, default="hrnext_small", dataset="coco", input_size=(256, 192))
    large = config.data.input_size == (384, 288)

    config.optimizer.name = "adamw"
    config.optimizer.lr = 4e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.01
    config.optimizer.by_epoch = True
    config.optimizer.warmup_steps = 500
    config.train.epochs = 300
    config.train.batch_size = 256
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.augment.half_body = 0.3
    config.augment.center_shift = 0.3
    config.loss.factor = 1.0
    return config
