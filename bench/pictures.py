"""Curves as pictures. Nothing else needs matplotlib: `pip install matplotlib` is left to you."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Curve = tuple[Sequence[float], Sequence[float]]


def lines(path: Path, curves: Mapping[str, Curve], x: str, y: str) -> None:
    """Draws curves (name to x and y values) in one picture, with y from 0 up."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for name, (xs, ys) in curves.items():
        axes.plot(xs, ys, label=name, linewidth=1.2)
    axes.set(xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path)
