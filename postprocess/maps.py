"""Maps: fields on plane sections through the tumor, drawn to scale with sides, units and region outlines.

Heavy (PyVista, matplotlib): import it inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from turgor.postprocess.anatomy import AXIAL, VIEWS, Anatomy, Section, View, node_average
from turgor.postprocess.look import MAPS, Picture, new_figure, save_data, save_figure, styled
from turgor.postprocess.run import Run
from turgor.postprocess.scales import FROM_MMHG, MMHG, PASCAL_PER_MMHG, Scale, clock, number, robust_range, scale_for

Floats = NDArray[np.float64]
Window = tuple[float, float, float, float]

WIDTH = 9.4
"""Width of a full figure [inch]."""


@dataclass(frozen=True)
class Paint:
    """How values become colors: map, range in display units, unit, linear or logarithmic."""

    colors: str
    low: float
    high: float
    scale: Scale
    kind: Literal["linear", "logarithmic"] = "linear"

    @property
    def norm(self) -> Normalize:
        """The scale; what is outside of it takes the color of its end."""
        if self.kind == "logarithmic":
            return LogNorm(self.low, self.high, clip=True)
        return Normalize(self.low, self.high)

    @property
    def title(self) -> str:
        """The unit in brackets, with a word when the scale is not linear."""
        return f"[{self.scale.unit}]" + (", logarithmic" if self.kind == "logarithmic" else "")

    def extend(self, values: Floats) -> str:
        """Return which ends of the scale are exceeded, as a color bar wants it."""
        slack = 1e-3 * (self.high - self.low)
        below, above = bool(values.min() < self.low - slack), bool(values.max() > self.high + slack)
        return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
            below, above
        ]


def pressure_map(anatomy: Anatomy, into: Path) -> Picture:
    """Draw the pressure on three orthogonal sections through the tumor, in mmHg and Pa."""
    sections = [anatomy.section(view) for view in VIEWS]
    values = [MMHG(section.mesh.point_data["pressure"]) for section in sections]
    together = np.concatenate(values)
    windows = _equally_tall([_whole(section) for section in sections])
    paint = Paint(MAPS["pressure"], *robust_range(together), MMHG)
    with styled():
        figure, axes = _row(sections, windows)
        for i, (ax, section, shown) in enumerate(zip(axes, sections, values, strict=True)):
            draw_section(ax, section, shown, paint, window=windows[i], furniture=("bar",) if i == 0 else ())
            ax.set_title(_plane_title(section), pad=14)
        _two_unit_bar(figure, axes, paint, paint.extend(together))
        path = save_figure(figure, into / "pressure-sections.svg")
    caption = (
        "Interstitial fluid pressure on three sections through the tumor, at the last time. White lines are the "
        f"surfaces of the regions. Largest value in these sections {number(float(together.max()))} mmHg "
        f"({number(float(together.max()) * PASCAL_PER_MMHG)} Pa), smallest {number(float(together.min()))} mmHg."
    )
    data = [_section_csv(section, into / f"pressure-{section.view.name}.csv", "pressure") for section in sections]
    return Picture("pressure-sections", "Pressure", caption, path, data=tuple(data))


def velocity_map(anatomy: Anatomy, into: Path) -> Picture:
    """Draw the Darcy speed on the axial section, whole and close to the tumor with directions."""
    section = anatomy.section(AXIAL)
    vectors = node_average(section.mesh, "velocity")
    speed = np.linalg.norm(vectors, axis=1)
    close = _close(anatomy, section)
    windows = (_whole(section), close)
    in_window = _inside(section.points, close)
    scale = scale_for("mm/s", float(np.percentile(speed[in_window], 99)) if in_window.any() else float(speed.max()))
    paint = Paint(MAPS["velocity"], *robust_range(scale(speed[in_window]), high=99.0), scale)
    with styled():
        figure, axes = _row([section, section], windows, same_scale=False)
        for i, (ax, title) in enumerate(zip(axes, ("whole body", "around the tumor"), strict=True)):
            draw_section(ax, section, scale(speed), paint, window=windows[i], furniture=("bar", "frame")[: i + 1])
            ax.set_title(f"{_plane_title(section)}, {title}", pad=14)
        drawn = _arrows(axes[1], section, close)
        _frame(axes[0], close)
        _bar(figure, axes, paint, "Darcy speed", paint.extend(scale(speed)))
        path = save_figure(figure, into / "velocity-section.svg")
    caption = (
        "Magnitude of the Darcy (superficial) velocity; cell values averaged to nodes for display. "
        + ("Arrows, all of one length, show the direction in the plane where the speed in the plane exceeds 2 % of its "
           "largest value here. " if drawn else "")
        + f"The color scale ends at the 99th percentile near the tumor, {number(paint.high)} {scale.unit}; "
        f"the largest value in the section is {number(float(scale(speed).max()))} {scale.unit}."
    )  # fmt: skip
    data = _velocity_csv(section, vectors, into / "velocity-axial.csv")
    return Picture("velocity-section", "Velocity", caption, path, data=(data,))


def concentration_maps(run: Run, anatomy: Anatomy, into: Path) -> Picture | None:
    """Draw the free concentration around the tumor at several times on one color scale; None when all is zero."""
    times = snapshot_times(run)
    sections = [anatomy.section(AXIAL, run.grid(t)) for t in times]
    raw = [np.asarray(section.mesh.point_data["concentration"], dtype=np.float64) for section in sections]
    window = _close(anatomy, sections[0])
    near = np.concatenate([v[_inside(s.points, window)] for v, s in zip(raw, sections, strict=True)])
    if not len(near) or float(np.abs(near).max()) == 0.0:
        return None
    scale = scale_for("mol/m^3", float(np.percentile(near, 99.5)))
    paint = _paint_over_time(scale, [v[_inside(s.points, window)] for v, s in zip(raw, sections, strict=True)])
    with styled():
        figure, axes = _row(sections, [window] * len(sections))
        for i, (ax, section, values, time) in enumerate(zip(axes, sections, raw, times, strict=True)):
            draw_section(
                ax, section, scale(values), paint, window=window, furniture=("frame", "bar")[: 2 if i == 0 else 1]
            )
            ax.set_title(f"t = {clock(time)}", pad=14)
        _bar(figure, axes, paint, "free concentration", paint.extend(scale(near)))
        path = save_figure(figure, into / "concentration-snapshots.svg")
    caption = (
        "Free drug per volume of accessible fluid on the axial section through the tumor "
        f"({_plane_title(sections[0])}), all times on one {paint.kind} color scale. "
        f"Largest value shown {number(float(scale(near).max()))} {scale.unit}."
    )
    names = [f"concentration-{i}.csv" for i in range(len(times))]
    data = [_section_csv(s, into / n, "concentration") for s, n in zip(sections, names, strict=True)]
    return Picture("concentration-snapshots", "Concentration in the tumor", caption, path, data=tuple(data))


def _paint_over_time(scale: Scale, snapshots: Sequence[Floats]) -> Paint:
    """Return one scale for all times: linear, or three decades when the drug falls to a twentieth or less."""
    low, high = robust_range(scale(np.concatenate(snapshots)))
    if fades([float(np.median(values)) for values in snapshots]):
        return Paint(MAPS["concentration"], 1e-3 * high, high, scale, "logarithmic")
    return Paint(MAPS["concentration"], low, high, scale)


def fades(typical: Sequence[float]) -> bool:
    """Return whether values at several times differ so much that a linear scale would hide all but one."""
    largest = max(typical, default=0.0)
    return largest > 0 and min(typical) < largest / 20.0


def snapshot_times(run: Run) -> tuple[float, ...]:
    """Return stored times after the start: closest to the peak in the tumor and to 5, 25, 50 and 100 % of the run."""
    times = np.array(run.times)
    later = times[times > times[0]] if len(times) > 1 else times
    wanted = times[0] + (times[-1] - times[0]) * np.array([0.05, 0.25, 0.5, 1.0])
    picked = {float(later[np.argmin(np.abs(later - want))]) for want in (_peak(run), *wanted)}
    if len(picked) < 4:
        spare = [float(t) for t in later if float(t) not in picked]
        picked |= set(spare[: 4 - len(picked)])
    return tuple(sorted(picked))


def _peak(run: Run) -> float:
    """Return when the mean concentration in the tumor is largest [s]."""
    rows = run.region_means.where("region", (run.tumor or run.regions)[0])
    column = "concentration mean [mol/m^3]"
    if column not in rows or not len(rows):
        return run.times[-1]
    return float(rows.numbers("t [s]")[np.argmax(rows.numbers(column))])


def draw_section(
    axes: Axes, section: Section, values: Floats, paint: Paint, *, window: Window, furniture: Sequence[str]
) -> None:
    """Draw values at the nodes of a section, the outlines of its regions and its sides.

    Args:
        axes: Where to draw.
        section: The plane.
        values: In display units, one a node.
        paint: How values become colors.
        window: Left, right, low, high on paper [mm].
        furniture: Any of "bar" (a scale bar) and "frame" (a box around the window).
    """
    mesh = Triangulation(section.points[:, 0], section.points[:, 1], section.triangles)
    axes.tripcolor(mesh, values, shading="gouraud", cmap=paint.colors, norm=paint.norm, rasterized=True)
    x, y = _one_path(section.outlines)
    for color, width in (("#202020", 1.5), ("white", 0.8)):
        axes.plot(x, y, color=color, lw=width, solid_capstyle="round")
    left, right, low, high = window
    axes.set(xlim=(left, right), ylim=(low, high), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible("frame" in furniture)
        spine.set_color("#BBBBBB")
    _letters(axes, section.view)
    if "bar" in furniture:
        _scale_bar(axes, right - left)


def _one_path(segments: Floats) -> tuple[Floats, Floats]:
    """Return all segments as one interrupted line, which is drawn and stored far faster than each alone."""
    gaps = np.full((len(segments), 1, 2), np.nan)
    line = np.concatenate([segments, gaps], axis=1).reshape(-1, 2)
    return line[:, 0], line[:, 1]


_PLACES: tuple[tuple[float, float, Literal["left", "center", "right"], Literal["top", "center", "bottom"]], ...] = (
    (-0.02, 0.5, "right", "center"),
    (1.02, 0.5, "left", "center"),
    (0.5, -0.02, "center", "top"),
    (0.5, 1.01, "center", "bottom"),
)


def _letters(axes: Axes, view: View) -> None:
    for letter, (x, y, horizontal, vertical) in zip(view.letters, _PLACES, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, ha=horizontal, va=vertical, color="#777777", fontsize=8)


def _scale_bar(axes: Axes, width: float) -> None:
    """Draw a bar of a round length below the lower left corner of the axes."""
    length = round_length(0.3 * width)
    share = length / width
    axes.plot([0.0, share], [-0.035, -0.035], transform=axes.transAxes, color="#222222", lw=2.2, clip_on=False)
    label = f"{number(length)} mm"
    axes.text(share / 2, -0.055, label, transform=axes.transAxes, ha="center", va="top", fontsize=8, color="#222222")


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 x 10^k that is not longer."""
    decade = 10.0 ** np.floor(np.log10(length))
    return float(max(step for step in (1.0, 2.0, 5.0) if step * decade <= length * (1 + 1e-9)) * decade)


