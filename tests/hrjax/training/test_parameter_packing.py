import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from hrjax.training import optimizers
from hrjax.training.parameter_packing import MANY, PART, SMALL, copy_in_parts, pack, repack_all


def tree():
    rng = np.random.default_rng(0)
    shapes = {
        "stem": {"kernel": (3, 3, 2, 4), "bias": (4,)},
        "blocks": {"0": {"kernel": (1, 1, 4, 4), "scale": (4,), "bias": (4,)}},
        "wide": {"kernel": (SMALL + 1,)},
        "attention": {"relative_position_bias_table": (9, 2)},
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.standard_normal(shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def test_small_arrays_of_one_name_share_a_vector_and_large_ones_do_not():
    packed = pack(tree())
    sizes = {name: vector.shape for name, vector in packed.small.items()}
    table = "relative_position_bias_table"
    assert sizes == {"kernel": (88,), "bias": (8,), "scale": (4,), table: (18,)}
    assert [x.size for x in packed.large.values()] == [SMALL + 1]


def test_a_vector_of_a_gpu_holds_all_arrays_of_a_name_and_kernels_output_by_output():
    packed = pack(tree(), whole=True)
    assert packed.large == {}
    kernel = tree()["stem"]["kernel"]
    blocks = packed.small["kernel"]
    assert blocks.shape == (88 + SMALL + 1,)
    np.testing.assert_array_equal(blocks[16 : 16 + 18], np.ravel(kernel[..., 0]))


@pytest.mark.parametrize("whole", [False, True])
def test_unpack_inverts_pack(whole):
    params = tree()
    back = pack(params, whole=whole).unpack()
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_many_arrays_of_a_gpu_are_cut_from_copies_by_size():
    biases = {f"{n:04}": {"bias": n + jnp.arange(1 + n % 3)} for n in range(2 * MANY + 1)}
    params = {**tree(), "biases": biases}
    packed = pack(params, whole=True)
    sizes = [1 + n % 3 for n in range(2 * MANY + 1)]
    ones = [n for n, size in enumerate(sizes) if size == 1]
    np.testing.assert_array_equal(packed.small["bias"][: len(ones)], ones)
    cut = jax.jit(lambda packed: copy_in_parts(packed.unpack()))(packed)
    assert jax.tree.structure(cut) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, cut, params)
    text = jax.jit(copy_in_parts).lower(params).as_text()
    parts = len(biases) // PART + 1  # of the biases and of nothing else
    assert text.count("optimization_barrier") == parts == 7


def test_operations_on_packed_vectors_apply_to_the_arrays():
    params = tree()
    doubled = jax.tree.map(lambda x: 2 * x, pack(params)).unpack()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 2 * b), doubled, params)


def test_repacking_changes_the_form_alone():
    packed = {"first": pack(tree()), "count": jnp.int32(3)}
    whole = repack_all(packed, whole=True)
    assert whole["first"].large == {}
    assert whole["count"] is packed["count"]
    back = repack_all(whole, whole=False)
    assert jax.tree.structure(back) == jax.tree.structure(packed)
    jax.tree.map(np.testing.assert_array_equal, back, packed)


@pytest.mark.parametrize("whole", [False, True])
def test_optimizers_update_packed_parameters_equally(whole):
    # AdamW recognizes position bias tables, which have no weight decay, by their names.
    settings = ConfigDict({"name": "adamw", "weight_decay": 0.1})
    optimizer = optimizers.optimizer(settings, lambda step: 1e-2)
    params, gradients = tree(), jax.tree.map(jnp.sin, tree())
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    expected = optax.apply_updates(params, updates)
    packed = pack(params, whole=whole)
    updates, _ = optimizer.update(pack(gradients, whole=whole), optimizer.init(packed), packed)
    updated = optax.apply_updates(packed, updates).unpack()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updated, expected)
