"""HRNeXt on COCO at 256x192: AdamW, lr 4e-3, 300 epochs, as in the authors' files.

Published on COCO val2017 with the 56.4-AP person detector: hrnext_small AP 76.1, hrnext_base at
384x288 77.0; trained with batch 256 on 8 RTX 3090, from scratch. The learning rate follows a
cosine, epoch by epoch, down to a hundredth; all parameters decay.

    python -m hrjax.main --config=configs/hrnext_coco.py
    python -m hrjax.main --config=configs/hrnext_coco.py:hrnext_base_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnext_small by default."""
    config = common.coco(common.recipe(variant, default="hrnext_small"))
    return common.hrnext(common.mmpose(config)).lock()
