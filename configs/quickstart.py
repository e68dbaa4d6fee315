"""A small WideHRNet on drawn people: the whole job in minutes on two CPU cores, no download.

The people are drawn into data/synthetic on the first run, in MPII's layout and in COCO's. To beat:
their mean pose scores a PCKh@0.5 of 27, which is printed when the run starts.

    python -m hrjax.main --config=configs/quickstart.py
    python -m hrjax.main --config=configs/quickstart.py --config.train.epochs=80 --workdir=runs/q

The first takes minutes and reaches a PCKh@0.5 of 82 to 83, the second half an hour and 92.
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, widehrnet_18 by default, narrow and shallow."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="widehrnet_18")))
    config.data.root = "data/synthetic"
    config.data.input_size = (96, 96)
    config.data.draw.train_images = 4500
    config.data.draw.val_images = 200
    config.model.width = 24
    config.model.stem_width = 16
    config.model.modules = (1, 1, 1)
    config.model.blocks = 1
    config.model.expansion = 2
    # Few epochs: what a person looks like has to be learnt before rotations and zooms help.
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.heatmap.sigma = 1.5
    config.optimizer.lr = 8e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.train.epochs = 5
    config.train.batch_size = 16
    config.eval.every_epochs = 5
    config.checkpoint.every_steps = 500
    return config.lock()