def _row(
    sections: Sequence[Section], windows: Sequence[Window], *, same_scale: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure with one axes a section in a row; widths such that millimeters are of one size when asked."""
    wide = [w[1] - w[0] for w in windows]
    tall = [w[3] - w[2] for w in windows]
    ratios = wide if same_scale else [a / b for a, b in zip(wide, tall, strict=True)]
    usable = WIDTH - 1.2 - 0.35 * len(sections)
    height = max(tall) * usable / sum(wide) if same_scale else usable / sum(ratios)
    figure = new_figure(WIDTH, min(max(height, 1.6), 4.6) + 0.75, gap=0.06)
    axes = figure.subplots(1, len(sections), width_ratios=ratios, squeeze=False)
    return figure, list(axes[0])


def _whole(section: Section) -> Window:
    margin = 0.02 * np.ptp(section.points, axis=0).max()
    low, high = section.points.min(axis=0) - margin, section.points.max(axis=0) + margin
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _equally_tall(windows: Sequence[Window]) -> list[Window]:
    tallest = max(high - low for _, _, low, high in windows)
    middles = [(low + high) / 2 for _, _, low, high in windows]
    return [(w[0], w[1], m - tallest / 2, m + tallest / 2) for w, m in zip(windows, middles, strict=True)]


def _close(anatomy: Anatomy, section: Section) -> Window:
    """Return a square around the tumor in this section with as much tissue on each side, not larger than the body."""
    tumor = [anatomy.run.regions.index(name) for name in anatomy.tumor]
    here = section.triangles[np.isin(section.region, tumor)]
    around = section.points[here if len(here) else section.triangles].reshape(-1, 2)
    low, high = around.min(axis=0), around.max(axis=0)
    left, right, bottom, top = _whole(section)
    half = min(1.0 * float((high - low).max()), 0.5 * max(right - left, top - bottom))
    x, y = (float(v) for v in (low + high) / 2)
    return x - half, x + half, y - half, y + half


def _inside(points: Floats, window: Window) -> NDArray[np.bool_]:
    left, right, low, high = window
    return (points[:, 0] >= left) & (points[:, 0] <= right) & (points[:, 1] >= low) & (points[:, 1] <= high)


def _arrows(axes: Axes, section: Section, window: Window, count: int = 17) -> bool:
    """Draw unit arrows of the area-averaged velocity on a lattice; return whether there are any."""
    vectors = np.asarray(section.mesh.cell_data["velocity"], dtype=np.float64)
    corners = section.points[section.triangles]
    flat = section.view.flat(vectors)
    edge = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.abs(edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0])
    lattice = np.array(
        [[x, y] for x in np.linspace(*window[:2], count + 2)[1:-1] for y in np.linspace(*window[2:], count + 2)[1:-1]]
    )
    step = (window[1] - window[0]) / (count + 1)
    middle = corners.mean(axis=1)
    distance = np.linalg.norm(lattice[:, None] - middle[None], axis=2) if len(middle) * len(lattice) < 2e7 else None
    if distance is None:
        from scipy.spatial import cKDTree

        near, index = cKDTree(middle).query(lattice)
        mean = flat[index]
    else:
        weight = np.exp(-((distance / (0.5 * step)) ** 2)) * area[None]
        near = distance.min(axis=1)
        mean = weight @ flat / np.maximum(weight.sum(axis=1), 1e-300)[:, None]
    speed = np.linalg.norm(mean, axis=1)
    keep = (near < 0.4 * step) & (speed > 0.02 * speed.max(initial=0.0))
    if not keep.any():
        return False
    unit = mean[keep] / speed[keep, None]
    axes.quiver(*lattice[keep].T, *unit.T, color="white", edgecolor="#202020", linewidth=0.4, pivot="mid",
                scale=1.35 / step, scale_units="xy", angles="xy", width=0.0055, headwidth=4.2,
                headlength=4.5)  # fmt: skip
    return True


def _frame(axes: Axes, window: Window) -> None:
    """Draw the outline of a window, as far as it lies in the picture."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    left, right = max(window[0], x0), min(window[1], x1)
    low, high = max(window[2], y0), min(window[3], y1)
    for color, width in (("white", 2.6), ("#D55E00", 1.3)):
        axes.plot([left, right, right, left, left], [low, low, high, high, low], color=color, lw=width)


def _plane_title(section: Section) -> str:
    axis = "xyz"[section.view.normal]
    return f"{section.view.name}, {axis} = {number(section.at)} mm"


def _bar(figure: Figure, axes: Sequence[Axes], paint: Paint, label: str, extend: str) -> Axes:
    bar = figure.colorbar(
        ScalarMappable(paint.norm, paint.colors), ax=list(axes), extend=extend, fraction=0.03, pad=0.03
    )
    bar.set_label(f"{label} {paint.title}")
    bar.outline.set_linewidth(0.5)
    return bar.ax


def color_bar(figure: Figure, axes: Axes, paint: Paint, label: str) -> None:
    """Draw a color bar with its unit into its own axes."""
    bar = figure.colorbar(ScalarMappable(paint.norm, paint.colors), cax=axes, extend="max")
    bar.set_label(f"{label} {paint.title}")
    bar.outline.set_linewidth(0.5)


def _two_unit_bar(figure: Figure, axes: Sequence[Axes], paint: Paint, extend: str) -> None:
    """Draw a color bar with mmHg on its right and Pa on its left."""
    bar = _bar(figure, axes, paint, "pressure", extend)
    pascal = bar.secondary_yaxis("left", functions=(FROM_MMHG, MMHG))
    pascal.set_ylabel("[Pa]", labelpad=1)


def _section_csv(section: Section, path: Path, field: str) -> Path:
    unit = {"pressure": "Pa", "concentration": "mol/m^3"}[field]
    xyz = np.asarray(section.mesh.points, dtype=np.float64)
    columns = {f"{axis} [mm]": xyz[:, i] for i, axis in enumerate("xyz")}
    return save_data(path, {**columns, f"{field} [{unit}]": np.asarray(section.mesh.point_data[field])})


def _velocity_csv(section: Section, vectors: Floats, path: Path) -> Path:
    xyz = np.asarray(section.mesh.points, dtype=np.float64)
    columns = {f"{axis} [mm]": xyz[:, i] for i, axis in enumerate("xyz")}
    return save_data(path, {**columns, **{f"v{axis} [mm/s]": vectors[:, i] for i, axis in enumerate("xyz")}})
