"""Tables of text."""

from collections.abc import Mapping, Sequence


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned rows of text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pattern = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(pattern.format(*row).rstrip() for row in rows)


def one_row(numbers: Mapping[str, float]) -> str:
    """A table of numbers below their names, with four decimals."""
    return format_table([list(numbers), [f"{value:.4f}" for value in numbers.values()]])
