"""What every flow reports without being asked: its ledger, its surfaces, its tumors, and what a reader must be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from turgor.fem.conditions import SEALED
from turgor.fem.domain import Domain
from turgor.fem.flux import DarcyFlux
from turgor.fem.measures import share_above
from turgor.fem.physics.flow.bodies import Body, bodies_of
from turgor.fem.physics.flow.fate import FATE, REABSORBED, Ending, endings
from turgor.fem.physics.flow.ledger import FLUID, SURFACES, fluid_ledger, surface_rows
from turgor.fem.physics.flow.rim import PROFILE, RIM, Layer, Pressures, Rim, rim_of
from turgor.fem.problem import OwnTable

Array = NDArray[np.float64]
MMHG = 133.322387415

FAR = 5.0
"""Tissue farther than this from every tumor [mm] counts as far; in a small body half of the largest distance."""

MEASURED = "-2.6, -0.3, 0 to 3 and 3.6 mmHg (Gutmann 1992, Nathanson and Nelson 1994, Roh 1991)"
FAR_RANGE: Mapping[str, tuple[float, float, str]] = {
    "normal": (-3.0, 4.5, f"in normal and benign tissue {MEASURED} were measured"),
    "brain": (0.0, 20.0, "in the brain 0 to 20 mmHg are expected (assumed)"),
}
"""Group of tissue -> lowest and highest pressure far from tumors [mmHg] that is not told of, and why."""

MOST = 0.5
"""A larger share of the efflux that vessels take back is told of."""


@dataclass(frozen=True)
class State:
    """A flow that is solved.

    Attributes:
        flux: The flow.
        source: Volume sources of the case in each local cell [1/s].
        pressures: Of cells and facets.
        exchange: Lp S/V of each local cell [1/(Pa s)].
        lymph: LpL SL/V of each local cell [1/(Pa s)].
        said: Condition on each outer surface, and on interfaces that have one, in words.
    """

    flux: DarcyFlux
    source: Array
    pressures: Pressures
    exchange: Array
    lymph: Array
    said: Mapping[str, str]


@dataclass(frozen=True)
class Told:
    """The numbers of one tumor."""

    body: Body
    rim: Rim
    layers: list[Layer]
    endings: list[Ending]

    def share(self, way: str) -> float:
        """Return the share of the efflux that ends in a way."""
        return sum(ending.share for ending in self.endings if ending.way == way)


class Report:
    """The report of a flow on a mesh; what is asked twice of the same flux is found once."""

    def __init__(self, domain: Domain, tumors: Iterable[str], groups: Mapping[str, str]) -> None:
        """Take what the case says of the regions.

        Args:
            domain: The mesh.
            tumors: Regions that count as tumor.
            groups: Region -> group of its tissue.
        """
        self.domain, self.groups = domain, groups
        self._tumors = tuple(tumors)
        self._bodies: tuple[Body, ...] | None = None
        self._last: tuple[int, list[Told]] = (-1, [])

    def bodies(self, state: State) -> tuple[Body, ...]:
        """Return the tumors, found when they are first asked for; collective."""
        if self._bodies is None:
            self._bodies = bodies_of(self.domain, self._tumors, state.flux.sealed)
        return self._bodies

    def tumors(self, state: State) -> list[Told]:
        """Return the numbers of each tumor; collective."""
        if self._last[0] != state.flux.version:
            told = [self._told(body, state) for body in self.bodies(state)]
            self._last = (state.flux.version, told)
        return self._last[1]

    def _told(self, body: Body, state: State) -> Told:
        rim, layers = rim_of(self.domain, body, state.flux, state.pressures)
        return Told(body, rim, layers, endings(self.domain, body, state.flux, state.source, state.pressures.cells))

    def tables(self, now: Callable[[], State]) -> Mapping[str, OwnTable]:
        """Return the tables of a flow, and those of its tumors if there are any; `now` gives its state."""

        def rows() -> list[tuple[str | float, ...]]:
            state = now()
            return [(row.region, *row.numbers()) for row in fluid_ledger(self.domain, state.flux, state.source)]

        tables = {
            "fluid.csv": OwnTable(FLUID, rows),
            "surfaces.csv": OwnTable(SURFACES, lambda: surface_rows(self.domain, now().flux)),
        }
        if any(name in self.domain.regions for name in self._tumors):
            tables["rim.csv"] = OwnTable(RIM, lambda: [_row(told) for told in self.tumors(now())])
            tables["profile.csv"] = OwnTable(PROFILE, lambda: _listed(self.tumors(now()), "layers"))
            tables["fate.csv"] = OwnTable(FATE, lambda: _listed(self.tumors(now()), "endings"))
        return tables

    def findings(self, state: State) -> Mapping[str, Any]:
        """Return what stands in the run's record; collective."""
        return {
            "tumors": [
                {
                    "name": told.body.name,
                    "regions": list(told.body.regions),
                    "surfaces": [patch.surface.name for patch in told.body.patches],
                    "condition": outer_condition(told.body, state.said),
                    **asdict(told.rim),
                    "fate": [asdict(ending) for ending in told.endings],
                }
                for told in self.tumors(state)
            ],
            "far": [
                {"region": region, "distance": distance, "pressure": pressure}
                for region, distance, pressure in self.far(state)
            ],
        }

    def far(self, state: State) -> list[tuple[str, float, float]]:
        """Return region, distance [mm] and mean pressure beyond [Pa] of tissue far from every tumor; collective."""
        bodies = self.bodies(state)
        if not bodies:
            return []
        owned = slice(self.domain.owned)
        nodes = np.asarray(self.domain.space.dofmap.list)[owned]
        away = np.asarray(np.minimum.reduce([body.distance for body in bodies]))[nodes]
        distance = min(FAR, 0.5 * max(self.domain.comm.allgather(float(away.max(initial=0.0)))))
        weights = np.zeros(len(self.domain.volumes))
        weights[owned] = share_above(away, distance) * self.domain.volumes[owned]
        volumes = self.domain.by_region(weights)
        sums = self.domain.by_region(weights * state.pressures.cells)
        host = [name not in {region for body in bodies for region in body.regions} for name in self.domain.regions]
        return [
            (name, distance, float(sums[at] / volumes[at]))
            for at, name in enumerate(self.domain.regions)
            if host[at] and volumes[at] > 0
        ]

    def warnings(self, state: State) -> Iterable[str]:
        """Say what a reader of the results must know; collective."""
        for told in self.tumors(state):
            share = told.share(REABSORBED)
            if share > MOST:
                yield (
                    f"flow: {100 * share:.0f} % of the fluid that leaves {told.body.name} is taken back by vessels; "
                    f'most tissues do not reabsorb for long (revised Starling principle): compare reabsorption = "none"'
                )
        yield from self._undrained(state)
        for region, distance, pressure in self.far(state):
            low, high, why = FAR_RANGE.get(self.groups.get(region, "normal"), FAR_RANGE["normal"])
            if not low <= pressure / MMHG <= high:
                yield (
                    f"flow: the pressure of {region} farther than {distance:.2g} mm from the tumor is "
                    f"{pressure / MMHG:.3g} mmHg; {why}. Set its lymphatic_conductance, or the pressure outside"
                )

    def _undrained(self, state: State) -> Iterable[str]:
        """Name the tissues that have vessels and neither lymph nor a way out, themselves or beside them."""
        leaky, drained = (self._in_regions(values > 0) for values in (state.exchange, state.lymph))
        tumors = {region for body in self.bodies(state) for region in body.regions}
        open_surfaces = [name for name, words in state.said.items() if words != SEALED]
        for name in open_surfaces:
            surface = self.domain.surfaces[name]
            drained |= {side for side in (surface.first, surface.second) if side is not None}
        links = [(s.first, s.second) for s in self.domain.surfaces.values() if s.kind == "interface"]
        links = [(a, b) for a, b in links if a not in tumors and b not in tumors]
        grown = True
        while grown:
            more = {b for a, b in (*links, *((b, a) for a, b in links)) if a in drained} - drained
            drained, grown = drained | {str(name) for name in more}, bool(more)
        for name in self.domain.regions:
            if name in leaky - drained - tumors:
                yield (
                    f"flow: {name} has vessels but no drain, neither lymph nor an open surface: its fluid can only go "
                    f"back into vessels, and its pressure rises to where they stop leaking. Set lymphatic_conductance"
                )

    def _in_regions(self, cells: NDArray[np.bool_]) -> set[str]:
        found = self.domain.by_region(cells.astype(np.float64))
        return {name for name, count in zip(self.domain.regions, found, strict=True) if count > 0}


