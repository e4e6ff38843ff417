"""The pressure by linear elements in scikit-fem, solved by pyamg: a worker of the flow benchmark.

    PYTHON benchmarks/peers_skfem.py JOB.json

PYTHON is that of an environment of its own, made by `python -m venv peers` and
`peers/bin/pip install scikit-fem pyamg ngsolve`. The last line printed is the result, as JSON. It shares nothing with
turgor but the files.
"""

from __future__ import annotations

import json
import sys
import time

try:
    import numpy as np
    import pyamg
    import skfem
    from skfem.helpers import dot, grad
except ImportError as error:
    sys.exit(f"peers_skfem.py: {error}; python -m venv peers; peers/bin/pip install scikit-fem pyamg")


@skfem.BilinearForm
def diffusion(u, v, w):  # type: ignore[no-untyped-def]
    """Conductivity k: k ∇u·∇v."""
    return w["k"] * dot(grad(u), grad(v))


@skfem.BilinearForm
def reaction(u, v, w):  # type: ignore[no-untyped-def]
    """Rate a: a u v."""
    return w["a"] * u * v


@skfem.BilinearForm
def both(u, v, w):  # type: ignore[no-untyped-def]
    """The whole."""
    return w["k"] * dot(grad(u), grad(v)) + w["a"] * u * v


@skfem.LinearForm
def load(v, w):  # type: ignore[no-untyped-def]
    """Source f: f v."""
    return w["f"] * v


class Pressure:
    """A mesh and what is kept of it."""

    def __init__(self, arrays):  # type: ignore[no-untyped-def]
        """Take the mesh; this is not timed."""
        self.mesh = skfem.MeshTet(arrays["points"].T.copy(), arrays["cells"].T.astype(np.int64).copy())
        self.region = arrays["region"].astype(int)
        self.rim = np.unique(arrays["rim"])
        self.free = np.setdiff1d(np.arange(len(arrays["points"])), self.rim)

    def first(self, values, tolerance):  # type: ignore[no-untyped-def]
        """Solve from nothing but the mesh: basis, assembly, hierarchy, iterations; return times."""
        marks = [time.process_time()]
        self.basis = skfem.Basis(self.mesh, skfem.ElementTetP1(), intorder=2)
        return self._assembled(values, tolerance, marks)

    def assembled(self, values, tolerance):  # type: ignore[no-untyped-def]
        """Solve with new numbers on the basis that is kept, the forms assembled again."""
        return self._assembled(values, tolerance, [time.process_time()])

    def _assembled(self, values, tolerance, marks):  # type: ignore[no-untyped-def]
        k, a, f = (np.array(value)[self.region][:, None] for value in values)
        ones = np.ones(self.basis.X.shape[-1])[None]
        matrix = both.assemble(self.basis, k=k * ones, a=a * ones)
        right = load.assemble(self.basis, f=f * ones)
        matrix, right = matrix[self.free][:, self.free].tocsr(), right[self.free]
        marks.append(time.process_time())
        return self.solve(matrix, right, tolerance, marks)

    def prepare(self):  # type: ignore[no-untyped-def]
        """Assemble a matrix for each region once, on one pattern, so that new numbers cost a sum of arrays."""
        self.basis = skfem.Basis(self.mesh, skfem.ElementTetP1(), intorder=2)
        ones = np.ones(self.basis.X.shape[-1])[None]
        parts, self.loads = [], []
        for form, name in ((diffusion, "k"), (reaction, "a")):
            for index in range(2):
                inside = (self.region == index).astype(float)[:, None] * ones
                parts.append(form.assemble(self.basis, **{name: inside})[self.free][:, self.free].tocsr())
                if name == "k":
                    self.loads.append(load.assemble(self.basis, f=inside)[self.free])
        pattern = sum(abs(part) for part in parts).tocsr()
        pattern.sort_indices()
        zero = pattern.copy()
        zero.data[:] = 0.0
        self.parts = []
        for part in parts:
            whole = (zero + part).tocsr()
            if whole.nnz != pattern.nnz:
                whole = _on(pattern, part)
            self.parts.append(whole.data)
        self.pattern = pattern

    def again(self, values, tolerance):  # type: ignore[no-untyped-def]
        """Solve with new numbers on what is kept."""
        marks = [time.process_time()]
        factors = [*values[0], *values[1]]
        matrix = self.pattern.copy()
        matrix.data = sum(factor * part for factor, part in zip(factors, self.parts, strict=True))
        right = values[2][0] * self.loads[0] + values[2][1] * self.loads[1]
        marks.append(time.process_time())
        return self.solve(matrix, right, tolerance, marks)

    def solve(self, matrix, right, tolerance, marks):  # type: ignore[no-untyped-def]
        """Set smoothed aggregation up and iterate to the true residual asked for."""
        hierarchy = pyamg.smoothed_aggregation_solver(matrix)
        marks.append(time.process_time())
        residuals = []
        found = hierarchy.solve(right, accel="cg", tol=tolerance, residuals=residuals, maxiter=300)
        marks.append(time.process_time())
        true = float(np.linalg.norm(right - matrix @ found) / np.linalg.norm(right))
        whole = np.zeros(self.mesh.p.shape[1])
        whole[self.free] = found
        corners = self.mesh.p.T[self.mesh.t.T]
        sizes = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6
        total = float((sizes * whole[self.mesh.t].mean(axis=0)).sum())
        times = dict(zip(("assembly", "setup", "solve"), np.diff(marks).tolist(), strict=True))
        return {**times, "all": marks[-1] - marks[0], "iterations": len(residuals) - 1, "residual": true, "sum": total}


def _on(pattern, part):  # type: ignore[no-untyped-def]
    """Return a matrix with the pattern of another."""
    wide = part.tocoo()
    width = pattern.shape[1]
    rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    places = np.searchsorted(rows * width + pattern.indices, wide.row.astype(np.int64) * width + wide.col)
    found = pattern.copy()
    found.data = np.zeros(pattern.nnz)
    found.data[places] = wide.data
    return found


def best(results):  # type: ignore[no-untyped-def]
    """Return the quickest of some rounds."""
    return min(results, key=lambda result: result["all"])


def main(job):  # type: ignore[no-untyped-def]
    """Solve what the job says and print the result."""
    with np.load(job["mesh"]) as file:
        arrays = dict(file)
    values, tolerance = job["values"], job["tolerance"]
    pressure = Pressure(arrays)
    name = "scikit-fem + pyamg, smoothed aggregation"
    found = {"first": {name: best([pressure.first(values, tolerance) for _ in range(job["rounds"])])}, "again": {}}
    if job["again"]:
        found["again"][name] = best([pressure.assembled(new, tolerance) for new in job["again"]])
        pressure.prepare()
        found["again"][f"{name}, matrices of regions"] = best([pressure.again(new, tolerance) for new in job["again"]])
    found["versions"] = f"scikit-fem {skfem.__version__}, pyamg {pyamg.__version__}"
    print(json.dumps(found))


if __name__ == "__main__":
    with open(sys.argv[1]) as said:
        main(json.load(said))
