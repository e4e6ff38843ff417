"""One cycle of multigrid on the facet pressures, cell by cell, in single precision where that does no harm.

The matrix is scaled to a diagonal of ones, Ã = D^-½ A D^-½. Chebyshev steps in its residual r go before and after the
correction from the continuous piecewise linear functions, as often and with the same factors, so that the cycle is
symmetric. Off the diagonal the six numbers of each cell are all there is of Ã: rows are never put together.

That the cycle is rounded to single precision costs no accuracy, for conjugate gradients see the true residual. It costs
iterations where conductivities differ by 1e3 and more and next to nothing drains, so that there it is in double.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from dolfinx import common, la

from turgor.fem.linear import Options, configure
from turgor.meshing.compiled import compiled

Array = NDArray[np.float64]
Real = NDArray[np.float32 | np.float64]
Number = float | np.float32
Ints = NDArray[np.int32]
Rows = NDArray[np.uint32]

STEPS = 4
BOUNDS = (0.2, 4.0)
"""Where the Chebyshev polynomial is small.

The matrix of one tetrahedron, scaled by its diagonal, has trace 4 and no negative eigenvalue, so that none of the whole
is larger than 4. An estimate came out too small where conductivities differ 1e5 times, and the smoother diverged.
"""

WIDE = 1e3
"""Ratio of the largest to the smallest diagonal entry from which the cycle is in double precision."""

COARSE: Options = {"ksp_type": "preonly", "pc_type": "gamg", "pc_gamg_threshold": 0.02}
"""Smoothed aggregation below. Without the threshold, jumps of 1e3 cost 4 to 6 iterations more."""


def _factors() -> list[tuple[float, float]]:
    """Return how much of the last step and of the residual makes each step after the first."""
    middle, half = (BOUNDS[1] + BOUNDS[0]) / 2, (BOUNDS[1] - BOUNDS[0]) / 2
    ratio, found = half / middle, []
    for _ in range(STEPS - 1):
        following = 1 / (2 * middle / half - ratio)
        found.append((following * ratio, 2 * following / half))
        ratio = following
    return found


FIRST = 2 / (BOUNDS[1] + BOUNDS[0])
FACTORS = _factors()


@compiled
def add_beyond(rows: Rows, beyond: Real, values: Real, sums: Real) -> None:
    """Add to `sums` the product of `values` with what the matrix has off its diagonal.

    Args:
        rows: Facets of each cell, shape (n_cells, 4).
        beyond: Six numbers of each cell, of the facets 01, 02, 03, 12, 13 and 23, shape (n_cells, 6).
        values: On the facets.
        sums: On the facets.
    """
    for cell in range(len(rows)):
        i, j, k, m = rows[cell, 0], rows[cell, 1], rows[cell, 2], rows[cell, 3]
        u, v, w, z = values[i], values[j], values[k], values[m]
        a, b, c = beyond[cell, 0], beyond[cell, 1], beyond[cell, 2]
        d, e, f = beyond[cell, 3], beyond[cell, 4], beyond[cell, 5]
        sums[i] += a * v + b * w + c * z
        sums[j] += a * u + d * w + e * z
        sums[k] += b * u + d * v + f * z
        sums[m] += c * u + e * v + f * w


@compiled
def multiply(rows: Rows, beyond: Array, diagonal: Array, values: Array, product: Array) -> None:
    """Write the product of the matrix with `values`, right on owned rows; see `add_beyond`."""
    for row in range(len(product)):
        product[row] = diagonal[row] * values[row]
    add_beyond(rows, beyond, values, product)


@compiled
def scaled(rows: Rows, beyond: Array, roots: Array, found: Real) -> None:
    """Write -Ã of each cell off the diagonal; `roots` is D^-½ on the facets."""
    for cell in range(len(rows)):
        at = 0
        for i in range(4):
            for j in range(i + 1, 4):
                found[cell, at] = -beyond[cell, at] * roots[rows[cell, i]] * roots[rows[cell, j]]
                at += 1


class Work(NamedTuple):
    """What a cycle works on, on the facets, ghosts included.

    Attributes:
        residual: r.
        step: The last change of x.
        found: x.
    """

    residual: Real
    step: Real
    found: Real


@compiled
def begin(right: Array, roots: Array, scale: float, first: Number, work: Work) -> None:
    """Start from x = 0 with the first step, for a right-hand side that is first multiplied by `scale`."""
    work.residual[:] = 0
    for row in range(len(right)):
        work.residual[row] = right[row] * (roots[row] * scale)
        step = first * work.residual[row]
        work.step[row], work.found[row] = step, step


@compiled
def advance(count: int, last: Number, new: Number, work: Work) -> None:
    """Take the diagonal's part from the residual of the owned rows, and make a step."""
    for row in range(count):
        residual = work.residual[row] - work.step[row]
        step = last * work.step[row] + new * residual
        work.residual[row], work.step[row] = residual, step
        work.found[row] += step


