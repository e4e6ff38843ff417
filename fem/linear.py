"""Linear solvers: PETSc with a prefix of its own, true residuals, and failure in words."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from turgor.fem.startup import PETSc

import numpy as np

from turgor.materials.errors import NotConverged

Options = Mapping[str, str | int | float]

CONJUGATE_GRADIENTS: Options = {"ksp_type": "cg", "ksp_norm_type": "unpreconditioned", "ksp_max_it": 500}
GMRES: Options = {"ksp_type": "gmres", "ksp_norm_type": "unpreconditioned", "ksp_pc_side": "right", "ksp_max_it": 500}
INCOMPLETE: Options = {"pc_type": "bjacobi", "sub_pc_type": "ilu"}

DIRECT: Options = {
    "ksp_type": "richardson",
    "ksp_norm_type": "unpreconditioned",
    "ksp_max_it": 5,
    "pc_type": "lu",
    "pc_factor_mat_solver_type": "mumps",
}
"""A factorization, and what refinement the true residual asks for; for small meshes and for tests."""

REASONS = {
    -3: "the iteration limit was reached",
    -4: "the residual grew",
    -5: "the method broke down",
    -8: "the preconditioner is indefinite",
    -9: "a value is not a number",
    -10: "the matrix is indefinite",
    -11: "the preconditioner could not be set up",
}


class Preconditioner(Protocol):
    """What PETSc asks of a preconditioner written in Python."""

    def setUp(self, pc: PETSc.PC) -> None:
        """Prepare for new values of the matrix; collective."""

    def apply(self, pc: PETSc.PC, right: PETSc.Vec, found: PETSc.Vec) -> None:
        """Write an approximate solution; collective."""


@dataclass
class Statistics:
    """What a solver did so far.

    Attributes:
        method: In words.
        tolerance: Relative residual asked for.
        solves: Number of linear solves.
        iterations: Iterations of each solve.
        residual: Largest relative true residual reached.
    """

    method: str
    tolerance: float
    solves: int = 0
    iterations: list[int] = field(default_factory=list)
    residual: float = 0.0

    def as_words(self) -> Mapping[str, float | int | str]:
        """Return the figures for the run's record."""
        return {
            "method": self.method,
            "tolerance": self.tolerance,
            "solves": self.solves,
            "iterations_max": max(self.iterations, default=0),
            "iterations_total": sum(self.iterations),
            "residual_max": self.residual,
        }


class Unheld:
    """What PETSc asks of an object of ours, without keeping that object alive.

    PETSc's hold is out of sight of the collector of garbage, so that a solver and its matrix would keep
    each other for ever. Once the object is gone there is nothing left to ask, not even to destroy it.
    """

    def __init__(self, owner: object) -> None:
        """Remember the object without holding it."""
        self._owner = weakref.ref(owner)

    def __getattr__(self, name: str) -> Any:
        """Return what the object has by that name."""
        owner = self._owner()
        if owner is None:
            raise AttributeError(name)
        return getattr(owner, name)


class Krylov:
    """A Krylov solver for one matrix, whose values may change."""

    def __init__(
        self,
        prefix: str,
        matrix: PETSc.Mat,
        options: Options,
        method: str,
        *,
        tolerance: float = 1e-12,
        preconditioner: Preconditioner | None = None,
    ) -> None:
        """Set up the solver; collective.

        Args:
            prefix: Prefix of its options, used by no other solver.
            matrix: The operator.
            options: PETSc options without the prefix.
            method: In words, for the run's record.
            tolerance: Relative to the right-hand side, of the true residual.
            preconditioner: One of our own.
        """
        self.statistics = Statistics(method, tolerance)
        self.matrix = matrix
        self.ksp = PETSc.KSP().create(matrix.comm)
        self.ksp.setOperators(matrix)
        if preconditioner is not None:
            pc = self.ksp.getPC()
            pc.setType("python")
            pc.setPythonContext(Unheld(preconditioner))
            self.preconditioner = preconditioner
        # A solver that is never used is no mistake of the user's.
        PETSc.Options()["options_left"] = "no"  # type: ignore[index]
        self.ksp.setInitialGuessNonzero(True)
        self._leftover = configure(self.ksp, prefix, options)

    def solve(self, right: PETSc.Vec, solution: PETSc.Vec, *, size: float | None = None) -> None:
        """Solve, starting from what `solution` holds; collective.

        Args:
            right: The right-hand side.
            solution: First guess, then the solution.
            size: Norm that the residual is compared with; that of `right` when None.

        Raises:
            NotConverged: With the reason in words.
        """
        size = float(right.norm()) if size is None else size  # type: ignore[arg-type]
        self.ksp.setOperators(self.matrix)
        self.ksp.setTolerances(rtol=1e-50, atol=max(self.statistics.tolerance * size, 1e-300), divtol=1e50)
        self.ksp.setUp()
        self._forget_options()
        self.ksp.solve(right, solution)
        reason = int(self.ksp.getConvergedReason())  # type: ignore[call-overload]
        statistics = self.statistics
        statistics.solves += 1
        statistics.iterations.append(self.ksp.getIterationNumber())
        relative = self.ksp.getResidualNorm() / size if size > 0 else 0.0
        statistics.residual = max(statistics.residual, relative)
        if reason < 0 or not np.isfinite(relative):
            words = REASONS.get(reason, f"PETSc gave reason {reason}")
            count = statistics.iterations[-1]
            raise NotConverged(
                f"{statistics.method}: {words} after {count} iterations; relative residual {relative:.1e}, "
                f"asked for {statistics.tolerance:.0e}"
            )

    def destroy(self) -> None:
        """Free the solver; collective."""
        self.ksp.destroy()

    def _forget_options(self) -> None:
        database = PETSc.Options()
        for name in self._leftover:
            database.delValue(name)
        self._leftover = []


def configure(ksp: PETSc.KSP, prefix: str, options: Options) -> list[str]:
    """Set the options of a solver; return their names, for they stay known until its parts are set up."""
    ksp.setOptionsPrefix(f"{prefix}_")
    database = PETSc.Options()
    names = {f"{prefix}_{name}": value for name, value in options.items()}
    for name, value in names.items():
        database[name] = value  # type: ignore[index]
    ksp.setFromOptions()
    return list(names)
