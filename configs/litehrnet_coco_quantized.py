"""Lite-HRNet on COCO trained in simulated eight bits (PACT), as in Paddle's HRNet-Keypoint.

Starts from a trained network: here the run of configs/litehrnet_coco_paddle.py; any other run,
checkpoint or file of weights works too. Published AP on COCO val2017, ground-truth boxes (the table
of Paddle's README): litehrnet_30 69.4 before and 68.9 after, distilled 69.9 and 70.2. (Paddle's
code evaluates the network in float32 there; here it is the one in eight bits.)

    python -m hrjax.main --config=configs/litehrnet_coco_quantized.py
    python -m hrjax.main --config=configs/litehrnet_coco_quantized.py \\
        --config.init_from=runs/litehrnet_coco_distilled
    python scripts/export.py --checkpoint=runs/litehrnet_coco_quantized --output=model.int8.onnx

docs/quantization.md says what is rounded, and what to set for little data.
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default litehrnet_30."""
    config = common.recipe(variant, default="litehrnet_30", dataset="coco", input_size=(256, 192))
    config.init_from = "runs/litehrnet_coco_paddle"

    config.quantize.enabled = True
    config.quantize.alpha = 100.0
    config.quantize.alpha_factor = 1000.0

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (40, 45)
    config.optimizer.warmup_steps = 500
    config.train.epochs = 50
    config.train.batch_size = 64
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.augment.half_body = 0.3
    config.loss.factor = 1.0
    return config
