"""Curves: profiles from the tumor's surface, concentration against time by region, and the balance of mass.

Heavy (matplotlib, PyVista): import it inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from turgor.postprocess.anatomy import Anatomy
from turgor.postprocess.look import (
    PLASMA,
    Picture,
    light_grid,
    new_figure,
    region_colors,
    save_data,
    save_figure,
    styled,
)
from turgor.postprocess.manifest import TumorNote
from turgor.postprocess.maps import fades, snapshot_times
from turgor.postprocess.profiles import Profile, profile
from turgor.postprocess.run import Run
from turgor.postprocess.scales import FROM_MMHG, MMHG, Scale, clock, number, scale_for, time_scale

Floats = NDArray[np.float64]

_INSIDE = "#FBEFE6"
"""Ground of the inside of the tumor in profiles."""


_BOUCHER = (0.2, 1.1)
"""Depths [mm] between which the plateau was reached in tumors. Source: Boucher, Baxter and Jain (1990)."""

_PROFILE = ("distance [mm]", "pressure mean [Pa]", "pressure p05 [Pa]", "pressure p95 [Pa]", "volume [mm^3]")


def pressure_profiles(run: Run, anatomy: Anatomy, into: Path) -> Iterator[Picture]:
    """Draw the pressure against the distance from the surface of each tumor, as the solver tells it.

    A run that does not tell it gets one picture, from the pressure at the nodes.
    """
    rows = run.profile.where("t [s]", run.profile.words("t [s]")[-1]) if len(run.profile) else run.profile
    notes = {note.name: note for note in run.manifest.findings.flow.tumors}
    for name in rows.distinct("tumor"):
        part = rows.where("tumor", name)
        curve = Profile(*(part.numbers(column) for column in _PROFILE))
        only = len(rows.distinct("tumor")) == 1
        yield _pressure_picture(curve, into, notes.get(name), "" if only else name)
    if not len(rows):
        found = profile(anatomy, np.asarray(anatomy.grid.point_data["pressure"], dtype=np.float64))
        if found is not None:
            yield _pressure_picture(found, into, None, "")


def _pressure_picture(curve: Profile, into: Path, note: TumorNote | None, name: str) -> Picture:
    stem = "pressure-profile" + (f"-{name}" if name else "")
    with styled():
        figure = new_figure(6.4, 3.5)
        axes = figure.subplots()
        _tumor_ground(axes, curve)
        axes.fill_between(curve.distance, MMHG(curve.low), MMHG(curve.high), color="#0072B2", alpha=0.22, lw=0,
                          label="5–95 % of the volume")  # fmt: skip
        axes.plot(curve.distance, MMHG(curve.mean), color="#0072B2", label="mean")
        if note is not None:
            _mark_plateau(axes, note)
        axes.set(xlabel="distance from the tumor surface [mm]", ylabel="interstitial pressure [mmHg]")
        pascal = axes.secondary_yaxis("right", functions=(FROM_MMHG, MMHG))
        pascal.set_ylabel("[Pa]")
        pascal.spines["right"].set_visible(True)
        axes.legend(loc="best")
        path = save_figure(figure, into / f"{stem}.svg")
    caption = (
        f"Interstitial pressure by distance from the outer surface of the tumor{f' {name}' if name else ''} (negative "
        f"inside): volume-weighted mean and 5–95 % band in layers. Innermost {number(float(MMHG(curve.mean[0])))} mmHg."
    )
    if curve.distance[0] < -1.0 and curve.distance[-1] > 1.0:
        caption += f" Over the millimeter on either side of the surface it falls by {number(_drop(curve))} mmHg."
    if note is not None and note.plateau is not None:
        caption += (
            f" Dashed: the plateau, {number(float(MMHG(note.plateau)))} mmHg; circles: where the mean reaches 50, 90 "
            f"and 95 % of it. Gray: {_BOUCHER[0]} to {_BOUCHER[1]} mm below the surface, where tumors were measured to "
            f"reach their plateau (Boucher, Baxter and Jain 1990)."
        )
    return Picture(stem, "Pressure across the tumor rim", caption, path, wide=False,
                   data=(_profile_csv(curve, into / f"{stem}.csv", "pressure", "Pa"),))  # fmt: skip


def _mark_plateau(axes: Axes, note: TumorNote) -> None:
    """Draw the plateau, the depths to parts of it, and the range of depths that was measured."""
    if note.plateau is None:
        return
    axes.axvspan(-_BOUCHER[1], -_BOUCHER[0], color="#999999", alpha=0.25, lw=0, zorder=0.5)
    plateau = float(MMHG(note.plateau))
    axes.axhline(plateau, color="#8C510A", lw=0.9, ls=(0, (4, 3)), label="plateau")
    found = [(-depth, share * plateau) for share, depth in
             ((0.5, note.depth50), (0.9, note.depth90), (0.95, note.depth95)) if depth is not None]  # fmt: skip
    if found:
        x, y = np.array(found).T
        axes.plot(x, y, "o", ms=5, mfc="white", mec="#D55E00", mew=1.4, label="50, 90, 95 % of it", zorder=4)


def _drop(curve: Profile) -> float:
    inside, outside = np.interp([-1.0, 1.0], curve.distance, MMHG(curve.mean))
    return float(inside - outside)


def penetration_profile(run: Run, anatomy: Anatomy, into: Path) -> Picture | None:
    """Draw the concentration against the distance from the tumor's surface at several times."""
    times = snapshot_times(run)
    found = [profile(anatomy, np.asarray(run.grid(t).point_data["concentration"], dtype=np.float64)) for t in times]
    curves = [curve for curve in found if curve is not None]
    top = max((float(curve.high.max()) for curve in curves), default=0.0)
    if not top > 0:
        return None
    scale = scale_for("mol/m^3", top)
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(times)))
    data = []
    with styled():
        figure = new_figure(6.4, 3.5)
        axes = figure.subplots()
        _tumor_ground(axes, curves[0])
        for i, (time, curve) in enumerate(zip(times, curves, strict=True)):
            axes.fill_between(curve.distance, scale(curve.low), scale(curve.high), color=colors[i], alpha=0.15, lw=0)
            axes.plot(curve.distance, scale(curve.mean), color=colors[i], label=clock(time))
            data.append(_profile_csv(curve, into / f"penetration-{i}.csv", "concentration", "mol/m^3"))
        axes.set(xlabel="distance from the tumor surface [mm]", ylabel=f"free concentration [{scale.unit}]")
        if fades([float(np.median(curve.mean)) for curve in curves]):
            axes.set(yscale="log", ylim=(float(scale(1e-4 * top)), float(scale(1.5 * top))))
        else:
            axes.set_ylim(bottom=min(0.0, float(scale(min(c.low.min() for c in curves)))))
        axes.legend(title="time", loc="center left", bbox_to_anchor=(1.0, 0.5))
        path = save_figure(figure, into / "penetration.svg")
    caption = (
        "Free concentration (per volume of accessible fluid) by distance from the outer surface of the tumor, negative "
        "inside: volume-weighted mean (line) and 5–95 % band at several times."
    )
    return Picture("penetration", "Penetration", caption, path, wide=False, data=tuple(data))


