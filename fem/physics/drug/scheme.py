"""One step of the drug: an implicit low-order step that keeps signs, then corrected by limited fluxes.

With the lumped mass m (n_a times the nodes' volumes), the transport matrix K of `equations.transport`, and the rates of
terms and surfaces lumped to the nodes, the low-order step is backward Euler with

    m (c_L - cⁿ)/dt = (K + d) c_L + gain - loss c_L,     d_ij = max(0, -K_ij, -K_ji),  d_ii = -Σ d_ij,

whose matrix is an M-matrix at any step: c_L is positive. What the consistent scheme (full mass matrix, no d) would
move more is a flux along each edge, f_ij = m_ij (Δc_i - Δc_j)/dt + d_ij (c_i - c_j), antisymmetric, of which as much is
added as keeps the local bounds of c_L. Mass is conserved to the accuracy of the linear solver at any Peclet number.
Source: Kuzmin, Möller and Turek (2004); Zalesak (1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from turgor.fem.graph import Graph, limited
from turgor.fem.linear import GMRES, INCOMPLETE, Krylov, Statistics

Array = NDArray[np.float64]
SWEEPS = 3
"""Jacobi sweeps after a value below zero, within the solver's accuracy, was set to zero."""


@dataclass(frozen=True)
class Operators:
    """The matrices of a step on the edges of the graph, and the rates at the owned nodes.

    Attributes:
        mass: Full mass matrix with n_a [mm³].
        transport: K [mm³/s].
        mirrored: K_ji at the place of K_ij.
        loss: Rate out of each node, terms and surfaces [mm³/s].
        gain: Amount into each node from surfaces and sources [nmol/s].
        exchange: Rate that multiplies the plasma concentration [mm³/s].
        fixed: Nodes with a prescribed concentration.
        value: That concentration [mol/m³].
    """

    mass: Array
    transport: Array
    mirrored: Array
    loss: Array
    gain: Array
    exchange: Array
    fixed: NDArray[np.bool_]
    value: Array


@dataclass(frozen=True)
class Step:
    """The result of a step, at owned nodes or on edges.

    Attributes:
        low: Low-order solution, ghosts included; rates of the balance are taken at it.
        new: Solution at the end of the step.
        moved: Rate along each edge from j to i beyond K: artificial diffusion and limited flux.
    """

    low: Array
    new: Array
    moved: Array


class Scheme:
    """The matrices and solvers of the steps; complete after construction."""

    def __init__(self, graph: Graph, matrix: PETSc.Mat, operators: Operators, prefix: str) -> None:
        """Prepare; collective. `matrix` gives the pattern and is used for both solves in turn."""
        self.graph = graph
        method = "GMRES with incomplete factors of each rank's block"
        self._matrices = [matrix, matrix.duplicate(copy=False)]
        self._solvers = [
            Krylov(f"{prefix}_{name}", part, {**GMRES, **INCOMPLETE}, method, tolerance=1e-13)
            for name, part in zip(("low", "high"), self._matrices, strict=True)
        ]
        self._right, self._solution = matrix.createVecRight(), matrix.createVecLeft()
        self.take(operators)

    def take(self, operators: Operators) -> None:
        """Take operators on the same graph, for example after the flow changed."""
        graph = self.graph
        self.operators = operators
        self.lumped = graph.sums(operators.mass)
        self.diffusion = np.maximum(0.0, np.maximum(-operators.transport, -operators.mirrored))
        self.diffusion[graph.diagonal] = 0.0
        self._low = operators.transport + self.diffusion
        self._low[graph.diagonal] -= graph.sums(self.diffusion)
        self._low_step = self._low
        self._weight = self.lumped
        self._filled = 0.0

    def step(self, old: Array, dt: float, plasma: float) -> Step:
        """Advance the owned nodes' values by dt [s] with a mean plasma concentration [mol/m³]; collective."""
        operators, graph = self.operators, self.graph
        self._fill(dt)
        made = operators.gain + operators.exchange * plasma
        low = self._solve(0, self.lumped / dt * old + made, old, positive=True)
        old_all, low_all = graph.ghosted(old), graph.ghosted(low)
        target = graph.ghosted(self._solve(1, graph.times(operators.mass / dt, old_all) + made, low, positive=False))
        row, column = graph.row, graph.column
        change = (target - old_all) / dt
        flux = operators.mass * (change[row] - change[column]) + self.diffusion * (target[row] - target[column])
        free = graph.ghosted((~operators.fixed).astype(float)) > 0.5
        kept = limited(graph, flux, self.lumped / dt, low_all, free)
        correction = graph.sums(kept) * dt / self.lumped
        new = np.where(operators.fixed, low, low + correction)
        moved = self.diffusion * (low_all[column] - low_all[row]) + kept
        return Step(low_all, new, moved)

    @property
    def statistics(self) -> tuple[Statistics, ...]:
        """What the two solvers did."""
        return tuple(solver.statistics for solver in self._solvers)

    def _fill(self, dt: float) -> None:
        """Set the matrices of both solves for a step, unless they are there."""
        if dt == self._filled:
            return
        operators, graph = self.operators, self.graph
        low = -self._low
        low[graph.diagonal] += self.lumped / dt + operators.loss
        high = operators.mass / dt - operators.transport
        high[graph.diagonal] += operators.loss
        self._weight = low[graph.diagonal]  # makes the rows of prescribed values as heavy as the others
        for edges, matrix in zip((low, high), self._matrices, strict=True):
            prescribed = operators.fixed[graph.row]
            edges[prescribed] = 0.0
            edges[graph.diagonal[operators.fixed]] = self._weight[operators.fixed]
            graph.fill(matrix, edges)
        self._low_step = low
        self._filled = dt

    def _solve(self, which: int, right: Array, guess: Array, *, positive: bool) -> Array:
        """Solve for the owned values; `positive`: the matrix is an M-matrix and the right-hand side is not negative."""
        right = np.where(self.operators.fixed, self.operators.value * self._weight, right)
        self._right.array[:] = right
        self._solution.array[:] = np.where(self.operators.fixed, self.operators.value, guess)
        self._solvers[which].solve(self._right, self._solution)
        values: Array = np.array(self._solution.array, dtype=np.float64)
        if not positive:
            return values
        diagonal = self._low_step[self.graph.diagonal]
        values = np.maximum(values, 0.0)
        for _ in range(SWEEPS):
            rest = right - self.graph.times(self._low_step, self.graph.ghosted(values))
            values = np.maximum(values + rest / diagonal, 0.0)
        return values
