"""The picture of the flow benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from flow_table import PHASES
from matplotlib.axes import Axes

Found = Mapping[str, Any]


def phases(axes: Axes, found: Found) -> None:
    """Draw microseconds a cell by phase."""
    names = list(found["sizes"])
    below = np.zeros(len(names))
    for phase in PHASES:
        each = np.array([1e6 * one["sizes"][phase] / one["cells"] for one in found["sizes"].values()])
        axes.bar(names, each, bottom=below, label=phase)
        below += each
    axes.set(title="conservative flux, residual 1e-12", xlabel="cells", ylabel="µs a cell")
    axes.legend(fontsize=8)


def iterations(axes: Axes, found: Found) -> None:
    """Draw iterations against the jump."""
    for name, one in found["sizes"].items():
        if "jumps" in one:
            jumps = [float(jump) for jump in one["jumps"]]
            axes.semilogx(jumps, [cost["iterations_1e-10"] for cost in one["jumps"].values()], "o-", label=name)
    axes.axhline(20, color="gray", linestyle=":")
    axes.set(title="iterations to 1e-10", xlabel="K tumor / K host", ylim=(0, 26))
    axes.legend(title="cells", fontsize=8)


def contest(axes: Axes, found: Found, part: str, title: str, colors: Mapping[str, str]) -> None:
    """Draw everyone's seconds against the number of cells."""
    having = [one for one in found["sizes"].values() if one.get(part)]
    for name in having[0][part] if having else ():
        points = [(one["cells"], one[part][name]["all"]) for one in having if name in one[part]]
        style = "o-" if name.startswith("turgor") else "s--"
        axes.loglog(*zip(*points, strict=True), style, label=name, color=colors[name])
    axes.set(title=title, xlabel="cells", ylabel="CPU seconds, one thread")
    axes.grid(which="both", alpha=0.2)


def picture(found: Found, file: Path) -> None:
    """Write the picture."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 9), constrained_layout=True)
    phases(axes[0, 0], found)
    iterations(axes[0, 1], found)
    every = [name for one in found["sizes"].values() for part in ("first", "again") for name in one.get(part, {})]
    colors = {name: f"C{index}" for index, name in enumerate(dict.fromkeys(every))}
    contest(axes[1, 0], found, "first", f"first solve after the mesh, to {found['tolerance']:g}", colors)
    contest(axes[1, 1], found, "again", f"solve with new parameters, to {found['tolerance']:g}", colors)
    lines = {line.get_label(): line for one in axes[1] for line in one.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)
