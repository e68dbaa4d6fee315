"""A small WideHRNet on drawn people: the whole job in a few minutes on two CPU cores, no download.

The people are drawn into data/synthetic on the first run, in MPII's layout.

    python -m hrjax.main --config=configs/quickstart.py
    python -m hrjax.main --config=configs/quickstart.py --config.train.epochs=200
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, widehrnet_18 by default, at a quarter of its width and depth."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="widehrnet_18")))
    config.data.root = "data/synthetic"
    config.data.input_size = (128, 128)
    config.data.draw.train_images = 1500
    config.data.draw.val_images = 200
    config.model.width = 24
    config.model.modules = (1, 1, 1)
    config.model.blocks = 1
    config.model.expansion = 2
    config.heatmap.sigma = 1.5
    config.optimizer.lr = 4e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.train.epochs = 20
    config.eval.every_epochs = 5
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20
    return config.lock()
