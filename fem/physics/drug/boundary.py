"""What happens to the drug at the surfaces, as rates at the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turgor.fem.conditions import OnSurface, at
from turgor.fem.domain import Domain
from turgor.fem.flux import DarcyFlux
from turgor.fem.nodes import from_facets
from turgor.fem.physics.drug.spec import DrugCondition

Array = NDArray[np.float64]


@dataclass
class Boundary:
    """Rates at the owned nodes, by surface: in = gain, out = loss c.

    Attributes:
        gain: Surface -> amount entering [nmol/s].
        loss: Surface -> volume rate that carries the drug out [mm³/s].
        fixed: Whether a node's concentration is prescribed.
        value: The prescribed concentration [mol/m³].
        entering: Surface -> fluid that enters and brings no drug [mm³/s], over all ranks.
    """

    gain: dict[str, Array]
    loss: dict[str, Array]
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
    taken = np.concatenate([4 * part.cells + part.opposite for part in named]) if named else np.zeros(0, np.int64)
    for name, surface in domain.surfaces.items():
        on = conditions.get(name)
        if on is None and (surface.kind == "named" or surface.second is not None):
            continue
        if surface.kind != "named":
            surface = surface.part(~np.isin(4 * surface.cells + surface.opposite, taken))
        key = on.key if on else ""
        areas = np.linalg.norm(surface.area_vectors, axis=1)
        if key == "concentration":
            touched = from_facets(domain, surface, areas) > 0
            found.fixed |= touched
            found.value[touched] = at(_values(on)[0], time)
            continue
        gain, loss = np.zeros_like(areas), np.zeros_like(areas)
        if key == "influx":
            gain = areas * at(_values(on)[0], time)
        else:
            rates = flux.through(surface)
            loss = hindrance[surface.cells] * np.maximum(rates, 0.0)
            found.entering[name] = float(domain.comm.allreduce(float(np.maximum(-rates, 0.0).sum())))
        if key == "exchange":
            coefficient, to = (at(value, time) for value in _values(on))
            gain, loss = areas * coefficient * to, loss + areas * coefficient
        found.gain[name] = from_facets(domain, surface, gain)
        found.loss[name] = from_facets(domain, surface, loss)
    return found


def _values(on: OnSurface | None) -> tuple[Any, ...]:
    """Return the numbers or tables of a condition."""
    assert on is not None
    condition = on.condition
    assert isinstance(condition, DrugCondition)
    if condition.exchange is not None:
        return condition.exchange.coefficient, condition.exchange.to
    return (condition.concentration if condition.concentration is not None else condition.influx,)