def _tumor_ground(axes: Axes, curve: Profile) -> None:
    axes.axvspan(float(curve.distance.min()), 0.0, color=_INSIDE, lw=0, zorder=0)
    axes.axvline(0.0, color="#8C510A", lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.set_xlim(float(curve.distance.min()), float(curve.distance.max()))
    above = axes.get_xaxis_transform()
    middle = float(curve.distance.min()) / 2
    axes.text(middle, 1.015, "in the tumor", transform=above, color="#8C510A", fontsize=8, ha="center", va="bottom")
    light_grid(axes)


def _profile_csv(curve: Profile, path: Path, field: str, unit: str) -> Path:
    columns = {"distance [mm]": curve.distance, f"{field} mean [{unit}]": curve.mean}
    columns |= {f"{field} p05 [{unit}]": curve.low, f"{field} p95 [{unit}]": curve.high, "volume [mm^3]": curve.volume}
    return save_data(path, columns)


def concentration_curves(run: Run, into: Path) -> Picture | None:
    """Draw the mean concentration of each region and of the plasma against time, linear and logarithmic."""
    table = run.region_means
    column = "concentration mean [mol/m^3]"
    if column not in table or len(run.times) < 2:
        return None
    series = {name: table.where("region", name) for name in run.regions}
    means = {name: rows.numbers(column) for name, rows in series.items() if len(rows)}
    times = {name: series[name].numbers("t [s]") for name in means}
    tissue = max((float(v.max()) for v in means.values()), default=0.0)
    if not tissue > 0:
        return None
    end = max(float(t[-1]) for t in times.values())
    clocks, scale = time_scale(end), scale_for("mol/m^3", tissue)
    start = _start_of_axis(end, [float(times[name][np.argmax(values)]) for name, values in means.items()])
    plasma = _plasma(run)
    with styled():
        figure = new_figure(9.4, 3.5)
        linear, log = figure.subplots(1, 2)
        colors = region_colors(run.regions, run.tumor)
        for axes in (linear, log):
            if plasma is not None:
                axes.plot(clocks(plasma[0]), scale(plasma[1]), color=PLASMA, ls="--", lw=1.3, label="plasma (free)")
            for name, values in means.items():
                axes.plot(clocks(times[name]), scale(values), color=colors[name], label=name)
            axes.set(xlabel=f"time [{clocks.unit}]", ylabel=f"free concentration [{scale.unit}]")
            _time_axis(axes, clocks, start, end)
            light_grid(axes)
        peak = float(plasma[1].max()) if plasma is not None else 0.0
        linear.set(ylim=(0, float(scale(1.12 * tissue))), title="linear")
        log.set(
            yscale="log", ylim=(float(scale(_floor(means))), float(scale(2 * max(tissue, peak)))), title="logarithmic"
        )
        log.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        if peak > 1.12 * tissue:
            note = f"plasma peaks off this scale,\nat {number(float(scale(peak)))} {scale.unit}"
            linear.text(0.98, 0.97, note, transform=linear.transAxes, ha="right", va="top", color=PLASMA, fontsize=7.5)
        path = save_figure(figure, into / "concentration-time.svg")
    caption = (
        "Volume mean of the free concentration (per volume of accessible fluid) in each region"
        + (", with the free concentration in plasma" if plasma is not None else "") + "."
    )  # fmt: skip
    return Picture("concentration-time", "Concentration by region", caption, path,
                   data=(_series_csv(times, means, plasma, into / "concentration-time.csv"),))  # fmt: skip


def _start_of_axis(end: float, peaks: Sequence[float]) -> float:
    """Return where a time axis begins [s]: at zero, or, if the first peak is soon over, at a tenth of its time."""
    first = min(peaks)
    return first / 10.0 if 0 < first < 0.02 * end else 0.0


_ROUND_TIMES = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 5 * 86400.0, 30 * 86400.0)
"""Where a logarithmic time axis is labeled [s]."""


