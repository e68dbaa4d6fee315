"""The reader of compiled programs, on a program written by hand and on those of this machine."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import programs, targets
from benchmarks.targets import Target

SLOW = Target("cuda", "", bandwidth=1e9, arithmetic=1e9)
PROGRAM = """\
HloModule jit_step, is_scheduled=true

%fused_turn (parameter_0: f32[3,3,4,8]) -> f32[8,3,3,4] {
  %parameter_0 = f32[3,3,4,8]{3,2,1,0} parameter(0)
  ROOT %transpose.1 = f32[8,3,3,4]{3,2,1,0} transpose(%parameter_0), dimensions={3,0,1,2}
}

%product_computation (parameter_0.1: f32[100,8], parameter_1.1: f32[8,5]) -> f32[100,5] {
  %parameter_0.1 = f32[100,8]{1,0} parameter(0)
  %parameter_1.1 = f32[8,5]{1,0} parameter(1)
  ROOT %dot.3 = f32[100,5]{1,0} dot(%parameter_0.1, %parameter_1.1), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}
}

ENTRY %main.9 (params: f32[3,3,4,8], params.1: f32[8,5], images: f32[1,10,10,4]) -> f32[100,5] {
  %params = f32[3,3,4,8]{3,2,1,0} parameter(0), metadata={op_name="params['stem']['kernel']"}
  %params.1 = f32[8,5]{1,0} parameter(1), metadata={op_name="params['final']['kernel']"}
  %images = f32[1,10,10,4]{3,2,1,0} parameter(2), metadata={op_name="images"}
  %wrapped_transpose.7 = f32[8,3,3,4]{3,2,1,0} fusion(%params), kind=kInput, calls=%fused_turn
  %cudnn-conv.1 = (f32[1,10,10,8]{3,2,1,0}, u8[0]{0}) custom-call(%images, %wrapped_transpose.7), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  %get-tuple-element.2 = f32[1,10,10,8]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %bitcast.4 = f32[100,8]{1,0} bitcast(%get-tuple-element.2)
  %gemm_fusion_dot.12 = f32[100,5]{1,0} fusion(%bitcast.4, %params.1), kind=kCustom, \
calls=%product_computation
  %all-reduce-start.1 = f32[100,5]{1,0} all-reduce-start(%gemm_fusion_dot.12), channel_id=1
  ROOT %all-reduce-done.1 = f32[100,5]{1,0} all-reduce-done(%all-reduce-start.1)
}
"""


def test_kernels_are_the_instructions_that_do_something():
    kinds = [kernel.kind for kernel in programs.kernels(PROGRAM)]
    assert kinds == ["wrapped_transpose", "cudnn$convForward", "gemm_fusion_dot", "all-reduce"]


def test_a_transpose_of_weights_moves_them_and_a_convolution_does_not():
    assert [kernel.moves_weights for kernel in programs.kernels(PROGRAM)] == [True, *[False] * 3]


def test_padding_of_weights_moves_them():
    padded = PROGRAM.replace(
        "ROOT %transpose.1 = f32[8,3,3,4]{3,2,1,0} transpose(%parameter_0), dimensions={3,0,1,2}",
        "%zero = f32[] constant(0)\n"
        "  ROOT %pad.1 = f32[3,3,8,8]{3,2,1,0} pad(%parameter_0, %zero), padding=0_0x0_0x0_4x0_0",
    )
    assert padded != PROGRAM
    assert programs.kernels(padded)[0].moves_weights


@pytest.mark.parametrize(
    ("steps", "moves"),
    [
        ("ROOT %slice.1 = f32[8]{0} slice(%parameter_0), slice={[16:24]}", True),
        (
            "%convert.1 = bf16[288]{0} convert(%parameter_0)\n"
            "  ROOT %slice.1 = bf16[8]{0} slice(%convert.1), slice={[16:24]}",
            False,
        ),
        (
            "%convert.1 = bf16[288]{0} convert(%parameter_0)\n"
            "  ROOT %concatenate.1 = bf16[576]{0} concatenate(%convert.1, %convert.1)",
            True,
        ),
    ],
)
def test_weights_that_are_converted_are_moved_where_they_do_not_stay_in_order(steps, moves):
    turn = "ROOT %transpose.1 = f32[8,3,3,4]{3,2,1,0} transpose(%parameter_0), dimensions={3,0,1,2}"
    assert turn in PROGRAM
    assert programs.kernels(PROGRAM.replace(turn, steps))[0].moves_weights == moves


def test_bytes_are_read_and_written_and_operations_multiply_and_add():
    turn, convolution, product, together = programs.kernels(PROGRAM)
    assert turn.bytes == 2 * 4 * 288
    assert turn.operations == 0
    assert convolution.bytes == 4 * (400 + 288 + 800)
    assert convolution.operations == 2 * 100 * 8 * (9 * 4)
    assert product.operations == 2 * 100 * 5 * 8
    assert together.bytes == 2 * 4 * 500


def test_the_bound_sums_the_largest_need_of_each_kernel():
    numbers = programs.summarize(programs.kernels(PROGRAM), SLOW)
    # Bytes of the transpose and the sum, operations of the two others, at a billion a second.
    assert numbers["bound_ms"] == pytest.approx(1e-6 * (2304 + 57600 + 8000 + 4000))
    assert numbers["kernels"] == 4
    assert numbers["parameter_moves"] == numbers["collectives"] == 1
    fast = programs.summarize(programs.kernels(PROGRAM), targets.TARGETS["h200"])
    assert fast["bound_ms"] == pytest.approx(4 * 1.5e-3)  # four launches


@pytest.mark.parametrize(
    ("target", "operands", "result"),
    [
        ("BackwardInput", ("f32[1,10,10,8]", "f32[8,3,3,4]"), "f32[1,10,10,4]"),
        ("BackwardFilter", ("f32[1,10,10,4]", "f32[1,10,10,8]"), "f32[8,3,3,4]"),
    ],
)
def test_the_gradients_of_a_convolution_take_as_many_operations(target, operands, result):
    first, second = operands
    text = f"""ENTRY %main (a: {first}, b: {second}) -> {result} {{
  %a = {first} parameter(0)
  %b = {second} parameter(1)
  ROOT %c = ({result}, u8[0]) custom-call(%a, %b), dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$conv{target}"
}}
"""
    (kernel,) = programs.kernels(text)
    assert kernel.operations == 2 * 100 * 8 * (9 * 4)


IMAGES, KERNEL, OUTPUTS = "f32[1,10,10,4]", "f32[3,3,4,8]", "f32[1,5,5,8]"


@pytest.mark.parametrize(
    ("operands", "result", "window", "labels"),
    [
        ((IMAGES, KERNEL), OUTPUTS, "size=3x3 stride=2x2 pad=1_0x1_0", "b01f_01io->b01f"),
        (
            (OUTPUTS, KERNEL),
            IMAGES,
            "size=3x3 pad=1_2x1_2 lhs_dilate=2x2 rhs_reversal=1x1",
            "b01f_01oi->b01f",
        ),
        ((IMAGES, OUTPUTS), KERNEL, "size=5x5 pad=1_0x1_0 rhs_dilate=2x2", "f01b_i01o->01bf"),
    ],
    ids=["forward", "images", "kernel"],
)
def test_a_strided_convolution_on_a_tpu_skips_padding_and_holes(operands, result, window, labels):
    text = f"""ENTRY %main (a: {operands[0]}, b: {operands[1]}) -> {result} {{
  %a = {operands[0]} parameter(0)
  %b = {operands[1]} parameter(1)
  ROOT %c = {result} convolution(%a, %b), window={{{window}}}, dim_labels={labels}
}}
"""
    (kernel,) = programs.kernels(text)
    # Along an axis the first of five outputs reads two elements and the others read three.
    assert kernel.operations == 2 * (2 + 4 * 3) ** 2 * 4 * 8


@pytest.mark.parametrize(("labels", "kernel"), [("01oi", "49,32"), ("01io", "32,49")])
def test_a_batch_of_products_on_a_tpu_multiplies_no_zeros(labels, kernel):
    # The logits of 2,048 windows and 2 heads, as the compiler for a TPU v5e writes them.
    window = "window={size=2048x2 stride=2047x1 lhs_dilate=2048x2}"
    text = f"""ENTRY %main (a: bf16[2048,2,49,32], b: bf16[2048,2,{kernel}]) -> bf16[] {{
  %a = bf16[2048,2,49,32] parameter(0)
  %b = bf16[2048,2,{kernel}] parameter(1)
  ROOT %c = bf16[2048,2,49,49] convolution(%a, %b), {window}, dim_labels=01bf_{labels}->01bf
}}
"""
    (product,) = programs.kernels(text)
    assert product.operations == 2 * 2048 * 2 * 49 * 49 * 32


def test_a_program_of_this_machine_is_read():
    compiled = jax.jit(lambda x, y: jnp.sin(x) @ y).lower(jnp.ones((8, 8)), jnp.ones((8, 8)))
    numbers = programs.summarize(programs.kernels(compiled.compile().as_text()), SLOW)
    assert numbers["kernels"] >= 2
    assert numbers["gflop"] in (0, pytest.approx(2 * 8**3 / 1e9))  # 0: a call of Eigen's product


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--target=b200 needs XLA's comp.*'jax\[cuda13\]=="):
        targets.make_mesh("b200", 1)


class Lowered:
    """Compiles like a program of which Triton finds no tiles, and says with which options."""

    def compile(self, compiler_options):
        if compiler_options.get("xla_gpu_enable_triton_gemm", True):
            raise jax.errors.JaxRuntimeError("INTERNAL: Couldn't find output tile sizes")
        return compiler_options


@pytest.mark.parametrize("triton", [True, False])
def test_products_without_tiles_in_triton_are_left_to_cublas(triton):
    options = targets.compile_for("h200", Lowered(), triton=triton)
    assert options == {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}


CUT = """
HloModule jit_cut, is_scheduled=true

