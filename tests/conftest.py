"""Fixtures and settings that all tests share."""

import os
import pathlib
import tempfile

import pytest

# Tests compile many small networks; the second run finds them here.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "hrjax_test_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Tests run on the CPU, which plays eight devices for those that shard.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

REPOSITORY = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """The folder of recorded reference numbers that the project carries."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of reference material beside a developer's clone; tests skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the reference material beside the clone (../shared)")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> pathlib.Path:
    """A folder of a few drawn people, in the MPII and in the COCO layout."""
    from data_pipelines import synthetic

    root = tmp_path_factory.mktemp("drawn") / "people"
    synthetic.write(root, train_images=10, val_images=4, seed=1, image_size=(120, 160))
    return root


@pytest.fixture
def tiny(drawn):
    """A recipe that trains a network of a few thousand parameters on `drawn` in seconds."""
    return tiny_config(drawn)


@pytest.fixture
def micro(drawn):
    """`tiny` with a network of one block, which compiles in a second."""
    return micro_config(drawn)


def micro_config(drawn):
    """`micro` for people in the folder `drawn`; for programs that tests start."""
    from configs import resnet_mpii

    config = tiny_config(drawn)
    with config.unlocked():
        config.model = resnet_mpii.get_config().model
        config.model.width = 4
        config.model.blocks = (1,)
        config.model.deconvs = 0
    return config


def tiny_config(drawn):
    """`tiny` for people in the folder `drawn`."""
    from configs import quickstart

    config = quickstart.get_config()
    with config.unlocked():
        config.data.root = str(drawn)
        config.data.draw.train_images = 0
        config.data.input_size = (32, 32)
        config.model.width = 8
        config.model.modules = (1,)
        config.model.stem_width = 8
        config.train.batch_size = 8
        config.train.epochs = 3
        config.eval.batch_size = 8
        config.eval.every_epochs = 0
        config.eval.flip_test = False
        config.optimizer.lr = 1e-3
        config.optimizer.warmup_steps = 0
        config.optimizer.schedule = "step"
        config.log.every_steps = 1
    return config
