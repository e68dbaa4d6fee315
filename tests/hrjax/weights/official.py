"""Official state dicts of full-size networks that take no memory."""

import functools

import jax
import numpy as np

from hrjax import models
from hrjax.weights import torch_names


@functools.cache
def shapes(name, num_joints=17):
    """The params and stats of a variant, as shapes."""
    _, params, stats = models.shapes(name, num_joints=num_joints)
    return {"params": params, "stats": stats}


def zeros(name, num_joints=17):
    """An official state dict of zeros, which take no memory."""
    trees = shapes(name, num_joints)
    trees = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), trees)
    return torch_names.to_torch(name, **trees)


def ones(name):
    """Weights of ones, which take no memory."""
    return jax.tree.map(lambda x: np.broadcast_to(np.float32(1), x.shape), shapes(name))
