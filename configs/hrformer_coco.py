"""HRFormer on COCO at 256x192: AdamW, lr 5e-4, 210 epochs, as in the authors' configs.

Published AP on COCO val2017, boxes of the 56.4-AP person detector (the table of the authors'
README): hrformer_small 74.0 (384x288: 75.6), hrformer_base 75.6 (77.2). Trained from ImageNet
weights in half precision with batch 256 (base at 384x288: 64) on 8 GPUs. Weight decay applies to
all parameters except the tables of position biases.

    python -m hrjax.main --config=configs/hrformer_coco.py
    python -m hrjax.main --config=configs/hrformer_coco.py:hrformer_base_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrformer_small."""
    config = common.recipe(variant, default="hrformer_small", dataset="coco", input_size=(256, 192))
    large = config.data.input_size == (384, 288)
    large_base = large and config.model.name == "hrformer_base"

    config.optimizer.name = "adamw"
    config.optimizer.lr = 5e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 210
    config.train.batch_size = 64 if large_base else 256
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.augment.half_body = 0.3
    config.augment.center_shift = 0.3
    config.loss.factor = 1.0
    if large_base:
        config.model.drop_path = 0.3
    return config
