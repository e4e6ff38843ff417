"""The fluid balance: facet fluxes in and out, cell rates made and lost."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain, Surface
from turgor.fem.flux import DarcyFlux
from turgor.fem.problem import WHOLE, BalanceRow

Array = NDArray[np.float64]


def in_and_out(domain: Domain, outward: Array) -> tuple[float, float]:
    """Return what enters and what leaves through facets, from their outward rates; collective."""
    parts = [float(-outward[outward < 0].sum()), float(outward[outward > 0].sum())]
    entered, left = (domain.comm.allreduce(part) for part in parts)
    return entered, left


def fluid_balance(domain: Domain, flux: DarcyFlux, source: Array) -> list[BalanceRow]:
    """State the balance by region and by surface, then of the whole; collective.

    Args:
        domain: The mesh.
        flux: The flow.
        source: Volume sources of the case in each cell [1/s]; they may be negative.
    """
    gains = [np.maximum(part, 0) for part in (flux.filtration, source, -flux.lymph)]
    losses = [np.maximum(-part, 0) for part in (flux.filtration, source, -flux.lymph)]
    made, lost = (domain.by_region(np.sum(parts, axis=0) * domain.volumes) for parts in (gains, losses))
    rows: list[BalanceRow] = []
    outer = np.zeros(2)
    for index, region in enumerate(domain.regions):
        total = np.zeros(2)
        for surface in _around(domain, region):
            passed = in_and_out(domain, _outward(flux, surface, region))
            rows.append(BalanceRow(region, surface.name, entered=passed[0], left=passed[1]))
            total += passed
            if surface.second is None or surface.name in flux.pressed:
                outer += passed
        rows.append(BalanceRow(region, "", float(total[0]), float(total[1]), float(made[index]), float(lost[index])))
    rows.append(BalanceRow(WHOLE, "", float(outer[0]), float(outer[1]), float(made.sum()), float(lost.sum())))
    return rows


def _around(domain: Domain, region: str) -> Iterable[Surface]:
    """Yield the surfaces that bound a region, each facet once."""
    for surface in domain.surfaces.values():
        if surface.kind != "named" and region in (surface.first, surface.second):
            yield surface


def _outward(flux: DarcyFlux, surface: Surface, region: str) -> Array:
    """Return the rates out of a region through the facets of a surface."""
    if surface.first == region:
        return flux.through(surface)
    return -(flux.beyond(surface) if surface.name in flux.pressed else flux.through(surface))
