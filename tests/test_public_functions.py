"""All public functions, classes and methods have type hints and a docstring."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("hrjax", "data_pipelines", "configs")  # packages, with everything inside
CALLED = ("__init__", "__call__")  # special methods that are public as well


def public_definitions(room):
    """The public functions, classes and methods of a package: their names and nodes."""
    for file in sorted((ROOT / room.replace(".", "/")).rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        yield from definitions_of(ast.parse(file.read_text()), module.removesuffix(".__init__"))


def definitions_of(parent, name):
    for node in parent.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") and node.name not in CALLED:
            continue
        yield f"{name}.{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from definitions_of(node, f"{name}.{node.name}")


def lacks_hints(function):
    """What has no type hint: names of arguments, and "return"."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    bare = [argument.arg for argument in every if argument.annotation is None]
    if function.returns is None and function.name != "__init__":
        bare.append("return")
    return [name for name in bare if name not in ("self", "cls")]


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_have_type_hints(room):
    functions = [
        (name, node) for name, node in public_definitions(room) if isinstance(node, ast.FunctionDef)
    ]
    assert functions
    missing = {name: lacks_hints(node) for name, node in functions}
    assert {name: bare for name, bare in missing.items() if bare} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_first_lines_of_docstrings_are_sentences(room):
    docstrings = {
        name: (ast.get_docstring(node) or "").split("\n")[0]
        for name, node in public_definitions(room)
        if node.name not in CALLED
    }
    assert docstrings
    assert {name: line for name, line in docstrings.items() if not line.endswith((".", "…"))} == {}


def test_missing_hints_are_seen():
    source = "def f(a, *b, c: int = 0, **d) -> int: ...\nclass A:\n  def __call__(self, x): ..."
    nodes = dict(definitions_of(ast.parse(source), "m"))
    assert list(nodes) == ["m.f", "m.A", "m.A.__call__"]
    assert lacks_hints(nodes["m.f"]) == ["a", "b", "d"]
    assert lacks_hints(nodes["m.A.__call__"]) == ["x", "return"]
