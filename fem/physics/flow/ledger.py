"""The fluid balance: facet fluxes in and out, cell rates made and lost, and each of these by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain, Surface
from turgor.fem.flux import DarcyFlux
from turgor.fem.problem import WHOLE, BalanceRow

Array = NDArray[np.float64]


def in_and_out(domain: Domain, rates: Array) -> tuple[float, float]:
    """Return what enters and what leaves through facets, from their outward rates; collective."""
    parts = [float(np.maximum(side * rates, 0.0).sum()) for side in (-1, 1)]
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
            passed = in_and_out(domain, outward(flux, surface, region))
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


def outward(flux: DarcyFlux, surface: Surface, region: str) -> Array:
    """Return the rates out of a region through the facets of a surface."""
    if surface.first == region:
        return flux.through(surface)
    return -(flux.beyond(surface) if surface.name in flux.pressed else flux.through(surface))


@dataclass(frozen=True)
class FluidRow:
    """Where the fluid of a region comes from and goes, each way by itself [mm³/s], none of them negative.

    Attributes:
        region: Region, or "all".
        entered: Through surfaces into the region; of "all" through outer surfaces and held pressures.
        left: Through surfaces out of it.
        filtration: From the vessels, where it is positive.
        reabsorption: Into the vessels, where they take fluid back.
        lymph: Into the lymphatics.
        refilled: Out of the lymphatics; only with `lymph = "linear"`.
        injected: By sources of the case.
        withdrawn: By sources of the case with a negative rate.
    """

    region: str
    entered: float
    left: float
    filtration: float
    reabsorption: float
    lymph: float
    refilled: float
    injected: float
    withdrawn: float

    @property
    def residual(self) -> float:
        """What does not add up [mm³/s]."""
        came = self.entered + self.filtration + self.refilled + self.injected
        return came - self.left - self.reabsorption - self.lymph - self.withdrawn

    def numbers(self) -> tuple[float, ...]:
        """Return the terms in the order of `FLUID`."""
        ways = (self.filtration, self.reabsorption, self.lymph, self.refilled, self.injected, self.withdrawn)
        return (self.entered, self.left, *ways, self.residual)


TERMS = ("in", "out", "filtration", "reabsorption", "lymph", "refilled", "injected", "withdrawn", "residual")
FLUID = ("region", *(f"{term} [mm^3/s]" for term in TERMS))
"""Columns of `fluid.csv` after the time."""

WAYS = ("forward", "backward", "net", "beyond")
SURFACES = ("surface", "kind", "area [mm^2]", *(f"{way} [mm^3/s]" for way in WAYS))
"""Columns of `surfaces.csv` after the time."""


def fluid_ledger(domain: Domain, flux: DarcyFlux, source: Array) -> list[FluidRow]:
    """Return every way of the fluid by region, gross, then of the whole; collective. The arguments are as above."""
    parts = [side * part for part in (flux.filtration, flux.lymph, source) for side in (1, -1)]
    ways = [domain.by_region(np.maximum(part, 0) * domain.volumes) for part in parts]
    sums = [row for row in fluid_balance(domain, flux, source) if not row.surface]
    amounts = [[float(way[at]) for way in ways] for at in range(len(domain.regions))]
    amounts.append([float(way.sum()) for way in ways])
    return [FluidRow(row.region, row.entered, row.left, *ways) for row, ways in zip(sums, amounts, strict=True)]


def surface_rows(domain: Domain, flux: DarcyFlux) -> list[tuple[str | float, ...]]:
    """Return the flux through every named surface, counted from its first region; collective.

    "beyond" is the net flux on the far side, which differs only where a pressure is held inside the tissue.
    """
    rows: list[tuple[str | float, ...]] = []
    for name, surface in domain.surfaces.items():
        back, forth = in_and_out(domain, flux.through(surface))
        net = forth - back
        if name in flux.pressed and surface.second is not None:
            beyond = float(domain.comm.allreduce(float(flux.beyond(surface).sum())))
        else:
            beyond = net
        rows.append((name, surface.kind, surface.area, forth, back, net, beyond))
    return rows


def cell_fields(flux: DarcyFlux, pressure: Array) -> Mapping[str, tuple[Array, str]]:
    """Return what a balance is computed again from, beside "velocity": name -> number of each cell, and unit.

    The flux out of a cell through a facet with the area vector a is velocity · a + divergence |T| / 4; what a source
    of the case makes is divergence - filtration + lymph.
    """
    return {
        "pressure.cell": (pressure, "Pa"),
        "velocity.divergence": (flux.divergence, "1/s"),
        "filtration": (flux.filtration, "1/s"),
        "lymph": (flux.lymph, "1/s"),
    }