@compiled
def restrict(corners: NDArray[np.uint32], weights: Real, work: Work, found: Array) -> None:
    """Take the diagonal's part from the residual; add the transposed means of three corners to the nodes."""
    for row in range(len(corners)):
        residual = work.residual[row] - work.step[row]
        work.residual[row] = residual
        share = np.float64(weights[row] * residual)
        for corner in range(3):
            found[corners[row, corner]] += share


@compiled
def prolong(corners: NDArray[np.uint32], weights: Real, nodes: Array, work: Work) -> None:
    """Step by the mean of three corners."""
    for row in range(len(corners)):
        whole = nodes[corners[row, 0]] + nodes[corners[row, 1]] + nodes[corners[row, 2]]
        work.step[row] = weights[row] * whole
        work.found[row] += work.step[row]


@compiled
def finish(roots: Array, size: float, work: Work, found: Array) -> None:
    """Write x without the scaling."""
    for row in range(len(found)):
        found[row] = work.found[row] * (roots[row] * size)


class Cycle:
    """The cycle, as PETSc calls it: a preconditioner of its type "python"."""

    def __init__(
        self,
        prefix: str,
        maps: tuple[common.IndexMap, common.IndexMap],
        rows: Ints,
        corners: Ints,
        below: PETSc.Mat,
    ) -> None:
        """Set up what does not change with the values; collective.

        Args:
            prefix: Prefix of the options of the solver below.
            maps: Of the facets and of the nodes.
            rows: Facets of each local cell, shape (n_cells, 4).
            corners: Nodes of each owned facet, shape (n_owned, 3).
            below: The matrix on the nodes.
        """
        facets, nodes = maps
        self._rows, self._corners, self._below = rows.view(np.uint32), corners.view(np.uint32), below
        self._owned, self._alone = facets.size_local, facets.comm.size == 1
        self._facets = facets
        self._nodes = la.vector(nodes, 1, np.float64)
        self._roots = np.ones(facets.size_local + facets.num_ghosts)
        self._round_to(np.float32)
        self._ksp = PETSc.KSP().create(facets.comm)
        configure(self._ksp, prefix, COARSE)
        self._right, self._correction = below.createVecRight(), below.createVecLeft()

    def _round_to(self, kind: type[np.float32] | type[np.float64]) -> None:
        """Make room for numbers of a precision."""
        self._kind = kind
        self._step = la.vector(self._facets, 1, kind)
        count = len(self._roots)
        self._work = Work(np.zeros(count, kind), self._step.array, np.zeros(count, kind))
        self._beyond: Real = np.empty((len(self._rows), 6), kind)
        self._weights: Real = np.zeros(self._owned, kind)

    def update(self, beyond: Array, diagonal: Array, fixed: NDArray[np.bool_]) -> None:
        """Take new values of the matrix; collective.

        Args:
            beyond: See `add_beyond`.
            diagonal: Of all local facets.
            fixed: Facets on which the functions below vanish.
        """
        ends = (float(diagonal.max(initial=0.0)), float(diagonal.min(initial=np.inf)))
        largest, least = (np.array(self._facets.comm.allgather(end)) for end in ends)
        kind = np.float64 if largest.max() > WIDE * least.min() else np.float32
        if kind is not self._kind:
            self._round_to(kind)
        np.divide(1.0, np.sqrt(diagonal), out=self._roots)
        scaled(self._rows, beyond, self._roots, self._beyond)
        self._weights[:] = np.where(fixed[: self._owned], 0.0, 1 / (3 * self._roots[: self._owned]))
        self._ksp.setOperators(self._below)

    def setUp(self, pc: PETSc.PC) -> None:
        """Prepare the solver below; collective."""
        self._ksp.setUp()

    def apply(self, pc: PETSc.PC, right: PETSc.Vec, found: PETSc.Vec) -> None:
        """Run a cycle; collective."""
        size = float(right.norm()) or 1.0  # type: ignore[arg-type]
        work = self._work
        first = self._kind(FIRST)
        begin(cast(Array, right.array_r), self._roots, 1 / size, first, work)
        self._smooth()
        self._correct()
        advance(self._owned, self._kind(0.0), first, work)
        self._smooth()
        finish(self._roots, size, work, cast(Array, found.array_w))

    def _smooth(self) -> None:
        """Make the steps after the first."""
        for last, new in FACTORS:
            self._subtract()
            advance(self._owned, self._kind(last), self._kind(new), self._work)

    def _subtract(self) -> None:
        """Take from the residual what the last step adds to Ã x off the diagonal."""
        if not self._alone:
            self._step.scatter_forward()
        add_beyond(self._rows, self._beyond, self._work.step, self._work.residual)

    def _correct(self) -> None:
        nodes = self._nodes
        self._subtract()
        nodes.array[:] = 0.0
        restrict(self._corners, self._weights, self._work, nodes.array)
        if not self._alone:
            nodes.scatter_reverse(la.InsertMode.add)
        owned = len(self._right.array)
        self._right.array[:] = nodes.array[:owned]
        self._ksp.solve(self._right, self._correction)
        nodes.array[:owned] = self._correction.array_r
        if not self._alone:
            nodes.scatter_forward()
        prolong(self._corners, self._weights, nodes.array, self._work)
        self._subtract()
