"""A Darcy velocity that conserves fluid cell by cell, with the rates that feed and drain each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Surface

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DarcyFlux:
    """v = mean + divergence/3 (x - x_T) in each cell T, with the same normal component from both sides of a facet.

    Attributes:
        mean: Velocity at the cells' centers [mm/s], shape (n_cells, 3), ghosts included.
        divergence: Net source of each cell [1/s].
        filtration: Fluid from the vessels [1/s], negative where it is reabsorbed.
        lymph: Fluid into the lymphatics [1/s].
        volumes: Of the cells [mm³].
        version: Grows by one when the flux changes.
        pressed: Interfaces with a given pressure, where fluid may appear or vanish.
        sealed: Outer surface -> which of its facets let nothing pass; the rest of rounding there is not counted.
    """

    mean: Array
    divergence: Array
    filtration: Array
    lymph: Array
    volumes: Array
    version: int
    pressed: frozenset[str] = frozenset()
    sealed: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def through(self, surface: Surface) -> Array:
        """Return the volume rate [mm³/s] through each facet out of the surface's first region.

        (x_F - x_T)·n |F| = 3/4 |T|, whatever the cell.
        """
        cells = surface.cells
        own = 0.25 * self.divergence[cells] * self.volumes[cells]
        rates = np.einsum("ij,ij->i", self.mean[cells], surface.area_vectors) + own
        return np.where(self.sealed.get(surface.name, False), 0.0, rates)

    def beyond(self, surface: Surface) -> Array:
        """Return the volume rate [mm³/s] into the second region, as the cells on that side have it."""
        cells = surface.beyond
        own = 0.25 * self.divergence[cells] * self.volumes[cells]
        return np.asarray(np.einsum("ij,ij->i", self.mean[cells], surface.area_vectors) - own)
