"""Linear solvers: PETSc with a prefix of its own, true residuals, and failure in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from turgor.fem.startup import PETSc

import numpy as np

from turgor.materials.errors import NotConverged

Options = Mapping[str, str | int | float]

CONJUGATE_GRADIENTS: Options = {"ksp_type": "cg", "ksp_norm_type": "unpreconditioned", "ksp_max_it": 500}
TWO_LEVEL: Options = {
    "pc_type": "mg",
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_ksp_max_it": 4,
    "mg_levels_ksp_chebyshev_eigenvalues": "0.2,4",
    "mg_levels_pc_type": "jacobi",
    "mg_coarse_ksp_type": "preonly",
    "mg_coarse_pc_type": "gamg",
    "mg_coarse_pc_gamg_threshold": 0.02,
}
"""Chebyshev on the fine level, smoothed-aggregation multigrid on the continuous piecewise linear functions below.

The matrix of one tetrahedron, scaled by its diagonal, has trace 4 and no negative eigenvalue, so that none of the whole
is larger than 4. An estimate came out too small where conductivities differ 1e5 times, and the smoother diverged.
Without the threshold, jumps of 1e3 cost 4 to 6 iterations more. A lower bound of 0.1 with three steps on the levels
below took a tenth less, but 27 iterations where exchange was weak and conductivities differed 1e6 times.
"""

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


@dataclass(frozen=True)
class Coarse:
    """The coarse space of a two-level method.

    Attributes:
        matrix: The operator there, whose values may change.
        interpolation: From there.
    """

    matrix: PETSc.Mat
    interpolation: PETSc.Mat


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
        coarse: Coarse | None = None,
    ) -> None:
        """Set up the solver; collective.

        Args:
            prefix: Prefix of its options, used by no other solver.
            matrix: The operator.
            options: PETSc options without the prefix.
            method: In words, for the run's record.
            tolerance: Relative to the right-hand side, of the true residual.
            coarse: The coarse space of a two-level method.
        """
        self.statistics = Statistics(method, tolerance)
        self.matrix = matrix
        self.ksp = PETSc.KSP().create(matrix.comm)
        self.ksp.setOptionsPrefix(f"{prefix}_")
        self.ksp.setOperators(matrix)
        if coarse is not None:
            pc = self.ksp.getPC()
            pc.setType("mg")
            pc.setMGLevels(2)
            pc.setMGInterpolation(1, coarse.interpolation)
            pc.getMGCoarseSolve().setOperators(coarse.matrix)
        database = PETSc.Options()
        # A solver that is never used is no mistake of the user's.
        database["options_left"] = "no"  # type: ignore[index]
        names = {f"{prefix}_{name}": value for name, value in options.items()}
        for name, value in names.items():
            database[name] = value  # type: ignore[index]
        self.ksp.setInitialGuessNonzero(True)
        self.ksp.setFromOptions()
        self._leftover = list(names)

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
