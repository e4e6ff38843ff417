"""The tables of the report: measures, regions, balance and verification, as text ready to print."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from turgor.postprocess.ledger import Ledger
from turgor.postprocess.run import Run
from turgor.postprocess.scales import PASCAL_PER_MMHG, Scale, clock, counted, number, pretty_unit, scale_for
from turgor.postprocess.words import RIM_LIMIT

_HEADER = re.compile(r"(?P<key>.*) \[(?P<unit>.*)\]$")


@dataclass(frozen=True)
class Measure:
    """One measure: its last value with its error, over time its largest value and when; with what it is of, if known.

    `note` says why there is no error where one was asked for.
    """

    key: str
    meaning: str
    unit: str
    last: str
    largest: str
    when: str
    bar: str = ""
    note: str = ""


def measures(run: Run) -> list[Measure]:
    """Return the columns of quantities.csv."""
    table = run.quantities
    found = []
    times = table.numbers("t [s]") if "t [s]" in table else np.zeros(0)
    for header in table.columns:
        match = _HEADER.match(header)
        if not match or header == "t [s]" or not len(times):
            continue
        values = table.numbers(header)
        unit = "" if match["unit"] == "-" else match["unit"]
        peak = int(np.nanargmax(np.abs(values))) if np.isfinite(values).any() else 0
        found.append(
            Measure(
                match["key"],
                _meaning(run, match["key"]),
                _both_units(unit),
                _value(float(values[-1]), unit),
                _value(float(values[peak]), unit) if len(values) > 1 else "",
                clock(float(times[peak])) if len(values) > 1 else "",
                *error_of(run, match["key"], unit),
            )
        )
    return found


def error_of(run: Run, name: str, unit: str, scale: Scale | None = None) -> tuple[str, str]:
    """Return the error of a number as text in its unit, and the reason where there is none."""
    note = run.bars.of(name)
    if note is None or note.bar is None:
        return ("", note.reason if note else "")
    if scale is not None:
        return f"± {number(note.bar * scale.factor, 2)}", ""
    mmhg = f" ({number(note.bar / PASCAL_PER_MMHG, 2)})" if unit == "Pa" else ""
    return f"± {number(note.bar, 2)}{mmhg}", ""


def _both_units(unit: str) -> str:
    return "Pa (mmHg)" if unit == "Pa" else pretty_unit(unit)


def _value(value: float, unit: str) -> str:
    text = number(value, 5)
    return f"{text} ({number(value / PASCAL_PER_MMHG, 4)})" if unit == "Pa" and np.isfinite(value) else text


def _meaning(run: Run, key: str) -> str:
    """Return what a measure is, from the case: "mean of pressure in tumor"."""
    output = run.resolved.case.get("output")
    known = output.get("measures") if isinstance(output, dict) else None
    measure = known.get(key) if isinstance(known, dict) else None
    if not isinstance(measure, dict):
        return ""
    given = {name.rstrip("_"): value for name, value in measure.items() if value not in (None, "", [])}
    text = f"{given['as']} of {given.get('of', '')}" if "as" in given else f"{given.get('of', '')}"
    text += f", {given['over']}" if "over" in given else ""
    if "in" in given:
        text += f" in {given['in']}"
    if "through" in given:
        text = f"flux of {given.get('of', '')} through {given['through']}"
    if "at" in given and isinstance(given["at"], list):
        text += f" at ({', '.join(str(x) for x in given['at'])})"
    return text + (f" above {given['value']}" if "value" in given else "")


def region_table(run: Run) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the regions: cells, volume, and the last means of the fields."""
    table = run.region_means
    columns = _region_columns(run)
    header = ["region", "cells", "volume [mL]", *(title for _, title, _ in columns)]
    rows = []
    total = 0.0
    for geometry in run.manifest.region_geometry:
        rows_of = table.where("region", geometry.name)
        cells = [geometry.name, counted(geometry.cells), number(geometry.volume / 1000, 4)]
        for name, _, factor in columns:
            cells.append(number(float(rows_of.numbers(name)[-1]) * factor, 4) if len(rows_of) else "–")
        total += geometry.volume
        rows.append(cells)
    if len(rows) > 1:
        all_cells = sum(geometry.cells for geometry in run.manifest.region_geometry)
        rows.append(["all", counted(all_cells), number(total / 1000, 4), *([""] * len(columns))])
    return header, rows


