"""Fixtures and settings that all tests share."""

import ctypes
import gc
import os
import pathlib
import tempfile

import pytest

# Tests compile many small networks; later runs load them from this cache.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "hrjax_test_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Tests run on the CPU, split into eight virtual devices for tests of sharding.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

REPOSITORY = pathlib.Path(__file__).parent.parent


LARGE = 4 * 2**30  # bytes of a test process


@pytest.fixture(scope="session", autouse=True)
def _freed_memory_goes_back():
    """Commands that run inside tests must not change malloc's settings for all later tests."""
    from hrjax.runtime import memory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "keep_freed_memory", lambda: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_do_not_pile_up():
    """Drops compiled programs where a process has grown: several share the machine's memory."""
    yield
    if _resident_memory() > LARGE:
        import jax

        jax.clear_caches()
        gc.collect()
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


@pytest.fixture
def collected():
    """Collects garbage at the end: Orbax leaves reads of damaged files, which then raise errors."""
    yield
    gc.collect()


def _resident_memory():
    status = pathlib.Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """The folder of recorded reference outputs in the repository."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of reference material next to a developer's clone; tests skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("requires the reference material next to the clone (../shared)")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> pathlib.Path:
    """A folder with a few drawn people, in the layouts of MPII and COCO."""
    from data_pipelines.synthetic import drawing

    root = tmp_path_factory.mktemp("drawn") / "people"
    drawing.write(root, train_images=10, val_images=4, seed=1, image_size=(120, 160))
    return root


@pytest.fixture
def tiny(drawn):
    """A recipe that trains a network with a few thousand parameters on `drawn` in seconds."""
    return tiny_config(drawn)


@pytest.fixture
def micro(drawn):
    """`tiny` with a one-block network, which compiles in a second."""
    return micro_config(drawn)


def micro_config(drawn):
    """`micro` for the folder `drawn`; for subprocesses started by tests."""
    from configs import resnet_mpii

    config = tiny_config(drawn)
    with config.unlocked():
        config.model = resnet_mpii.get_config().model
        config.model.width = 4
        config.model.blocks = (1,)
        config.model.deconvs = 0
    return config


def tiny_config(drawn):
    """`tiny` for the folder `drawn`."""
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


@pytest.fixture(scope="session")
def portable(drawn, tmp_path_factory):
    """`micro`'s network as converted weights with a model card, and as an ONNX file.

    `portable.weights`, `portable.onnx` and `portable.card`.
    """
    import types

    import hrjax
    from data_pipelines import datasets
    from hrjax import experiment, models
    from hrjax.weights import checkpoints, model_card

    config = micro_config(drawn)
    card = model_card.from_config(config, datasets.find("mpii").skeleton)
    model = hrjax.create(card.variant, **experiment.model_fields(config))
    _, params, stats = models.split(model)
    folder = tmp_path_factory.mktemp("portable")
    with checkpoints.open_folder(folder / "weights", keep=1) as manager:
        weights = {"model": {"params": params, "stats": stats}}
        checkpoints.save(manager, 0, weights, position={}, score=None, card=card)
        checkpoints.wait(manager)
    file = hrjax.export_onnx(folder / "weights", folder / "network.onnx", license_text="CC0")
    return types.SimpleNamespace(weights=folder / "weights", onnx=file, card=card)


@pytest.fixture(scope="session")
def bright():
    """A network for COCO's joints that predicts every joint at the brightest point of the image.

    `bright.network` compiles quickly; `bright.traced` lists the batch sizes it was compiled for.
    """
    import types

    from flax import nnx

    from data_pipelines.skeletons import COCO
    from hrjax import models
    from hrjax.inference import PredictionSettings
    from hrjax.prediction.trained_network import Network

    class Brightness(nnx.Module):
        def __call__(self, images):
            traced.append(len(images))
            maps = (images.mean(axis=-1, keepdims=True) + 2.2) / 5
            return maps[:, ::4, ::4].repeat(17, axis=-1)

    traced = []
    settings = PredictionSettings(
        input_size=(64, 48),
        color="rgb",
        encoding="msra",
        sigma=2.0,
        decode="argmax",
        flip_test=True,
        fold_batch_norm=True,
    )
    network = Network(settings, COCO, *models.split(Brightness()))
    return types.SimpleNamespace(network=network, traced=traced)


@pytest.fixture
def dots():
    """A function that draws a dark image with a bright dot at each of the points (x, y)."""
    import cv2
    import numpy as np

    def draw(points, size=(120, 160)):
        image = np.full((*size, 3), 30, np.uint8)
        for point in points:
            cv2.circle(image, point, 5, (255, 255, 255), cv2.FILLED)
        return cv2.GaussianBlur(image, (11, 11), 0)

    return draw
