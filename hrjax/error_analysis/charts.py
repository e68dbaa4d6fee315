"""Charts as SVG text, to stand in an HTML page: bars, stacked bars and curves."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, ROW, LABEL, MARGIN = 820, 22, 190, 60
PLOT = 360  # the side of a chart of curves


def bars(values: Mapping[str, float], *, color: str, form: str = "{:+.4f}") -> str:
    """Horizontal bars from zero, one below the other, with their numbers."""
    largest = max([abs(value) for value in values.values()] + [1e-9])
    room = WIDTH - LABEL - 2 * MARGIN
    zero = LABEL + (MARGIN if min(values.values()) < 0 else 0)
    parts = []
    for row, (name, value) in enumerate(values.items()):
        length = room * abs(value) / largest
        left = zero if value >= 0 else max(zero - length, LABEL)
        parts += [
            _text(LABEL - 8, row, name, anchor="end"),
            _box(left, row, length if value >= 0 else zero - left, color, f"{name}: {value:.4f}"),
            _text((left + length if value >= 0 else zero) + 6, row, form.format(value)),
        ]
    return _svg(WIDTH, ROW * len(values), parts)


def stacked(
    names: Sequence[str], shares: np.ndarray, kinds: Sequence[str], colors: Sequence[str]
) -> str:
    """Horizontal bars of the same length, each cut into the shares (rows, kinds) of its row."""
    room = WIDTH - LABEL
    parts = []
    for row, (name, cuts) in enumerate(zip(names, shares, strict=True)):
        parts.append(_text(LABEL - 8, row, name, anchor="end"))
        lefts = LABEL + room * (np.cumsum(cuts) - cuts)
        for kind, color, left, share in zip(kinds, colors, lefts, cuts, strict=True):
            if share > 0:
                parts.append(_box(left, row, room * share, color, f"{name}: {share:.1%} {kind}"))
            if share > 0.06:
                middle = left + room * share / 2
                parts.append(_text(middle, row, f"{share:.0%}", anchor="middle", color="#fff"))
    return _svg(WIDTH, ROW * len(names), parts)


def legend(kinds: Sequence[str], colors: Sequence[str]) -> str:
    """A line that says which color is what."""
    entries = (
        f'<span class="key" style="background:{color}"></span>{html.escape(kind)}'
        for kind, color in zip(kinds, colors, strict=True)
    )
    return f'<p class="legend">{" ".join(entries)}</p>'


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    colors: Sequence[str],
    x: str,
    y: str,
    *,
    marks: bool = False,
) -> str:
    """Lines of numbers between 0 and 1 over numbers between 0 and 1, with axes `x` and `y`.

    With `marks` each point of a line has a dot that says its numbers, but for the first line.
    """
    left, top = 50, 10
    parts = []
    for tick in np.linspace(0, 1, 6):
        across, down = left + PLOT * tick, top + PLOT * (1 - tick)
        parts += [
            f'<path d="M{left} {down:.1f}h{PLOT}M{across:.1f} {top}v{PLOT}" class="grid"/>',
            f'<text x="{left - 6}" y="{down + 4:.1f}" text-anchor="end">{tick:.1f}</text>',
            f'<text x="{across:.1f}" y="{top + PLOT + 16}" text-anchor="middle">{tick:.1f}</text>',
        ]
    for row, ((name, (xs, ys)), color) in enumerate(zip(lines.items(), colors, strict=True)):
        points = " ".join(
            f"{left + PLOT * a:.1f},{top + PLOT * (1 - b):.1f}" for a, b in zip(xs, ys, strict=True)
        )
        at = top + 14 + ROW * row
        if marks and row:
            parts += [_dot(left, top, name, *point, color) for point in zip(xs, ys, strict=True)]
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>',
            f'<path d="M{left + PLOT + 14} {at}h22" stroke="{color}" stroke-width="3"/>',
            f'<text x="{left + PLOT + 42}" y="{at + 4}">{html.escape(name)}</text>',
        ]
    middle = top + PLOT / 2
    parts += [
        f'<text x="{left + PLOT / 2}" y="{top + PLOT + 36}" text-anchor="middle">{x}</text>',
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{y}</text>',
    ]
    return _svg(WIDTH, top + PLOT + 44, parts)


def _dot(left, top, name, x, y, color):
    return (
        f'<circle cx="{left + PLOT * x:.1f}" cy="{top + PLOT * (1 - y):.1f}" r="4" fill="{color}">'
        f"<title>{html.escape(name)}: {x:.3f}, {y:.3f}</title></circle>"
    )


def _svg(width, height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'
    )


def _text(x, row, text, *, anchor="start", color="#222"):
    return (
        f'<text x="{x:.1f}" y="{ROW * row + 15}" text-anchor="{anchor}" fill="{color}">'
        f"{html.escape(text)}</text>"
    )


def _box(x, row, width, color, title):
    return (
        f'<rect x="{x:.1f}" y="{ROW * row + 2}" width="{width:.1f}" height="{ROW - 5}" '
        f'fill="{color}"><title>{html.escape(title)}</title></rect>'
    )
