"""The rows of a matrix as plain arrays: what flux correction needs beyond matrix times vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from turgor.fem.assembly import values_on_rows

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Graph:
    """Edges (i, j) between the nodes that this rank owns and their neighbors, on a symmetric pattern.

    Values on edges are arrays in the order of the owned rows; nodes are numbered locally, owned ones first, then the
    ghosts that the pattern needs.

    Attributes:
        owned: Number of nodes that this rank owns.
        row: Node i of each edge, diagonal included.
        column: Node j of each edge.
        diagonal: Position of the edge (i, i) of each owned node.
    """

    def __init__(self, matrix: PETSc.Mat) -> None:
        """Take the pattern of an assembled matrix; collective."""
        pointer, columns, _ = matrix.getValuesCSR()
        self._pointer, self._columns = np.asarray(pointer, np.int64), np.asarray(columns, np.int64)
        start, end = matrix.getOwnershipRange()
        self.owned = end - start
        mine = (self._columns >= start) & (self._columns < end)
        ghosts = np.unique(self._columns[~mine])
        self.column: Ints = np.where(
            mine, self._columns - start, self.owned + np.searchsorted(ghosts, self._columns)
        ).astype(np.int64)
        self.row: Ints = np.repeat(np.arange(self.owned), np.diff(self._pointer)).astype(np.int64)
        self.diagonal: Ints = np.flatnonzero(self.row == self.column)
        numbers, size = ghosts.astype(PETSc.IntType), (self.owned, matrix.getSize()[0])
        self._vector = PETSc.Vec().createGhost(numbers, size=size, comm=matrix.comm)  # type: ignore[arg-type]

    def values(self, matrix: PETSc.Mat) -> Array:
        """Return the values of a matrix of the same pattern on the edges."""
        pointer, columns, values = matrix.getValuesCSR()
        assert np.array_equal(pointer, self._pointer)
        assert np.array_equal(columns, self._columns)
        return np.asarray(values, dtype=np.float64)

    def mirrored(self, matrix: PETSc.Mat) -> Array:
        """Return the value on (j, i) at the place of the edge (i, j); collective."""
        turned = matrix.transpose(PETSc.Mat())
        values = self.values(turned)
        turned.destroy()
        return values

    def ghosted(self, owned: Array) -> Array:
        """Return nodal values with the ghosts' values behind them; collective."""
        self._vector.array[:] = owned
        self._vector.ghostUpdate(addv=False, mode="forward")
        with self._vector.localForm() as local:
            return np.array(local.array)

    def sums(self, edges: Array) -> Array:
        """Return the sum of edge values over each owned node's row."""
        return np.bincount(self.row, edges, minlength=self.owned)

    def times(self, edges: Array, nodes: Array) -> Array:
        """Return matrix times vector; `nodes` holds ghosts."""
        return self.sums(edges * nodes[self.column])

    def extremes(self, nodes: Array) -> tuple[Array, Array]:
        """Return the least and the largest value among each owned node and its neighbors."""
        starts = self._pointer[:-1]
        near = nodes[self.column]
        return np.minimum.reduceat(near, starts), np.maximum.reduceat(near, starts)

    def fill(self, matrix: PETSc.Mat, edges: Array) -> None:
        """Set the values of a matrix of the same pattern; collective."""
        values_on_rows(matrix, self._pointer, self._columns, edges)

    def destroy(self) -> None:
        """Free the vector; collective."""
        self._vector.destroy()


def limited(graph: Graph, flux: Array, room: Array, low: Array, free: NDArray[np.bool_]) -> Array:
    """Return the part of each edge's antidiffusive flux that keeps local bounds (Zalesak 1979).

    Args:
        graph: The edges.
        flux: Antisymmetric rate from j to i on each edge (i, j).
        room: Mass of each owned node divided by the step, the rate that changes its value by one.
        low: Low-order solution, ghosts included; its extremes among neighbors are the bounds.
        free: Which nodes (ghosts included) keep their bounds; the others, whose value is prescribed, set none.

    Returns:
        The limited flux, antisymmetric too; collective.
    """
    least, largest = graph.extremes(low)
    own = low[: graph.owned]
    parts = []
    for sign, bound in ((1, largest - own), (-1, own - least)):
        wanted = graph.sums(np.maximum(sign * flux, 0.0))
        share = np.minimum(1.0, (1 - 1e-12) * room * bound / np.maximum(wanted, 1e-300))
        parts.append(np.where(free, graph.ghosted(share), 1.0))
    raised, lowered = parts
    row, column = graph.row, graph.column
    up = np.minimum(raised[row], lowered[column])
    down = np.minimum(lowered[row], raised[column])
    return np.where(flux > 0, up, down) * flux
