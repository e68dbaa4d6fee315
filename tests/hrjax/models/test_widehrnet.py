import pytest

import hrjax
from hrjax.models import widehrnet


@pytest.mark.parametrize(
    ("expanded", "squeezed"), [(80, 24), (160, 40), (320, 80), (640, 160), (8, 8)]
)
def test_squeeze_widths_are_multiples_of_eight(expanded, squeezed):
    # As recorded in the official checkpoints: 80 / 4 becomes 24, not 20.
    assert widehrnet.make_divisible(expanded // 4, 8) == squeezed


@pytest.mark.parametrize("field", ["width", "stem_width"])
def test_odd_widths_are_an_error(field):
    with pytest.raises(ValueError, match="width 15 is odd; blocks that shuffle split"):
        hrjax.create("widehrnet_18", **{field: 15})


def test_overrides_make_a_small_network():
    small = {"width": 16, "modules": (1, 1, 1), "blocks": 1, "expansion": 2, "num_joints": 16}
    model = hrjax.create("widehrnet_18", **small)
    widths = [
        block.residual.steps[0].conv.kernel.shape
        for block in model.stages[2].modules[0].blocks[0].branches
    ]
    assert [shape[2:] for shape in widths] == [(8, 16), (16, 32), (32, 64), (64, 128)]