def _region_columns(run: Run) -> list[tuple[str, str, float]]:
    """Return column of regions.csv, title and factor for what is worth a column."""
    found: list[tuple[str, str, float]] = []
    for name in run.region_means.columns:
        match = _HEADER.match(name)
        if not match or name == "t [s]":
            continue
        largest = float(np.nanmax(np.abs(run.region_means.numbers(name)), initial=0.0))
        scale = scale_for(match["unit"], largest) if match["unit"] != "-" else Scale("", 1.0)
        found.append((name, f"{match['key']} [{scale.unit}]", scale.factor))
    return found


def balance_table(ledger: Ledger) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the unit, and the ways in and out with their sign and share of what came in."""
    came = sum(item.value for item in ledger.items if item.term in ("in", "made"))
    unit = ledger.unit if ledger.steady else ledger.amount_unit
    scale = scale_for(unit, max((abs(item.value) for item in ledger.items), default=0.0))
    words = {"in": "in through", "out": "out through", "made": "made in", "lost": "lost in", "stored": "stored in"}
    rows = []
    for item in sorted(ledger.items, key=lambda item: (item.term not in ("in", "made"), -abs(item.value))):
        share = f"{number(100 * item.value / came)} %" if came > 0 else "–"
        sign = 1.0 if item.term in ("in", "made") else -1.0
        rows.append((f"{words[item.term]} {item.place}", number(sign * float(scale(item.value)), 4), share))
    return scale.unit, rows


@dataclass(frozen=True)
class Check:
    """One line of the verification notes: what, how much, what it means, and whether it should worry."""

    what: str
    value: str
    meaning: str
    worry: bool = False


def checks(run: Run, books: tuple[Ledger, ...]) -> list[Check]:
    """Return how far the discretization and the solvers can be trusted."""
    said = run.manifest.verification
    rows = [Check("cells, nodes", f"{counted(run.manifest.mesh.cells)}, {counted(run.manifest.mesh.points)}", "")]
    for physics in run.manifest.physics:
        rows.append(Check(f"unknowns, {physics.name}", counted(physics.unknowns), ""))
    for name, solver in run.manifest.solvers.items():
        value = (
            f"{counted(solver.iterations_total)} in {counted(solver.solves)} solve{'s' if solver.solves != 1 else ''}"
        )
        reached = f"at most {solver.iterations_max} in one; relative residual at most {number(solver.residual_max, 2)}"
        reached += f", asked {number(solver.tolerance, 2)}" if solver.tolerance else ""
        rows.append(Check(f"iterations, {name}", value, reached, solver.residual_max > solver.tolerance > 0))
    for surface, product in said.h_alpha.items():
        good = product <= RIM_LIMIT
        meaning = (
            "the pressure layer at the rim is resolved (at most 1/3)" if good else "above 1/3: NOT resolved, refine"
        )
        rows.append(Check(f"cell size × α at {surface}", number(product), meaning, not good))
    if said.cell_peclet_max is not None:
        meaning = "convection against diffusion over one cell; where it is above 1 layers along the flow are smoothed"
        rows.append(Check("largest cell Peclet number", number(said.cell_peclet_max), meaning))
    if said.cell_imbalance_max is not None:
        meaning = "largest imbalance of fluid over one cell, relative"
        rows.append(Check("local fluid imbalance", number(said.cell_imbalance_max, 2), meaning))
    for book in books:
        meaning = "largest residual of a step over the largest term of that step"
        rows.append(Check(f"balance residual, {book.physics}", number(book.relative_residual, 2), meaning))
    return rows
