"""Values of the case on the cells of the mesh: numbers, tables in time, images averaged over each cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from turgor.case import Case
from turgor.fem.domain import Domain
from turgor.fem.mapped import Mapped, MapRecord, mapped
from turgor.fem.maps import Averages, Source, cell_averages
from turgor.materials.errors import CaseError, listed
from turgor.materials.parameters import PARAMETERS
from turgor.materials.values import ImageMap, Table
from turgor.meshing.tensors import is_tensor
from turgor.resolve import Given, Region, resolve

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficients:
    """The values in force on a mesh.

    Attributes:
        domain: The mesh.
        values: Region -> parameter -> value in force.
        maps: (region, parameter) -> averages over the local cells of that region, in the internal unit.
        tensors: (region, parameter) -> tensors in the local cells of that region, whose third of the trace `maps` has.
        records: What was made of each map, for the run's record: coverage, what was filled, mean, extremes.
    """

    domain: Domain
    values: Mapping[str, Region]
    maps: Mapping[tuple[str, str], Array]
    tensors: Mapping[tuple[str, str], Array] = field(default_factory=dict)
    records: tuple[MapRecord, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the results must know of the maps, one sentence each."""
        return tuple(sentence for record in self.records for sentence in record.sentences)

    @classmethod
    def of(cls, case: Case, domain: Domain) -> Coefficients:
        """Resolve the values of a case and average its maps over the cells; collective.

        Raises:
            CaseError: A region without material; a map that does not cover its region, or cannot be right.
        """
        values = resolve(case, domain.regions)
        complaints: list[str] = []
        maps: dict[tuple[str, str], Mapped] = {}
        sources = domain.comm.bcast(_sources(values) if domain.comm.rank == 0 else {}, root=0)
        for source, wanted in sources.items():
            chosen = np.flatnonzero(domain.within({region for region, _ in wanted}))
            found = cell_averages(source, domain.points[chosen], domain.comm)
            for region, name in wanted:
                where, given = f"materials.{region}.{name}", values[region][name]
                if isinstance(found, str):
                    complaints.append(f"{where}: {found}")
                    continue
                own = _part(found, domain.region[chosen] == domain.regions.index(region))
                maps[region, name] = mapped(domain, region, given, _image(given), own)
                complaints += [f"{where}: {problem}" for problem in maps[region, name].problems]
        if complaints:
            raise CaseError(listed(complaints))
        return cls(
            domain,
            values,
            {key: one.values for key, one in maps.items()},
            {key: one.tensors for key, one in maps.items() if one.tensors is not None},
            tuple(one.record for one in maps.values() if one.record is not None),
        )

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

    def tensor(self, name: str, time: float = 0.0) -> Array | None:
        """Return a parameter as a tensor on the local cells, ghosts included, shape (n_cells, 3, 3).

        Regions where it is a number have that number times the identity. None where no region has tensors.
        """
        having = [region for region, parameter in self.tensors if parameter == name]
        if not having:
            return None
        found = self.cells(name, time)[:, None, None] * np.eye(3)
        for region in having:
            found[self.domain.region == self.domain.regions.index(region)] = self.tensors[region, name]
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


def _sources(values: Mapping[str, Region]) -> Mapping[Source, list[tuple[str, str]]]:
    """Return each image that the case names, with the regions and parameters that it gives, so as to read it once."""
    found: dict[Source, list[tuple[str, str]]] = {}
    for region, given in values.items():
        for name, one in given.items():
            if isinstance(one.value, ImageMap):
                image = one.value
                said = bool(image.components or image.frame)
                tensor = said or (name in PARAMETERS and PARAMETERS[name].tensor and is_tensor(image.file))
                source = Source(image.file, image.no_value, tensor, image.components, image.frame)
                found.setdefault(source, []).append((region, name))
    return found


def _image(given: Given) -> ImageMap:
    """Return the map that gives a value."""
    if not isinstance(given.value, ImageMap):
        raise TypeError(f"{given.parameter} is not given by a map")
    return given.value


def _part(found: Averages, chosen: NDArray[np.bool_]) -> Averages:
    """Return the averages over some of the cells."""
    return Averages(found.values[chosen], found.covered[chosen], found.inside[chosen], found.notes)
