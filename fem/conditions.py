"""Which condition holds on which surface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from turgor.fem.domain import Domain, Surface
from turgor.fem.spec import Condition, PhysicsSpec
from turgor.materials.errors import CaseError, listed
from turgor.materials.quantity import Quantity
from turgor.materials.spec import Spec
from turgor.materials.values import Table

SEALED = "sealed, not named"
"""What is said of an outer surface that no condition names."""


@dataclass(frozen=True)
class OnSurface:
    """A condition on one surface of the mesh.

    Attributes:
        surface: The surface.
        key: What is given there, for example "pressure".
        condition: The condition of the case.
        where: Its place in the case file.
    """

    surface: Surface
    key: str
    condition: Condition
    where: str


def at(value: Quantity | Table, time: float) -> float:
    """Return a number or a table at a time [s], in the internal unit."""
    return value.at(time) if isinstance(value, Table) else value.value


def tables(conditions: Iterable[OnSurface]) -> tuple[Table, ...]:
    """Return the tables in time among the values of conditions, those of an exchange included."""
    said = [value for on in conditions for value in on.condition.said().values()]
    values = [part for value in said for part in (dict(value).values() if isinstance(value, Spec) else (value,))]
    return tuple(value for value in values if isinstance(value, Table))


def on_surfaces(spec: PhysicsSpec, domain: Domain, *, inside: Iterable[str]) -> tuple[OnSurface, ...]:
    """Return the conditions of a physics, one a surface; facets of a named one are not also in "a|outside".

    Args:
        spec: The physics.
        domain: The mesh.
        inside: Keys that are possible on an interface that is solved on both sides.

    Raises:
        CaseError: No such surface; two conditions on one surface; a condition that an interface cannot have.
    """
    found: dict[str, OnSurface] = {}
    complaints = []
    for i, condition in enumerate(spec.conditions):
        where = f"physics.{spec.key}.conditions.{i}"
        (key,) = condition.said()
        try:
            names = domain.match(condition.on, f"{where}.on")
        except CaseError as error:
            complaints.append(str(error))
            continue
        for name in names:
            surface = domain.surfaces[name]
            if name in found:
                complaints.append(f"{where}.on: {name!r} has a condition already, by {found[name].where}")
            elif surface.kind == "named" and surface.second is not None:
                complaints.append(
                    f"{where}.on: {name!r} lies inside the tissue; expected an outer surface or an interface"
                )
            elif surface.second is not None and key not in inside:
                complaints.append(f"{where}.{key}: not possible on {name!r}, which is solved on both sides")
            else:
                found[name] = OnSurface(surface, key, condition, where)
    if complaints:
        raise CaseError(listed(complaints))
    named = [on.surface for on in found.values() if on.surface.kind == "named"]
    if not named:
        return tuple(found.values())
    taken = np.concatenate([surface.places for surface in named])
    return tuple(
        on if on.surface.kind == "named" else replace(on, surface=on.surface.part(~np.isin(on.surface.places, taken)))
        for on in found.values()
    )


def in_words(conditions: Iterable[OnSurface], domain: Domain) -> Mapping[str, str]:
    """Return surface -> words, for every outer surface and every interface with a condition."""
    words = {name: SEALED for name, surface in domain.surfaces.items() if surface.second is None}
    words.update({on.surface.name: on.condition.words() for on in conditions})
    return words
