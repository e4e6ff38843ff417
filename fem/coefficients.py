"""Values of the case on the cells of the mesh: numbers, tables in time, images averaged over each cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.case import Case
from turgor.fem.domain import Domain
from turgor.fem.maps import cell_averages
from turgor.materials.errors import CaseError, listed
from turgor.materials.parameters import PARAMETERS
from turgor.materials.values import ImageMap, Table
from turgor.resolve import Given, Region, resolve

Array = NDArray[np.float64]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Coefficients:
    """The values in force on a mesh.

    Attributes:
        domain: The mesh.
        values: Region -> parameter -> value in force.
        maps: (region, parameter) -> averages over the local cells of that region, in the internal unit.
    """

    domain: Domain
    values: Mapping[str, Region]
    maps: Mapping[tuple[str, str], Array]

    @classmethod
    def of(cls, case: Case, domain: Domain) -> Coefficients:
        """Resolve the values of a case and average its maps over the cells; collective.

        Raises:
            CaseError: A region without material, or a map that does not cover its region.
        """
        values = resolve(case, domain.regions)
        complaints: list[str] = []
        maps: dict[tuple[str, str], Array] = {}
        for region, given in values.items():
            for name, value in given.items():
                if isinstance(value.value, ImageMap):
                    maps[region, name], problems = _averaged(domain, region, value, value.value)
                    complaints += [f"materials.{region}.{name}: {problem}" for problem in problems]
        if complaints:
            raise CaseError(listed(complaints))
        return cls(domain, values, maps)

    def cells(self, name: str, time: float = 0.0, *, regions: Iterable[str] | None = None) -> Array:
        """Return a parameter on the local cells at a time [s], ghosts included, shape (n_cells,).

        Cells outside `regions` hold zero.
        """
        found = np.zeros(len(self.domain.region))
        for index, region in enumerate(self.domain.regions):
            if regions is not None and region not in regions:
                continue
            chosen = self.domain.region == index
            if (region, name) in self.maps:
                found[chosen] = self.maps[region, name]
            else:
                value = self.values[region][name].value
                found[chosen] = value.at(time) if isinstance(value, Table) else self.values[region][name].number()
        return found

    def chosen(self, name: str, word: str) -> NDArray[np.bool_]:
        """Return which local cells have a word, for example lymph = "one-way"."""
        having = [index for index, region in enumerate(self.domain.regions) if self.values[region][name].value == word]
        return np.isin(self.domain.region, having)

    def vary(self, names: Iterable[str]) -> bool:
        """Tell whether any of these parameters changes in time."""
        return bool(self.tables(names))

    def tables(self, names: Iterable[str]) -> tuple[Table, ...]:
        """Return the tables in time that give these parameters in some region."""
        wanted = set(names)
        given = [given for region in self.values.values() for given in region.values() if given.parameter in wanted]
        return tuple(one.value for one in given if isinstance(one.value, Table))


def _averaged(domain: Domain, region: str, given: Given, image: ImageMap) -> tuple[Array, list[str]]:
    """Return the map's averages on the local cells of a region, scaled, and what is wrong with it."""
    chosen = np.flatnonzero(domain.region == domain.regions.index(region))
    means, covered, problem = cell_averages(image.file, domain.points[chosen], domain.comm)
    if problem:
        return means, [problem]
    owned = chosen < domain.owned
    volumes = domain.volumes[chosen[owned]]
    sums = [float(volumes.sum()), float(volumes @ covered[owned]), float(volumes @ means[owned])]
    volume, inside, integral = (domain.comm.allreduce(part) for part in sums)
    if inside < 0.999 * volume:
        share = 100 * inside / volume
        return means, [f"the map {image.file.name} covers {share:.1f} % of the region, expected all of it"]
    if image.relative and not integral > 0:
        return means, [
            f"the map {image.file.name} has mean {integral / volume:g} over the region, expected more than zero"
        ]
    values = means * (given.number() * volume / integral if image.relative else image.factor)
    return values, _out_of_range(domain, given, image, values)


def _out_of_range(domain: Domain, given: Given, image: ImageMap, values: Array) -> list[str]:
    """Return the complaint about values that the parameter cannot have, for example negative ones from noise."""
    parameter = PARAMETERS.get(given.parameter)
    least = domain.comm.allreduce(float(values.min(initial=np.inf)), op=MPI.MIN)
    most = domain.comm.allreduce(float(values.max(initial=-np.inf)), op=MPI.MAX)
    if parameter is None or (least >= parameter.low and most <= parameter.high * (1 + ROUNDING)):
        return []
    bad = least if least < parameter.low else most
    return [
        f"the map {image.file.name} gives {bad:g} {parameter.unit} somewhere in the region, expected "
        f"{parameter.low:g} to {parameter.high:g}; set such voxels right first"
    ]
