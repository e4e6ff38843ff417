"""What happens to the drug at the surfaces, as rates at the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.conditions import OnSurface, at
from turgor.fem.domain import Domain, Surface
from turgor.fem.flux import DarcyFlux
from turgor.fem.nodes import from_facets
from turgor.fem.physics.drug.spec import DrugCondition

Array = NDArray[np.float64]


@dataclass
class Boundary:
    """Rates at the owned nodes, by region and surface: in = gain, out = loss c.

    Attributes:
        gain: (region, surface) -> amount entering [nmol/s].
        loss: (region, surface) -> volume rate that carries the drug out [mm³/s].
        fixed: Whether a node's concentration is prescribed.
        value: The prescribed concentration [mol/m³].
        entering: Surface -> fluid that enters and brings no drug [mm³/s], over all ranks.
    """

    gain: dict[tuple[str, str], Array]
    loss: dict[tuple[str, str], Array]
    fixed: NDArray[np.bool_]
    value: Array
    entering: dict[str, float] = field(default_factory=dict)

    @property
    def total_gain(self) -> Array:
        """Amount entering at each node, all surfaces together."""
        return np.asarray(sum(self.gain.values(), np.zeros_like(self.value)))

    @property
    def total_loss(self) -> Array:
        """Volume rate out at each node, all surfaces together."""
        return np.asarray(sum(self.loss.values(), np.zeros_like(self.value)))


def boundary(
    domain: Domain, flux: DarcyFlux, hindrance: Array, conditions: Mapping[str, OnSurface], time: float
) -> Boundary:
    """Gather the surface rates at a time [s]; collective."""
    count = domain.space.dofmap.index_map.size_local
    found = Boundary({}, {}, np.zeros(count, bool), np.zeros(count))
    named = [domain.surfaces[name] for name in conditions if domain.surfaces[name].kind == "named"]
    taken = np.concatenate([np.zeros(0, np.int32), *(surface.places for surface in named)])
    for name, surface in domain.surfaces.items():
        on = conditions.get(name)
        if on is None and (surface.kind == "named" or (surface.second is not None and name not in flux.pressed)):
            continue
        rest = np.full(len(surface.cells), surface.kind == "named") | ~np.isin(surface.places, taken)
        if on is not None and on.key == "concentration":
            part = surface.part(rest)
            touched = from_facets(domain, part, np.linalg.norm(part.area_vectors, axis=1)) > 0
            found.fixed |= touched
            found.value[touched] = at(_values(on)[0], time)
            continue
        for region, part, rates in _parts(domain, flux, surface, rest):
            gain, loss = _passing(part, hindrance[part.cells] * np.maximum(rates, 0.0), on, time)
            found.gain[region, name] = from_facets(domain, part, gain)
            found.loss[region, name] = from_facets(domain, part, loss)
            entering = float(domain.comm.allreduce(float(np.maximum(-rates, 0.0).sum())))
            if on is None or on.key != "influx":
                found.entering[name] = found.entering.get(name, 0.0) + entering
    return found


def _passing(surface: Surface, leaving: Array, on: OnSurface | None, time: float) -> tuple[Array, Array]:
    """Return gain and loss of each facet, from the volume rate that leaves with the drug and the condition."""
    areas = np.linalg.norm(surface.area_vectors, axis=1)
    if on is None:
        return np.zeros_like(areas), leaving
    if on.key == "influx":
        return areas * at(_values(on)[0], time), np.zeros_like(areas)
    coefficient, to = (at(value, time) for value in _values(on))
    return areas * coefficient * to, leaving + areas * coefficient


def _parts(
    domain: Domain, flux: DarcyFlux, whole: Surface, rest: NDArray[np.bool_]
) -> Iterator[tuple[str, Surface, Array]]:
    """Yield a surface by region: the region, its facets, and the volume rate that leaves the tissue through each.

    Where a pressure is given inside the tissue, fluid vanishes on both sides of the surface, or appears there. What
    only passes from one side to the other stays in the tissue.
    """
    surface, out = whole.part(rest), flux.through(whole)[rest]
    if whole.name in flux.pressed and whole.second is not None:
        back = -flux.beyond(whole)[rest]
        net, toward = out + back, np.maximum(out, 0.0) + np.maximum(back, 0.0)
        share = np.divide(net, toward, out=np.zeros_like(net), where=net > 0.0)
        yield whole.first, surface, np.where(net > 0.0, np.maximum(out, 0.0) * share, net)
        other = replace(surface, cells=surface.beyond, opposite=surface.beyond_opposite)
        yield whole.second, other, np.maximum(back, 0.0) * share
        return
    for index, region in enumerate(domain.regions):
        here = domain.region[surface.cells] == index
        if domain.comm.allreduce(bool(here.any()), op=MPI.LOR):
            yield region, surface.part(here), out[here]


def _values(on: OnSurface | None) -> tuple[Any, ...]:
    """Return the numbers or tables of a condition."""
    assert on is not None
    condition = on.condition
    assert isinstance(condition, DrugCondition)
    if condition.exchange is not None:
        return condition.exchange.coefficient, condition.exchange.to
    return (condition.concentration if condition.concentration is not None else condition.influx,)
