"""The same pressure by continuous linear elements, on turgor's stencils: what the peers solve."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from turgor.fem.domain import Domain
from turgor.fem.linear import CONJUGATE_GRADIENTS, Krylov
from turgor.fem.nodes import facet_nodes
from turgor.fem.physics.flow.hybrid import cofactors
from turgor.fem.stencil import Slots, Stencil
from turgor.meshing.compiled import compiled

Array = NDArray[np.float64]
KINDS = {"icc": {"pc_type": "icc"}, "gamg": {"pc_type": "gamg", "pc_gamg_threshold": 0.02}}
METHODS = {
    "icc": "incomplete Cholesky",
    "gamg": "smoothed aggregation",
}


@compiled
def sums(
    points: Array, cell_values: Array, slots: Slots, fixed: NDArray[np.bool_], values: Array, right: Array
) -> None:
    """Sum K grad p . grad q + a p q and f q over the cells, rows and columns at the rim as in the identity.

    Args:
        points: Vertices, shape (n_cells, 4, 3).
        cell_values: K, a and f, shape (3, n_cells).
        slots: Where the numbers go.
        fixed: Nodes at the rim, where p = 0.
        values: Of the matrix.
        right: The right-hand side.
    """
    values[:] = 0.0
    right[:] = 0.0
    gradients = np.empty((4, 3))
    for cell in range(len(points)):
        size = abs(cofactors(points[cell], gradients))
        conduct, mass = cell_values[0, cell] / (6 * size), cell_values[1, cell] * size / 120
        for i in range(4):
            row = slots.rows[cell, i]
            if fixed[row]:
                values[slots.starts[row] + slots.places[cell, i, i]] = 1.0
                continue
            right[row] += cell_values[2, cell] * size / 24
            for j in range(4):
                if fixed[slots.rows[cell, j]]:
                    continue
                along = 0.0
                for x in range(3):
                    along += gradients[i, x] * gradients[j, x]
                twice = 2.0 if i == j else 1.0
                values[slots.starts[row] + slots.places[cell, i, j]] += conduct * along + mass * twice


class LinearElements:
    """Continuous linear elements on one rank."""

    def __init__(self, domain: Domain, kind: str) -> None:
        """Take a mesh and the preconditioner: "icc" or "gamg"."""
        self.domain, self.kind = domain, kind

    def first(self, values: list[list[float]], tolerance: float) -> dict[str, float]:
        """Solve from nothing but the mesh: pattern, sums, preconditioner, iterations; return seconds."""
        begin = time.process_time()
        nodes = np.asarray(self.domain.space.dofmap.list)
        count = self.domain.space.dofmap.index_map.size_local
        self.stencil = Stencil.of(nodes, count)
        self.values, self.right = np.zeros(self.stencil.size), np.zeros(count)
        self.fixed = np.zeros(count, bool)
        self.fixed[facet_nodes(self.domain, self.domain.surfaces["host|outside"]).ravel()] = True
        csr = (self.stencil.slots.starts, self.stencil.columns, self.values)
        self.matrix = PETSc.Mat().createAIJWithArrays((count, count), csr, comm=self.domain.comm)
        options = {**CONJUGATE_GRADIENTS, **KINDS[self.kind]}
        self.solver = Krylov(f"linear_{self.kind}", self.matrix, options, METHODS[self.kind], tolerance=tolerance)
        return self.again(values, tolerance, begin)

    def again(self, values: list[list[float]], tolerance: float, begin: float | None = None) -> dict[str, float]:
        """Solve with new numbers on what is kept; return seconds."""
        begin = time.process_time() if begin is None else begin
        cells = np.asarray(values)[:, self.domain.region]
        sums(self.domain.points, cells, self.stencil.slots, self.fixed, self.values, self.right)
        self.matrix.stateIncrease()
        self.matrix.assemble()
        summed = time.process_time()
        right = PETSc.Vec().createWithArray(self.right, comm=self.domain.comm)
        found = self.matrix.createVecRight()
        self.solver.ksp.setOperators(self.matrix)
        self.solver.ksp.setFromOptions()
        self.solver.ksp.setUp()
        ready = time.process_time()
        self.solver.solve(right, found)
        end = time.process_time()
        pressure = found.array[np.asarray(self.domain.space.dofmap.list)].mean(axis=1)
        return {
            "assembly": summed - begin,
            "setup": ready - summed,
            "solve": end - ready,
            "all": end - begin,
            "iterations": self.solver.statistics.iterations[-1],
            "residual": self.solver.statistics.residual,
            "sum": float(self.domain.sum(pressure * self.domain.volumes)),
        }
