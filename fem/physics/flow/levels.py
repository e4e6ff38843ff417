"""The two levels of the flow's multigrid: facet pressures, and the continuous piecewise linear functions below."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem

from turgor.fem.domain import Domain
from turgor.fem.linear import Coarse
from turgor.fem.physics.flow.hybrid import Cells, Facets, assemble, assemble_coarse, corners_of
from turgor.fem.stencil import Stencil, matrix_of

Array = NDArray[np.float64]
Space = fem.FunctionSpace[np.float64]


class Levels:
    """The matrices of both levels, whose values change with the parameters and whose patterns do not.

    Attributes:
        matrix: On the facet pressures.
        right: The right-hand side.
        coarse: The matrix below and the interpolation from there.
    """

    def __init__(self, domain: Domain, space: Space, fixed: NDArray[np.bool_]) -> None:
        """Find the patterns; collective.

        Args:
            domain: The mesh.
            space: Of the facet pressures.
            fixed: Which of them are prescribed, ghosts included.
        """
        facets, nodes = np.asarray(space.dofmap.list), np.asarray(domain.space.dofmap.list)
        self._facet_map, self._node_map = space.dofmap.index_map, domain.space.dofmap.index_map
        owned, count = self._facet_map.size_local, self._node_map.size_local + self._node_map.num_ghosts
        self._fine = Stencil.of(facets, owned, owned)
        self._fine_values = np.zeros(self._fine.size)
        self.matrix = self._fine.matrix(self._fine_values, self._facet_map)
        self.right = self.matrix.createVecLeft()
        self._coarse = Stencil.of(nodes[: domain.owned], count, count)
        self._coarse_values = np.zeros(self._coarse.size)
        self.coarse = Coarse(self._coarse_matrix(), self._interpolation(facets, nodes, fixed))

    def assemble(self, cells: Cells, facets: Facets, given: Array) -> None:
        """Sum both matrices and the right-hand side; collective.

        Args:
            cells: What the equation has in the cells.
            facets: What is given on the facets.
            given: What facets add to the right-hand side of the owned rows.
        """
        right = given.copy()
        assemble(cells, facets, self._fine.slots, self._fine_values, right)
        self.right.array[:] = right
        self.matrix.stateIncrease()
        self.matrix.assemble()
        assemble_coarse(cells, facets, self._fine.slots, self._coarse.slots, self._coarse_values)
        self.coarse.matrix.setValuesCOO(self._coarse_values)  # type: ignore[arg-type]
        diagonal = self.coarse.matrix.getDiagonal()
        # A node whose facets are all prescribed has nothing to say.
        diagonal.array[diagonal.array == 0.0] = 1.0
        self.coarse.matrix.setDiagonal(diagonal)
        diagonal.destroy()

    def _coarse_matrix(self) -> PETSc.Mat:
        """Return the matrix below, to which ranks add what they have for each other's nodes."""
        nodes = self._node_map
        numbers = nodes.local_to_global(np.arange(nodes.size_local + nodes.num_ghosts, dtype=np.int32))
        rows = np.repeat(numbers, np.diff(self._coarse.pointer)).astype(PETSc.IntType)
        matrix = PETSc.Mat().create(nodes.comm)
        layout = (nodes.size_local, nodes.size_global)
        matrix.setSizes((layout, layout))
        matrix.setType("aij")
        columns = numbers[self._coarse.columns].astype(PETSc.IntType)
        matrix.setPreallocationCOO(rows, columns)  # type: ignore[arg-type]
        return matrix

    def _interpolation(
        self, facets: NDArray[np.int32], nodes: NDArray[np.int32], fixed: NDArray[np.bool_]
    ) -> PETSc.Mat:
        """Return the matrix that takes the mean of three corners on each free facet."""
        owned = self._facet_map.size_local
        corners = np.zeros((owned, 3), np.int32)
        corners_of(facets, nodes, corners)
        pointer, columns = np.arange(0, 3 * owned + 1, 3, dtype=np.int32), corners.ravel()
        thirds, near = np.repeat(np.where(fixed[:owned], 0.0, 1 / 3), 3), columns < self._node_map.size_local
        values = np.concatenate([thirds[near], thirds[~near]])
        return matrix_of(pointer, columns, values, (self._facet_map, self._node_map))
