"""Costs of networks, compared with the counts of the references' own tools."""

import math

import pytest

from hrjax import complexity, models

# Variant, joints, input; MACs in millions, counting each module once and as executed; the output of
# the reference's tool, in its unit.
COSTS = [
    ("hrnet_w32", 17, (256, 192), 7645.00, 7645.00, "7.12G"),
    ("hrnet_w48", 17, (384, 288), 35306.61, 35306.61, "32.88G"),
    ("pose_resnet_50", 17, (256, 192), 5426.38, 5426.38, "8.991G"),
    ("pose_resnet_152", 17, (256, 192), 12699.30, 12699.30, "15.76G"),
    ("litehrnet_18", 17, (256, 192), 198.63, 242.35, "205.2M"),
    ("litehrnet_30", 17, (256, 192), 309.45, 386.10, "319.2M"),
    ("naive_litehrnet_18", 17, (256, 192), 185.52, 211.05, "194.8M"),
    ("wider_naive_litehrnet_18", 16, (256, 256), 402.95, 461.24, "414.6M"),
    ("ditehrnet_18", 17, (256, 192), 199.44, 243.16, "209.8M"),
    ("ditehrnet_30", 17, (384, 288), 707.06, 879.53, "741.8M"),
    ("widehrnet_18", 16, (256, 256), 935.63, 993.92, "0.9563G"),
    ("widehrnet_18_se", 16, (256, 256), 937.33, 995.62, "0.9675G"),
    ("hrformer_small", 17, (256, 192), 2954.23, 2954.23, "2.803G"),
    ("hrformer_base", 17, (384, 288), 28941.43, 28941.43, "26.8G"),
    ("hrnext_small", 17, (256, 192), 2565.91, 2565.91, "2.523G"),
    ("hrnext_base", 17, (384, 288), 11159.37, 11159.37, "10.83G"),
    ("efenet_small", 17, (256, 192), 3259.26, 3259.26, "3.07G"),
]


# One network per convention always runs. Tracing takes seconds, so the others are long tests.
QUICK = ("hrnet_w32", "litehrnet_18", "widehrnet_18", "hrformer_small", "efenet_small")


@pytest.mark.parametrize(
    ("name", "joints", "size", "once", "executed", "printed"),
    [pytest.param(*row, marks=() if row[0] in QUICK else pytest.mark.long) for row in COSTS],
)
def test_costs_equal_the_counts_of_the_references(name, joints, size, once, executed, printed):
    calls = complexity.trace(*models.shapes(name, num_joints=joints), size)
    assert sum(call.macs for call in calls if not call.repeated) / 1e6 == pytest.approx(
        once, abs=0.006
    )
    assert sum(call.macs for call in calls) / 1e6 == pytest.approx(executed, abs=0.006)
    convention = complexity.convention_of(name)
    counted = complexity.convention_count(calls, convention) / convention.unit
    assert f"{counted:.4g}{convention.suffix}" == printed


def test_tracing_restores_the_classes():
    from hrjax.models.layers import Conv

    before = Conv.__call__
    with pytest.raises(ValueError, match="multiples of 32"):
        complexity.trace(*models.shapes("hrnet_tiny"), (33, 32))
    assert Conv.__call__ is before


def test_the_summary_adds_up():
    lines = complexity.summarize("hrnet_tiny", (64, 64), depth=1).splitlines()
    rows = {line.split()[0]: line.split()[1] for line in lines[1:4]}
    total = sum(int(number.replace(",", "")) for number in rows.values())
    _, params, _ = models.shapes("hrnet_tiny")
    assert set(rows) == {"stem", "stages", "final"}
    assert total == complexity.count_params(params) == 185_705
    assert any(line.startswith("parameters") and line.endswith("185,705") for line in lines)
    # The final convolution, by hand: 8 channels to 17 joints at 16 x 16 positions.
    assert f"{math.prod((8, 17, 16, 16)) / 1e3:.2f} k" in lines[1]


def test_the_summary_stops_at_the_given_depth_and_at_layers():
    shallow, deep = (complexity.summarize("hrnet_tiny", (64, 64), depth=n) for n in (1, 99))
    assert len(shallow.splitlines()) < len(deep.splitlines())
    assert "kernel" not in deep
