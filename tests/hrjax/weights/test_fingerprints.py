"""Variants are recognized by the names and shapes of their tensors."""

import numpy as np
import pytest
from variants import EVERY

from hrjax import models
from hrjax.weights import fingerprints, foreign_names
from tests.hrjax.weights.official import zeros


def tensors(name, num_joints=17):
    """A variant's tensors, as a file has them."""
    return foreign_names.translate(zeros(name, num_joints))


def test_the_table_has_every_variant_once_by_family():
    table = fingerprints.load()
    families = {
        name: family.__name__.rpartition(".")[2] for name, family in models.FAMILIES.items()
    }
    assert {name: family for family, rows in table.items() for name in rows} == families
    known = [known for rows in table.values() for known in rows.values()]
    assert len({*known}) == len(known)


@pytest.mark.parametrize("name", EVERY)
def test_the_table_is_up_to_date(name):
    # If this fails because a network changed: python -m hrjax.weights.fingerprints
    family = models.FAMILIES[name].__name__.rpartition(".")[2]
    assert fingerprints.load()[family][name] == fingerprints.fingerprint(
        fingerprints.tensor_shapes(name)
    )


@pytest.mark.parametrize("joints", [3, 17, 133])
def test_a_variant_is_recognized_whatever_its_joints_without_building_it(monkeypatch, joints):
    given = tensors("widehrnet_30_se", joints)
    monkeypatch.setattr(models, "shapes", None)
    assert fingerprints.identify(given) == "widehrnet_30_se"
    assert fingerprints.count_joints(given) == joints


def test_one_other_shape_is_another_network():
    given = tensors("hrnet_tiny")
    label, array = given["conv1.weight"]
    given["conv1.weight"] = label, array[:-1]
    with pytest.raises(ValueError, match=r"nearest is hrnet_tiny \(problems: 1\)"):
        fingerprints.identify(given)


def test_weights_that_fit_nothing_name_the_nearest():
    given = tensors("hrnet_w32")
    del given["stage4.2.branches.3.3.bn2.bias"]
    with pytest.raises(ValueError, match=r"nearest is hrnet_w32 \(problems: 1\)"):
        fingerprints.identify(given)


def test_a_classifier_has_no_joints():
    given = tensors("hrnet_tiny") | {"classifier.bias": ("classifier.bias", np.zeros(1000))}
    del given["final_layer.weight"], given["final_layer.bias"]
    assert fingerprints.count_joints(given) is None
    with pytest.raises(ValueError, match="no head for joints; training can start"):
        fingerprints.identify(given)
