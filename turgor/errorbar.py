"""How far off the numbers of a run are, from the same case on a mesh twice as coarse.

A number f on cells of size h is taken as f = exact + C h^p. With f' on cells r times as large the error of f is then

    |f - f'| / (r^p - 1)                                    (Richardson)

Two meshes cannot tell p, so the theoretical one is taken: 2 for pressures, 1 for all else, fluxes, velocities, shares
and drug. Where a flux converges faster, as it does on regular meshes, its bar is too long. The ratio r is measured:
from the mean edges on the surface for what passes it, else from the numbers of cells of the region. The bar is of the
discretization in space alone: it knows nothing of parameters, of the segmentation, of steps in time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turgor.materials.errors import CaseError
from turgor.resolve import tumors

if TYPE_CHECKING:
    from turgor.case import Case
    from turgor.fem.spec import MeasureSpec
    from turgor.postprocess.run import Run

FILE = "errorbar.json"
FOLDER = "coarse"
"""Inside the run folder: where the run on the coarse mesh is kept."""

COARSER = 2.0
"""What all sizes of the second mesh are multiplied with."""

ORDERS = {"pressure": 2, "flux": 1, "drug": 1}
"""Theoretical orders; "flux" is all that comes of velocities and of places on the surface."""

UNRESOLVED = 1.0
"""Largest h α at the rim of the coarse mesh at which a flux has a bar."""

LEAST_RATIO = 1.25
"""Smallest measured ratio of the two meshes from which something can be learned."""


@dataclass(frozen=True)
class Bar:
    """A number with its error.

    Attributes:
        name: Key of the measure, or what it is of the tumor.
        value: On the mesh of the run.
        coarse: On the coarse mesh.
        unit: Of both.
        order: Theoretical order p.
        ratio: Measured ratio r of the meshes there.
        bar: The estimated error; None where there is none.
        reason: Why there is none.
    """

    name: str
    value: float
    coarse: float
    unit: str
    order: int
    ratio: float
    bar: float | None
    reason: str = ""


def refuse(case: Case) -> None:
    """Refuse a case that cannot have error bars, before anything is done.

    Raises:
        CaseError: The mesh is the user's own, or there is no number to put a bar on.
    """
    if case.mesh.is_own:
        raise CaseError(
            "--error-bar: the mesh is your own, and turgor cannot make a coarser one of it; it needs [mesh.image] or "
            "[[mesh.surfaces]], with sizes"
        )
    if not case.output.measures and not tumors(case):
        raise CaseError("--error-bar: the case has no tumor and no measure to put a bar on; add [output.measures]")


def coarse_file(case: Case) -> Path:
    """Return where the coarse mesh is kept: beside that of the case."""
    return case.mesh.file.with_name(f"{case.mesh.file.stem}-coarse.msh")


def change(case: Case) -> str:
    """Return what --set says of a case to put it on the coarse mesh."""
    return f"mesh.file={json.dumps(str(coarse_file(case).resolve()), ensure_ascii=False)}"


def up_to_date(fine: Path, coarse: Path) -> bool:
    """Tell whether the bars in a run folder are those of these two runs."""
    try:
        said = json.loads((fine / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("runs") == _runs(fine, coarse)


def write(fine: Path, coarse: Path, measures: Mapping[str, MeasureSpec]) -> Path:
    """Compare two runs and write the bars into the folder of the finer one, whole or not at all."""
    from turgor.postprocess.run import Run

    runs = Run(fine), Run(coarse)
    content = {
        "format": 1,
        "runs": _runs(fine, coarse),
        "cells": [run.manifest.mesh.cells for run in runs],
        "orders": ORDERS,
        "h_alpha": {name: [value, runs[1].manifest.verification.h_alpha.get(name)]
                    for name, value in runs[0].manifest.verification.h_alpha.items()},
        "measures": [asdict(bar) for bar in measured(*runs, measures)],
        "tumors": [asdict(bar) for bar in reported(*runs)],
    }  # fmt: skip
    path = fine / FILE
    beside = path.with_name(f".{FILE}.tmp")
    beside.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(beside, path)
    return path


def _runs(fine: Path, coarse: Path) -> list[list[str]]:
    """Return what tells two runs from others: hashes of their cases, and when they were finished."""
    said = [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in (fine, coarse)]
    return [[str(one.get("case_hash")), str(one.get("finished"))] for one in said]


def measured(fine: Run, coarse: Run, measures: Mapping[str, MeasureSpec]) -> Iterator[Bar]:
    """Yield the measures of a case, at the end of the run."""
    for column in fine.quantities.columns:
        key, _, unit = column.removesuffix("]").rpartition(" [")
        if key not in measures or column not in coarse.quantities:
            continue
        spec, meshes = measures[key], _Meshes(fine, coarse)
        values = [float(run.quantities.numbers(column)[-1]) for run in (fine, coarse)]
        kind = _kind(spec.of)
        if spec.through is not None:
            place = meshes.surfaces(spec.through)
        elif kind == "flux" and spec.in_ is not None:
            place = meshes.around(spec.in_)
        else:
            place = meshes.region(spec.in_)
        order = 1 if spec.as_ == "volume_above" else ORDERS[kind]
        yield _bar(key, values, unit.removeprefix("-"), order, place, gated=kind == "flux" or spec.through is not None)


def _kind(of: str) -> str:
    """Return which order a field has."""
    name = of.partition(".")[0]
    return {"velocity": "flux", "pressure": "pressure"}.get(name, "drug")


RIM: Mapping[str, tuple[str, str]] = {
    "plateau": ("Pa", "pressure"),
    "surface": ("Pa", "flux"),
    "depth50": ("mm", "flux"),
    "depth90": ("mm", "flux"),
    "depth95": ("mm", "flux"),
    "median": ("mm/s", "flux"),
    "mean": ("mm/s", "flux"),
    "efflux": ("mm^3/s", "flux"),
}
"""Numbers of a tumor that have a bar: unit and kind."""


def reported(fine: Run, coarse: Run) -> Iterator[Bar]:
    """Yield the numbers that every run reports of its tumors."""
    meshes = _Meshes(fine, coarse)
    others = {str(entry["name"]): entry for entry in _tumors(coarse)}
    for entry in _tumors(fine):
        name = str(entry["name"])
        other = others.get(name)
        if other is None:
            continue
        rim, inside = meshes.named(entry["surfaces"]), meshes.region(name)
        for key, (unit, kind) in RIM.items():
            numbers = [float(one[key]) for one in (entry, other) if one.get(key) is not None]
            if len(numbers) < 2:
                continue
            place = inside if key == "plateau" else rim
            bar = _bar(f"{name}.{key}", numbers, unit, ORDERS[kind], place, gated=kind == "flux" and key != "surface")
            yield _in_sight(bar, float(entry["edge"])) if unit == "mm" else bar
        shares = [{f"{end['way']} {end['place']}": end["share"] for end in one["fate"]} for one in (entry, other)]
        for way, share in shares[0].items():
            both = [float(share), float(shares[1].get(way, 0.0))]
            yield _bar(f"{name}.share {way}", both, "", ORDERS["flux"], rim, gated=True)


def _in_sight(bar: Bar, edge: float) -> Bar:
    """Take the bar from a depth that is smaller than the edges there [mm]."""
    if bar.bar is None or abs(bar.value) >= edge:
        return bar
    return replace(bar, bar=None, reason=f"it is less than the edges of the cells there, {edge:.2g} mm")


def _tumors(run: Run) -> list[dict[str, Any]]:
    """Return what a run's record says of its tumors."""
    said = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = said.get("findings", {}).get("flow", {}).get("tumors", [])
    return found