%fused_slice (param_0.1: f32[1000], param_1.1: f32[8]) -> f32[8] {
  %param_0.1 = f32[1000]{0} parameter(0)
  %param_1.1 = f32[8]{0} parameter(1)
  %bitcast.1 = f32[1000]{0} bitcast(%param_0.1)
  %slice.1 = f32[8]{0} slice(%bitcast.1), slice={[16:24]}
  ROOT %add.1 = f32[8]{0} add(%slice.1, %param_1.1)
}

ENTRY %main.9 (packed: f32[1000], x: f32[8]) -> f32[8] {
  %packed = f32[1000]{0} parameter(0)
  %x = f32[8]{0} parameter(1)
  ROOT %loop_add_fusion = f32[8]{0} fusion(%packed, %x), kind=kLoop, calls=%fused_slice
}
"""


def test_of_an_array_that_a_kernel_cuts_from_only_the_part_is_read():
    (kernel,) = programs.kernels(CUT)
    assert kernel.bytes == 4 * (8 + 8 + 8)
    # Converted first, it is cut all the same: a kernel computes what it writes.
    converted = (
        CUT.replace("f32[1000]{0} bitcast", "bf16[1000]{0} convert")
        .replace("f32[8]{0} slice", "bf16[8]{0} slice")
        .replace("f32[8]{0} add", "bf16[8]{0} add")
    )
    (kernel,) = programs.kernels(converted)
    assert kernel.bytes == 4 * (8 + 8 + 8)
