"""One look for all figures: fonts, widths, colors of regions and fields, and how a figure becomes a file.

Color maps are perceptually uniform and safe for color-blind readers; region colors follow Okabe and Ito (2008).
Heavy (matplotlib): import it inside functions.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from turgor.postprocess.table import write_csv

MAPS = {"pressure": "viridis", "velocity": "cividis", "concentration": "magma"}
"""Field -> color map."""

_NORMAL = ("#56B4E9", "#009E73", "#0072B2", "#F0E442", "#CC79A7", "#999999")
_TUMOR = ("#D55E00", "#E69F00", "#8C510A")
_NECROSIS = "#4D4D4D"
_WATER = "#9ECAE1"
PLASMA = "#B2182B"


def region_colors(regions: Sequence[str], tumor: Sequence[str]) -> dict[str, str]:
    """Return one color a region, the same in every figure: warm for tumor, dark for necrosis, cool for the rest."""
    warm, cool = iter(_TUMOR * len(regions)), iter(_NORMAL * len(regions))
    colors = {}
    for name in regions:
        if "necro" in name.lower():
            colors[name] = _NECROSIS
        elif name in tumor:
            colors[name] = next(warm)
        elif name.lower() in ("csf", "ventricles"):
            colors[name] = _WATER
        else:
            colors[name] = next(cool)
    return colors


_PLAIN = " !$'()*+,-./:;=?@[]^_`{|}~"
"""Characters that may stand in a data address and in an HTML attribute as they are."""


@dataclass(frozen=True)
class Picture:
    """A figure in a file, with what is said below it.

    Attributes:
        name: Short name, also of the files.
        title: Heading.
        caption: Plain text below.
        path: The SVG or PNG.
        wide: Takes the full width of the page.
        data: CSV files with the numbers drawn.
    """

    name: str
    title: str
    caption: str
    path: Path
    wide: bool = True
    data: tuple[Path, ...] = field(default=())

    @property
    def uri(self) -> str:
        """The picture as a data address for a page that must stand alone."""
        if self.path.suffix == ".svg":
            # Pictures inside are base64 already; a second time would make the page a third larger.
            return "data:image/svg+xml," + quote(self.path.read_text(encoding="utf-8"), safe=_PLAIN)
        return f"data:image/png;base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def new_figure(width: float, height: float, gap: float = 0.02) -> Figure:
    """Return an empty figure of a size in inches; no window, no global state.

    Args:
        width: Of the figure [inch].
        height: Of the figure [inch].
        gap: Between axes, as a share of their width.
    """
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=gap))
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save within this context."""
    with mpl.rc_context():
        mpl.rc("font", family="DejaVu Sans", size=9.0)
        mpl.rc("axes", titlesize=9.5, titleweight="bold", titlelocation="left", labelsize=9.0)
        mpl.rc("axes", linewidth=0.7, edgecolor="#444444")
        mpl.rc("axes.spines", top=False, right=False)
        mpl.rc("xtick", labelsize=8.0, color="#444444")
        mpl.rc("ytick", labelsize=8.0, color="#444444")
        mpl.rc("legend", fontsize=8.0, frameon=False)
        mpl.rc("lines", linewidth=1.7)
        mpl.rc("svg", hashsalt="turgor", fonttype="path")
        mpl.rc("savefig", dpi=170.0)
        yield


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG or PNG, the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=known, bbox_inches="tight", pad_inches=0.06)
    return path


def save_data(path: Path, columns: Mapping[str, NDArray[np.float64] | tuple[str, ...]]) -> Path:
    """Write the numbers of a figure beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, columns)
    return path


def light_grid(axes: Axes) -> None:
    """Draw a faint grid behind the curves."""
    axes.grid(visible=True, color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
