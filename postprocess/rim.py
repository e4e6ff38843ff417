"""The tables of a flow and its tumors: what is reported without being asked, as text ready to print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from turgor.postprocess.manifest import TumorNote
from turgor.postprocess.run import Run
from turgor.postprocess.scales import MMHG, Scale, number, scale_for
from turgor.postprocess.table import Table
from turgor.postprocess.tables import error_of

WAYS = {
    "reabsorbed": "taken back by vessels of {}",
    "lymph": "drained by lymph of {}",
    "withdrawn": "withdrawn from {} by a source with a negative rate",
    "through": "leaves through {}",
    "returned": "flows back into {}",
}
"""Way in which the fluid of a tumor ends -> words."""


@dataclass(frozen=True)
class Row:
    """A number: what, value, error, unit, and how it is defined or why it has no error."""

    what: str
    value: str
    bar: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class TumorTable:
    """What is told of one tumor.

    Attributes:
        name: Its name.
        regions: Of what it consists, if of more than one region.
        condition: What holds outside of it.
        rows: Its numbers.
        fate: Where its fluid ends.
    """

    name: str
    regions: str
    condition: str
    rows: tuple[Row, ...]
    fate: tuple[Row, ...]


def tumor_tables(run: Run) -> list[TumorTable]:
    """Return the numbers of each tumor."""
    return [
        TumorTable(
            tumor.name,
            ", ".join(tumor.regions) if len(tumor.regions) > 1 else "",
            tumor.condition,
            tuple(_rows(run, tumor)),
            tuple(_fate(run, tumor)),
        )
        for tumor in run.manifest.findings.flow.tumors
    ]


def _rows(run: Run, tumor: TumorNote) -> Iterator[Row]:
    """Yield the numbers of a tumor with their definitions."""
    speeds = [abs(value) for value in (tumor.low, tumor.median, tumor.high, tumor.mean) if value is not None]
    speed, rate = scale_for("mm/s", max(speeds, default=0.0)), scale_for("mm^3/s", tumor.efflux)
    yield _row(run, tumor, "plateau", "plateau pressure", MMHG, "volume mean in the deepest tenth of its volume")
    yield _row(run, tumor, "surface", "pressure at its surface", MMHG, "area mean over the facets")
    for key, percent in (("depth50", 50), ("depth90", 90), ("depth95", 95)):
        meaning = "below the surface, where the mean pressure reaches it; negative: outside of the tumor"
        yield _row(run, tumor, key, f"depth to {percent} % of the plateau", Scale("mm", 1.0), meaning)
    meaning = "outward Darcy velocity at its surface"
    if tumor.low is not None and tumor.high is not None:
        spread = f"{number(float(speed(tumor.low)))} to {number(float(speed(tumor.high)))}"
        meaning += f", weighted by area; 5–95 %: {spread} {speed.unit}"
    yield _row(run, tumor, "median", "rim velocity, median", speed, meaning)
    yield _row(run, tumor, "mean", "rim velocity from the flux", speed, "net flux over area of the surface")
    per = number(3600 * tumor.efflux / tumor.volume, 3) if tumor.volume > 0 else "–"
    yield _row(run, tumor, "efflux", "efflux", rate, f"through facets with an outward flow; {per} mL/h per mL of tumor")


def _row(run: Run, tumor: TumorNote, key: str, what: str, scale: Scale, meaning: str) -> Row:
    value: float | None = getattr(tumor, key)
    if value is None:
        return Row(what, "–", "", scale.unit, f"not reached: {meaning}" if key.startswith("depth") else meaning)
    bar, reason = error_of(run, f"{tumor.name}.{key}", "", scale)
    return Row(
        what, number(float(scale(value)), 4), bar, scale.unit, f"{meaning}. No error: {reason}" if reason else meaning
    )


def _fate(run: Run, tumor: TumorNote) -> Iterator[Row]:
    """Yield where the fluid of a tumor ends, with shares."""
    rate = scale_for("mm^3/s", tumor.efflux)
    percent = Scale("%", 100.0)
    for end in tumor.fate:
        bar, reason = error_of(run, f"{tumor.name}.share {end.way} {end.place}", "", percent)
        what = WAYS.get(end.way, f"{end.way} {{}}").format(end.place)
        amount = f"{number(float(rate(end.rate)), 3)} {rate.unit}"
        yield Row(what, number(100 * end.share, 3), bar, "%", f"{amount}. No error: {reason}" if reason else amount)


@dataclass(frozen=True)
class Grid:
    """A table of numbers: unit, header and rows."""

    unit: str
    header: list[str]
    rows: list[list[str]]


def fluid_table(run: Run) -> Grid | None:
    """Return every way of the fluid by region at the last time, without ways that nothing goes; None without a flow."""
    table = _last(run.fluid)
    if not len(table):
        return None
    columns = [name for name in table.columns if name.endswith("[mm^3/s]") and "residual" not in name]
    used = [name for name in columns if np.abs(table.numbers(name)).max(initial=0.0) > 0]
    largest = max((float(np.abs(table.numbers(name)).max()) for name in used), default=0.0)
    scale = scale_for("mm^3/s", largest)
    header = ["region", *(name.removesuffix(" [mm^3/s]") for name in used), "residual / largest term"]
    rows = []
    for at, region in enumerate(table.words("region")):
        terms = [float(table.numbers(name)[at]) for name in used]
        residual = abs(float(table.numbers("residual [mm^3/s]")[at]))
        top = max(map(abs, terms), default=0.0)
        cells = [number(float(scale(term)), 4) for term in terms]
        rows.append([region, *cells, number(residual / top, 2) if top > 0 else "0"])
    return Grid(scale.unit, header, rows)


def surface_table(run: Run) -> Grid | None:
    """Return the flux through every named surface at the last time; None without a flow."""
    table = _last(run.surface_fluxes)
    if not len(table):
        return None
    flows = {name: table.numbers(f"{name} [mm^3/s]") for name in ("forward", "backward", "net")}
    areas = table.numbers("area [mm^2]")
    rate = scale_for("mm^3/s", max(float(np.abs(values).max()) for values in flows.values()))
    mean = np.divide(flows["net"], areas, out=np.zeros_like(areas), where=areas > 0)
    speed = scale_for("mm/s", float(np.abs(mean).max()))
    rows = [
        [
            name,
            kind,
            *(number(float(rate(values[at])), 4) for values in flows.values()),
            number(float(speed(mean[at])), 3),
        ]
        for at, (name, kind) in enumerate(zip(table.words("surface"), table.words("kind"), strict=True))
    ]
    return Grid(rate.unit, ["surface", "kind", "forward", "backward", "net", f"net / area [{speed.unit}]"], rows)


def _last(table: Table) -> Table:
    """Return the rows of the last time."""
    return table.where("t [s]", table.words("t [s]")[-1]) if len(table) else table