def outer_condition(body: Body, said: Mapping[str, str]) -> str:
    """Return in words what holds outside of a tumor, on which its velocity depends as much as on its tissue."""
    own = [patch.surface for patch in body.patches]
    held = [f"{surface.name}: {said[surface.name]}" for surface in own if said.get(surface.name, SEALED) != SEALED]
    around = [surface for surface in own if surface.second is not None]
    words = [f"at its own surface {text}" for text in held]
    if around:
        names = {surface.name for surface in own}
        rest = [f"{name}: {text}" for name, text in said.items() if name not in names]
        tissue = ", ".join(dict.fromkeys(s.second if s.first in body.regions else s.first for s in around if s.second))
        words.append(f"{tissue} solved around it, with " + ("; ".join(rest) or "no outer surface"))
    return "; ".join(words) or "sealed all round"


def _row(told: Told) -> tuple[str | float, ...]:
    """Return the row of rim.csv; what there is none of stays empty."""
    return (told.body.name, *("" if value is None else value for value in asdict(told.rim).values()))


def _listed(tumors: Iterable[Told], what: Literal["layers", "endings"]) -> list[tuple[str | float, ...]]:
    """Return the rows of profile.csv or fate.csv."""
    return [(told.body.name, *astuple(entry)) for told in tumors for entry in getattr(told, what)]