def _time_axis(axes: Axes, clocks: Scale, start: float, end: float) -> None:
    """Scale the time axis: linear from zero, or logarithmic and labeled in words."""
    if start > 0:
        axes.set_xscale("log")
        ticks = [time for time in _ROUND_TIMES if start <= time <= end]
        axes.set_xticks(clocks(ticks).tolist(), [clock(time) for time in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("time, logarithmic")
    axes.set_xlim(float(clocks(start)), float(clocks(end)))


def _floor(means: dict[str, Floats]) -> float:
    """Return a lower end for the logarithmic axis: four decades below the largest mean at most."""
    largest = max(float(v.max()) for v in means.values())
    positive = np.concatenate([v[v > 0] for v in means.values()])
    return max(float(positive.min()) * 0.5, 1e-4 * largest)


def _plasma(run: Run) -> tuple[Floats, Floats] | None:
    table = run.plasma
    if not len(table):
        return None
    return table.numbers("t [s]"), table.numbers("concentration [mol/m^3]")


def _series_csv(
    times: dict[str, Floats], means: dict[str, Floats], plasma: tuple[Floats, Floats] | None, path: Path
) -> Path:
    names = [name for name, values in means.items() for _ in values]
    when, what = np.concatenate(list(times.values())), np.concatenate(list(means.values()))
    if plasma is not None:
        names += ["plasma"] * len(plasma[0])
        when, what = np.concatenate([when, plasma[0]]), np.concatenate([what, plasma[1]])
    return save_data(path, {"region": tuple(names), "t [s]": when, "concentration mean [mol/m^3]": what})