@dataclass(frozen=True)
class _Place:
    """Where a number is made: ratio of the meshes there, and h α of the coarse one at the worst surface."""

    ratio: float
    h_alpha: float
    worst: str


@dataclass(frozen=True)
class _Meshes:
    """The meshes of two runs."""

    fine: Run
    coarse: Run

    def region(self, name: str | None) -> _Place:
        """Return what holds in a region, or in all of them."""
        counts = [
            sum(part.cells for part in run.manifest.region_geometry if name in (None, part.name))
            for run in (self.fine, self.coarse)
        ]
        return _Place((counts[0] / max(counts[1], 1)) ** (1 / 3), 0.0, "")

    def around(self, name: str) -> _Place:
        """Return what holds on the surfaces of a region."""
        names = [surface.name for surface in self.fine.manifest.surfaces if name in surface.name.split("|")]
        return self.named(names, self.region(name).ratio)

    def surfaces(self, pattern: str) -> _Place:
        """Return what holds on the surfaces behind a pattern such as "*|outside"."""
        from turgor.overview import matching

        return self.named(matching(pattern, [surface.name for surface in self.fine.manifest.surfaces]))

    def named(self, names: list[str], ratio: float | None = None) -> _Place:
        """Return what holds on surfaces: the worst h α, and the ratio of edges there, or else of all cells."""
        here, there = (run.manifest.verification.h_alpha for run in (self.fine, self.coarse))
        both = {name: (here[name], there[name]) for name in names if name in here and name in there}
        if not both:
            return _Place(self.region(None).ratio if ratio is None else ratio, 0.0, "")
        worst = max(both, key=lambda name: both[name][1])
        return _Place(both[worst][1] / both[worst][0] if ratio is None else ratio, both[worst][1], worst)


def _bar(name: str, values: list[float], unit: str, order: int, place: _Place, *, gated: bool) -> Bar:
    """Return a number with its bar, or with the reason why there is none."""
    value, coarse = values
    bar, reason = None, ""
    if gated and place.h_alpha > UNRESOLVED:
        reason = f"h α = {place.h_alpha:.3g} > 1 at {place.worst}: the coarse mesh does not show the layer there"
    elif place.ratio < LEAST_RATIO:
        reason = f"the second mesh is only {place.ratio:.2f} times as coarse there"
    else:
        bar = abs(value - coarse) / (place.ratio**order - 1)
    return Bar(name, value, coarse, unit, order, place.ratio, bar, reason)


def sentences(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each number of errorbar.json."""
    cells, reasons = content["cells"], dict[str, int]()
    yield f"error bars from {cells[0]:,} and {cells[1]:,} cells, with theoretical orders (pressure 2, all else 1):"
    for entry in (*content["measures"], *content["tumors"]):
        number = f"  {entry['name']} = {entry['value']:.5g}"
        unit = f" {entry['unit']}" if entry["unit"] else ""
        if entry["bar"] is None:
            mark = reasons.setdefault(entry["reason"], len(reasons) + 1)
            yield f"{number}{unit}, no bar [{mark}]"
        else:
            part = f" ({100 * entry['bar'] / abs(entry['value']):.2g} %)" if entry["value"] else ""
            yield f"{number} ± {entry['bar']:.2g}{unit}{part}"
    yield from (f"  [{mark}] {reason}" for reason, mark in reasons.items())
