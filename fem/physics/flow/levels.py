"""The two levels of the flow's multigrid: facet pressures, and the continuous piecewise linear functions below."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem, la

from turgor.fem.domain import Domain
from turgor.fem.linear import Unheld
from turgor.fem.physics.flow.hybrid import Cells, Facets, Sums, assemble, assemble_coarse, corners_of
from turgor.fem.physics.flow.vcycle import Cycle, multiply
from turgor.fem.stencil import Stencil

Array = NDArray[np.float64]
Space = fem.FunctionSpace[np.float64]


class Levels:
    """The matrices of both levels, whose values change with the parameters and whose patterns do not.

    Attributes:
        matrix: On the facet pressures; PETSc only asks for its products and its diagonal.
        right: The right-hand side.
        coarse: The matrix on the nodes.
        corners: Nodes of each owned facet, shape (n_owned, 3).
        cycle: The preconditioner.
    """

    def __init__(self, domain: Domain, space: Space) -> None:
        """Find the patterns; collective.

        Args:
            domain: The mesh.
            space: Of the facet pressures.
        """
        self._rows, nodes = np.asarray(space.dofmap.list), np.asarray(domain.space.dofmap.list)
        self._facets, self._nodes = space.dofmap.index_map, domain.space.dofmap.index_map
        count = self._facets.size_local + self._facets.num_ghosts
        self._diagonal, self._values = (la.vector(self._facets, 1, np.float64) for _ in range(2))
        self._sums = Sums(np.empty((len(self._rows), 6)), self._diagonal.array, np.empty(count))
        layout = (self._facets.size_local, self._facets.size_global)
        self.matrix = PETSc.Mat().createPython((layout, layout), Unheld(self), comm=self._facets.comm)
        self.matrix.setUp()
        self.right = self.matrix.createVecLeft()
        below = self._nodes.size_local + self._nodes.num_ghosts
        self._stencil = Stencil.of(nodes[: domain.owned], below)
        self._below = np.zeros(self._stencil.size)
        self.coarse = self._coarse_matrix()
        self.corners = np.zeros((self._facets.size_local, 3), np.int32)
        corners_of(self._rows, nodes, self.corners)
        self.cycle = Cycle("flow_coarse", (self._facets, self._nodes), self._rows, self.corners, self.coarse)

    def assemble(self, cells: Cells, facets: Facets, given: Array) -> None:
        """Sum both matrices and the right-hand side; collective.

        Args:
            cells: What the equation has in the cells.
            facets: What is given on the facets.
            given: What facets add to the right-hand side of the owned rows.
        """
        sums, owned = self._sums, self._facets.size_local
        sums.right[:owned] = given
        assemble(cells, facets, self._rows, sums)
        self.right.array[:] = sums.right[:owned]
        self._diagonal.scatter_forward()
        self.matrix.stateIncrease()
        self.matrix.assemble()
        assemble_coarse(cells, facets, self._rows, self._stencil.slots, self._below)
        self.coarse.setValuesCOO(self._below)  # type: ignore[arg-type]
        diagonal = self.coarse.getDiagonal()
        # A node whose facets are all prescribed has nothing to say.
        diagonal.array[diagonal.array == 0.0] = 1.0
        self.coarse.setDiagonal(diagonal)
        diagonal.destroy()
        self.cycle.update(sums.beyond, sums.diagonal, facets.fixed)

    def mult(self, matrix: PETSc.Mat, values: PETSc.Vec, product: PETSc.Vec) -> None:
        """Multiply, as PETSc asks; collective."""
        local = self._values.array
        local[: self._facets.size_local] = values.array_r
        self._values.scatter_forward()
        multiply(self._rows.view(np.uint32), self._sums.beyond, self._sums.diagonal, local, self._sums.right)
        product.array_w[:] = self._sums.right[: self._facets.size_local]

    def getDiagonal(self, matrix: PETSc.Mat, found: PETSc.Vec) -> None:
        """Write the diagonal, as PETSc asks."""
        found.array_w[:] = self._sums.diagonal[: self._facets.size_local]

    def explicit(self) -> PETSc.Mat:
        """Return the matrix on the facet pressures by its entries, for a factorization; collective."""
        rows, owned = self._rows, self._facets.size_local
        numbers = self._facets.local_to_global(np.arange(owned + self._facets.num_ghosts, dtype=np.int32))
        first, second = np.triu_indices(4, 1)
        one, other = rows[:, first].ravel(), rows[:, second].ravel()
        at, to = np.concatenate([one, other]), np.concatenate([other, one])
        values = np.concatenate([np.tile(self._sums.beyond.ravel(), 2)[at < owned], self._sums.diagonal[:owned]])
        at, to = (np.concatenate([part[at < owned], np.arange(owned)]) for part in (at, to))
        matrix = PETSc.Mat().create(self._facets.comm)
        layout = (owned, self._facets.size_global)
        matrix.setSizes((layout, layout))
        matrix.setType("aij")
        matrix.setPreallocationCOO(*(numbers[part].astype(PETSc.IntType) for part in (at, to)))
        matrix.setValuesCOO(values)  # type: ignore[arg-type]
        return matrix

    def _coarse_matrix(self) -> PETSc.Mat:
        """Return the matrix below, to which ranks add what they have for each other's nodes."""
        nodes = self._nodes
        numbers = nodes.local_to_global(np.arange(nodes.size_local + nodes.num_ghosts, dtype=np.int32))
        rows = np.repeat(numbers, np.diff(self._stencil.slots.starts)).astype(PETSc.IntType)
        matrix = PETSc.Mat().create(nodes.comm)
        layout = (nodes.size_local, nodes.size_global)
        matrix.setSizes((layout, layout))
        matrix.setType("aij")
        columns = numbers[self._stencil.columns].astype(PETSc.IntType)
        matrix.setPreallocationCOO(rows, columns)  # type: ignore[arg-type]
        return matrix
