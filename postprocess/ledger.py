"""The balance of a physics: what came in, what went where, and what is left unexplained.

Rows of `balance.csv` are rates over a step; amounts over the run are their sums weighted with the steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.postprocess.run import Run
from turgor.postprocess.table import Table

Floats = NDArray[np.float64]

TERMS = ("in", "out", "made", "lost", "stored", "residual")


@dataclass(frozen=True)
class Item:
    """One way in or out: where, what (in, out, made, lost, stored), and how much (rate, or amount over the run)."""

    place: str
    term: str
    value: float


@dataclass(frozen=True)
class Ledger:
    """The balance of one physics.

    Attributes:
        physics: Its name.
        unit: Internal unit of the rates, mm^3/s or nmol/s.
        times: Ends of the steps [s].
        totals: Term -> rate of the whole body, one a step.
        items: Contributions by region and outer surface: rates of the last step, or amounts over the run.
        steady: One row only: items are rates.
    """

    physics: str
    unit: str
    times: Floats
    totals: dict[str, Floats]
    items: tuple[Item, ...]
    steady: bool

    @property
    def amount_unit(self) -> str:
        """The unit of amounts over the run."""
        return self.unit.removesuffix("/s")

    def cumulative(self, term: str) -> Floats:
        """Return the sum of a term over the steps so far."""
        return _summed(self.times, self.totals[term])

    @property
    def relative_residual(self) -> float:
        """Largest residual of a step over the largest term of that step."""
        largest = np.max([np.abs(self.totals[term]) for term in TERMS[:-1]], axis=0, initial=0.0)
        ratio = np.abs(self.totals["residual"]) / np.where(largest > 0, largest, np.inf)
        return float(ratio.max(initial=0.0))


def ledgers(run: Run) -> tuple[Ledger, ...]:
    """Return the balance of each physics of a run, in the order of the file."""
    return tuple(_ledger(run, name) for name in run.balance.distinct("physics"))


def _ledger(run: Run, physics: str) -> Ledger:
    rows = run.balance.where("physics", physics)
    total = rows.where("region", "all").where("surface", "")
    times = total.numbers("t [s]")
    totals = {term: np.nan_to_num(total.numbers(term)) for term in TERMS}
    steady = len(times) < 3 or physics_is_steady(rows, totals)
    items = _items(run, rows, steady)
    return Ledger(physics, (rows.distinct("unit") or ("",))[0], times, totals, items, steady)


def physics_is_steady(rows: Table, totals: dict[str, Floats]) -> bool:
    """Return whether nothing is stored and the rates do not change: a bar then says all."""
    largest = max(float(np.abs(values).max(initial=0.0)) for values in totals.values())
    change = max(float(np.ptp(totals[term])) if len(rows) else 0.0 for term in ("in", "out", "made", "lost"))
    stored = float(np.abs(totals["stored"]).max(initial=0.0))
    return change < 1e-6 * largest and stored < 1e-6 * largest


def _items(run: Run, rows: Table, steady: bool) -> tuple[Item, ...]:
    interfaces = {surface.name for surface in run.manifest.surfaces if surface.kind == "interface"}
    items: list[Item] = []
    for region in rows.distinct("region"):
        if region == "all":
            continue
        of_region = rows.where("region", region)
        for surface in of_region.distinct("surface"):
            part = of_region.where("surface", surface)
            if surface in interfaces:
                continue
            terms = ("in", "out") if surface else ("made", "lost", *(() if steady else ("stored",)))
            items += [Item(surface or region, term, _final(part, term, steady)) for term in terms]
    return tuple(item for item in items if item.value != 0.0)


def _final(rows: Table, term: str, steady: bool) -> float:
    values = np.nan_to_num(rows.numbers(term))
    if not len(values):
        return 0.0
    return float(values[-1]) if steady else float(_summed(rows.numbers("t [s]"), values)[-1])


def _summed(times: Floats, rates: Floats) -> Floats:
    steps = np.diff(times, prepend=min(0.0, float(times[0])) if len(times) else 0.0)
    return np.cumsum(steps * rates)
