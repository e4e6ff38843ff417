"""A named function on the mesh, with unit and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.assembly import Function

Kind = Literal["P1", "DG0", "DG0vector"]


@dataclass(frozen=True)
class Field:
    """A field that a physics provides.

    Attributes:
        name: As in the case file, for example "pressure".
        unit: For headers and axes, for example "Pa".
        label: Words for color bars and legends.
        function: Continuous piecewise linear, or piecewise constant (scalar or vector).
    """

    name: str
    unit: str
    label: str
    function: Function

    @property
    def kind(self) -> Kind:
        """How the field varies: "P1", "DG0" or "DG0vector"."""
        space = self.function.function_space
        if space.element.basix_element.degree == 1:
            return "P1"
        return "DG0vector" if space.dofmap.bs == 3 else "DG0"

    @property
    def values(self) -> NDArray[np.float64]:
        """Local values, ghosts included: shape (n_dofs,), or (n_cells, 3) for a vector."""
        array: NDArray[np.float64] = self.function.x.array
        return array.reshape(-1, 3) if self.kind == "DG0vector" else array

    @property
    def dofmap(self) -> NDArray[np.int32]:
        """Dofs of each local cell, ghosts included: shape (n_cells, 4) for P1, (n_cells, 1) for DG0."""
        return np.asarray(self.function.function_space.dofmap.list)


__all__ = ["MPI", "Field", "Kind"]
