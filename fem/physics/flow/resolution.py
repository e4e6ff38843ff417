"""Whether the cells show the boundary layers of the pressure: h α at the surfaces where fluid may pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain
from turgor.fem.flux import DarcyFlux
from turgor.fem.physics.flow.hybrid import Cells

Array = NDArray[np.float64]
RESOLVED = 1 / 3
"""Largest h α at which the flux through an embedded sphere's rim was found right to 2 %."""

NOTABLE = 1e-3
"""A surface that less than this part of the vessels' fluid passes is not warned of."""


def rim_resolution(domain: Domain, cells: Cells, exchange: Array, open_surfaces: Iterable[str]) -> Mapping[str, float]:
    """Return h α at each interface and open outer surface; collective.

    h is the mean edge length there [mm] and 1/α = √(n·K n/(Lp S/V)) the thickness of the thinner boundary layer beside
    it, with n normal to the surface.

    Args:
        domain: The mesh.
        cells: With the conductivity of each local cell.
        exchange: Lp S/V of each local cell [1/(Pa s)].
        open_surfaces: Outer surfaces with a pressure or an exchange.
    """
    wanted, found = set(open_surfaces), {}
    for name, surface in domain.surfaces.items():
        if surface.second is None and name not in wanted:
            continue
        areas = np.linalg.norm(surface.area_vectors, axis=1)
        normals = surface.area_vectors / areas[:, None]
        sides = [exchange[beside] / _across(cells, beside, normals) for beside in (surface.cells, surface.beyond)]
        edges = np.sqrt(4 / np.sqrt(3) * areas)
        sums = [float((edges * np.sqrt(np.maximum(*sides))).sum()), float(len(edges))]
        total, count = (domain.comm.allreduce(value) for value in sums)
        if count and total > 0:
            found[name] = total / count
    return found


def _across(cells: Cells, beside: NDArray[np.int32], normals: Array) -> Array:
    """Return n·K n [mm²/(Pa s)] in some cells."""
    if len(cells.tensor):
        return np.asarray(np.einsum("fi,fij,fj->f", normals, cells.tensor[beside], normals))
    return np.asarray(cells.conductivity[beside])


def too_coarse(domain: Domain, flux: DarcyFlux, resolution: Mapping[str, float]) -> Iterable[str]:
    """Yield a sentence for each surface that fluid passes and whose layer the cells do not show; collective."""
    turnover = domain.sum(np.abs(flux.divergence) * domain.volumes)
    for name, value in resolution.items():
        passed = float(domain.comm.allreduce(float(np.abs(flux.through(domain.surfaces[name])).sum())))
        if value > RESOLVED and passed > NOTABLE * turnover:
            yield (
                f"the pressure layer at {name} is thinner than the mesh can show: h α = {value:.2g}, expected at most "
                f"1/3; the flux and the velocity there come out too small. Make the cells there smaller"
            )
