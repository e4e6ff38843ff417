"""What a flux that conserves fluid in every cell costs, beside plain linear elements on the same mesh.

    python benchmarks/flow.py CASE.toml [--set mesh.size.tumor="1 mm"]

The case must have been meshed. Both are solved to the same true residual by conjugate gradients with multigrid, with
forms compiled before; times are the least of five, and only their ratio counts, for both ran side by side here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from turgor.fem.startup import MPI, form

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc

from turgor.case import Case
from turgor.fem.assembly import array, assemble, assemble_right, new, strongly
from turgor.fem.coefficients import Coefficients
from turgor.fem.domain import Domain
from turgor.fem.linear import CONJUGATE_GRADIENTS, Krylov
from turgor.fem.nodes import facet_nodes
from turgor.fem.physics.flow.solver import Flow

ROUNDS = 5


def linear_elements(flow: Flow, domain: Domain) -> tuple[Callable[[], None], Krylov]:
    """Return a solve of the same equation by continuous linear elements, and its solver."""
    space, cells = domain.space, fem.functionspace(domain.mesh, ("DG", 0))
    conductivity, slope, constant = (new(cells) for _ in range(3))
    array(conductivity)[:] = array(flow.conductivity)
    array(slope)[:], array(constant)[:] = flow.rates.slope(), flow.rates.constant()
    p, q = ufl.TrialFunction(space), ufl.TestFunction(space)
    dx = ufl.dx(metadata={"quadrature_degree": 2})
    bilinear = form((conductivity * ufl.dot(ufl.grad(p), ufl.grad(q)) + slope * p * q) * dx)
    linear = form(constant * q * dx)
    value, pressed = new(space), [on for on in flow.conditions if on.key == "pressure"]
    for on in pressed:
        array(value)[facet_nodes(domain, on.surface).ravel()] = on.condition.said()["pressure"].value
    fixed = np.unique(np.concatenate([facet_nodes(domain, on.surface).ravel() for on in pressed] or [[]]))
    strong = [strongly(value, fixed.astype(np.int32))]
    matrix, right = petsc.create_matrix(bilinear), petsc.create_vector(space)
    options = {**CONJUGATE_GRADIENTS, "pc_type": "gamg", "pc_gamg_threshold": 0.02}
    solver = Krylov("linear", matrix, options, "conjugate gradients with algebraic multigrid")
    solution = new(space)

    def solve() -> None:
        assemble(matrix, bilinear, strong)
        nothing = np.zeros(space.dofmap.index_map.size_local)
        assemble_right(right, linear, nothing, bilinear, strong)
        array(solution)[:] = array(value)
        free = right.array.copy()
        free[fixed[fixed < len(free)].astype(int)] = 0.0
        solver.solve(right, solution.x.petsc_vec, size=float(np.linalg.norm(free)))

    return solve, solver


def least(action: Callable[[], None]) -> float:
    """Return the least time [s] of some rounds, the first one, which sets things up, left out."""
    times = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def main() -> None:
    """Print both, and the ratio."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("case", type=Path)
    reader.add_argument("--set", action="append", default=[])
    said = reader.parse_args()
    case = Case.read(said.case, set=said.set)
    domain = Domain.read(case.mesh.file.with_suffix(".h5"), MPI.COMM_SELF)
    flow = Flow(case.physics["flow"], domain, Coefficients.of(case, domain), {}, case)

    def conservative() -> None:
        array(flow.multiplier)[:] = 0.0
        flow.start()

    ours = least(conservative)
    solve, solver = linear_elements(flow, domain)
    plain = least(solve)
    figures = flow.statistics()
    print(f"{len(domain.region)} cells")
    print(f"conservative: {figures['unknowns']} unknowns, {figures['iterations_max']} iterations, {ours:.2f} s")
    print(f"  largest imbalance of a cell: {flow.imbalance():.0e} of its largest term")
    count = domain.space.dofmap.index_map.size_global
    print(f"linear elements: {count} unknowns, {max(solver.statistics.iterations)} iterations, {plain:.2f} s")
    print(f"ratio of times: {ours / plain:.1f}")


if __name__ == "__main__":
    main()
