"""The drug balance: stored from the field, in and out through surfaces, made and lost by cell rates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain
from turgor.fem.nodes import from_cells
from turgor.fem.physics.drug.boundary import Boundary
from turgor.fem.physics.drug.ports import Ports, Rows
from turgor.fem.physics.drug.scheme import Step
from turgor.fem.problem import WHOLE, BalanceRow

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RegionRates:
    """What belongs to one region at the owned nodes.

    Attributes:
        mass: Lumped n_a times volume [mm³].
        exchange: Rate that multiplies the plasma concentration [mm³/s].
        gain: Amount from sources [nmol/s].
        loss: Rate of the terms [mm³/s].
        rows: Its matrices at the nodes on interfaces.
    """

    mass: Array
    exchange: Array
    gain: Array
    loss: Array
    rows: Rows


def region_rates(
    domain: Domain, fraction: Array, gain: Array, source: Array, loss: Array, region: int, rows: Rows
) -> RegionRates:
    """Gather a region's rates from the cells; collective.

    Args:
        domain: The mesh.
        fraction: n_a of each cell.
        gain: Coefficient of the plasma concentration in each cell [1/s].
        source: Amount made in each cell per volume [nmol/(mm³ s)].
        loss: Coefficient of the free concentration in each cell [1/s].
        region: Its index.
        rows: Its matrices at the nodes on interfaces.
    """
    inside = domain.volumes * (domain.region == region)
    mass, exchange, made, lost = (from_cells(domain, part * inside) for part in (fraction, gain, source, loss))
    return RegionRates(mass, exchange, made, lost, rows)


def drug_balance(
    domain: Domain,
    ports: Ports,
    regions: list[RegionRates],
    surfaces: Boundary,
    step: Step,
    change: Array,
    plasma: float,
) -> list[BalanceRow]:
    """State the balance of a step by region and by surface, then of the whole; collective.

    Args:
        domain: The mesh.
        ports: Where regions meet.
        regions: Rates of each region.
        surfaces: Rates at the outer surfaces.
        step: The step.
        change: (c_new - c_old)/dt at the owned nodes [mol/(m³ s)].
        plasma: Mean plasma concentration over the step [mol/m³].
    """
    count = len(change)
    low = step.low[:count]
    leaving = np.zeros((len(regions), len(ports.nodes)))
    for index, rates in enumerate(regions):
        rows, graph = rates.rows, ports.graph
        column = graph.column[rows.edges]
        share = rows.sums(rows.transport * step.low[column] + rows.share * step.moved[rows.edges])
        local = rates.gain + rates.exchange * plasma - rates.loss * low - rates.mass * change
        for key in surfaces.loss:
            if key[0] == domain.regions[index]:
                local = local + surfaces.gain[key] - surfaces.loss[key] * low
        leaving[index, ports.present[index]] = share + local[rows.nodes]
    passed = ports.split(leaving)
    outer: list[BalanceRow] = []
    result: list[BalanceRow] = []
    for region, rates in zip(domain.regions, regions, strict=True):
        lines = [
            BalanceRow(region, key[1], *_sums(domain, surfaces.gain[key], surfaces.loss[key] * low))
            for key in surfaces.loss
            if key[0] == region
        ]
        crossing = [BalanceRow(region, name, max(-rate, 0.0), max(rate, 0.0)) for name, rate in passed[region].items()]
        crossing = [row for row in crossing if row.surface in domain.surfaces or row.scale > 0]
        outer += lines + [row for row in crossing if _is_outer(domain, row.surface)]
        lines = _merged([*lines, *crossing])
        terms = (rates.gain + rates.exchange * plasma, rates.loss * low, rates.mass * change)
        made, lost, stored = _sums(domain, *terms)
        result += [*lines, BalanceRow(region, "", *_through(lines), made, lost, stored)]
    whole = [row for row in result if not row.surface]
    sums = (sum(row.made for row in whole), sum(row.lost for row in whole), sum(row.stored for row in whole))
    return [*result, BalanceRow(WHOLE, "", *_through(outer), *sums)]


def _merged(rows: list[BalanceRow]) -> list[BalanceRow]:
    """Return one row a surface: a pressure given on an interface takes drug away beside what passes to the neighbor."""
    found: dict[str, BalanceRow] = {}
    for row in rows:
        known = found.get(row.surface, BalanceRow(row.region, row.surface))
        found[row.surface] = replace(known, entered=known.entered + row.entered, left=known.left + row.left)
    return list(found.values())


def _is_outer(domain: Domain, name: str) -> bool:
    """Tell whether a surface bounds the mesh."""
    return name in domain.surfaces and domain.surfaces[name].second is None


def _through(rows: list[BalanceRow]) -> tuple[float, float]:
    return sum(row.entered for row in rows), sum(row.left for row in rows)


def _sums(domain: Domain, *parts: Array) -> tuple[float, ...]:
    """Return the sums of nodal values over all ranks."""
    return tuple(float(domain.comm.allreduce(float(part.sum()))) for part in parts)
