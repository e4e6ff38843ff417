"""The pressure by linear elements in NGSolve: a worker of the flow benchmark.

    PYTHON benchmarks/peers_ngsolve.py JOB.json

PYTHON is that of an environment of its own, made by `python -m venv peers` and
`peers/bin/pip install scikit-fem pyamg ngsolve`. The last line printed is the result, as JSON. It shares nothing with
turgor but the files.
"""

from __future__ import annotations

import json
import sys
import time

try:
    import netgen.meshing as netgen
    import ngsolve
    import numpy as np
    from ngsolve import dx, grad
except ImportError as error:
    sys.exit(f"peers_ngsolve.py: {error}; python -m venv peers; peers/bin/pip install ngsolve numpy")

METHODS = {"h1amg": "NGSolve, h1amg", "local": "NGSolve, Jacobi"}


def mesh_of(arrays):  # type: ignore[no-untyped-def]
    """Return the mesh; this is not timed."""
    made = netgen.Mesh(dim=3)
    made.AddPoints(np.ascontiguousarray(arrays["points"]))
    tumor = made.AddRegion("tumor", dim=3)
    host = made.AddRegion("host", dim=3)
    rim = made.AddRegion("rim", dim=2)
    # netgen counts the corners of a tetrahedron the other way round.
    cells = np.ascontiguousarray(arrays["cells"][:, [0, 2, 1, 3]], dtype=np.int32)
    for index, number in enumerate((tumor, host)):
        made.AddElements(dim=3, index=number, data=cells[arrays["region"] == index], base=0)
    made.AddElements(dim=2, index=rim, data=np.ascontiguousarray(arrays["rim"], dtype=np.int32), base=0)
    return ngsolve.Mesh(made)


def conjugate_gradients(matrix, right, found, inverse, free, tolerance):  # type: ignore[no-untyped-def]
    """Iterate to the true relative residual asked for; return how often and what was reached."""
    project = ngsolve.Projector(free, True)
    residual, direction, image, better = (right.CreateVector() for _ in range(4))
    residual.data = project * right
    found[:] = 0.0
    size = residual.Norm()
    better.data = inverse * residual
    direction.data = better
    rho = ngsolve.InnerProduct(residual, better)
    count = 0
    while count < 1000:
        count += 1
        image.data = matrix * direction
        project.Project(image)
        step = rho / ngsolve.InnerProduct(direction, image)
        found.data += step * direction
        residual.data -= step * image
        if residual.Norm() <= tolerance * size:
            break
        better.data = inverse * residual
        new = ngsolve.InnerProduct(residual, better)
        direction *= new / rho
        direction += better
        rho = new
    image.data = right - matrix * found
    project.Project(image)
    return count, image.Norm() / size


class Pressure:
    """Linear elements on a mesh."""

    def __init__(self, mesh, method, tolerance):  # type: ignore[no-untyped-def]
        """Take the mesh and the preconditioner's name."""
        self.mesh, self.method, self.tolerance = mesh, method, tolerance
        self.numbers = [[ngsolve.Parameter(1.0) for _ in range(2)] for _ in range(3)]

    def first(self, values):  # type: ignore[no-untyped-def]
        """Solve from nothing but the mesh."""
        marks = [time.process_time()]
        self.space = ngsolve.H1(self.mesh, order=1, dirichlet="rim")
        p, q = self.space.TnT()
        k, a, f = (self.mesh.MaterialCF(dict(zip(("tumor", "host"), pair, strict=True))) for pair in self.numbers)
        self.bilinear = ngsolve.BilinearForm(self.space, symmetric=False)
        self.bilinear += (k * grad(p) * grad(q) + a * p * q) * dx
        self.linear = ngsolve.LinearForm(f * q * dx)
        self.inverse = ngsolve.Preconditioner(self.bilinear, self.method)
        self.found = ngsolve.GridFunction(self.space)
        return self.again(values, marks)

    def again(self, values, marks=None):  # type: ignore[no-untyped-def]
        """Assemble with new numbers, which sets the preconditioner up, too, and solve."""
        marks = marks or [time.process_time()]
        for pair, new in zip(self.numbers, values, strict=True):
            for number, value in zip(pair, new, strict=True):
                number.Set(value)
        self.linear.Assemble()
        self.bilinear.Assemble()
        marks.append(time.process_time())
        free = self.space.FreeDofs()
        count, reached = conjugate_gradients(
            self.bilinear.mat, self.linear.vec, self.found.vec, self.inverse.mat, free, self.tolerance
        )
        marks.append(time.process_time())
        total = float(ngsolve.Integrate(self.found, self.mesh))
        times = dict(zip(("assembly", "solve"), np.diff(marks).tolist(), strict=True))
        return {**times, "all": marks[-1] - marks[0], "iterations": count, "residual": reached, "sum": total}


def conservative(mesh, values, tolerance):  # type: ignore[no-untyped-def]
    """Solve for the lowest-order Raviart-Thomas flux, hybridized and condensed; Jacobi, for its h1amg crashes here.

    The vectors hold the eliminated unknowns, too, as NGSolve keeps them.
    """
    marks = [time.process_time()]
    flux = ngsolve.Discontinuous(ngsolve.HDiv(mesh, order=0, RT=True))
    space = flux * ngsolve.L2(mesh, order=0) * ngsolve.FacetFESpace(mesh, order=0, dirichlet="rim")
    (u, p, r), (v, q, s) = space.TnT()
    k, a, f = (mesh.MaterialCF(dict(zip(("tumor", "host"), pair, strict=True))) for pair in values)
    n, div = ngsolve.specialcf.normal(3), ngsolve.div
    bilinear = ngsolve.BilinearForm(space, condense=True)
    bilinear += (-1 / k * u * v + p * div(v) + q * div(u) + a * p * q) * dx
    bilinear += (-r * (v * n) - s * (u * n)) * dx(element_boundary=True)
    linear = ngsolve.LinearForm(f * q * dx).Assemble()
    inverse = ngsolve.Preconditioner(bilinear, "local")
    bilinear.Assemble()
    found = ngsolve.GridFunction(space)
    right = linear.vec.CreateVector()
    right.data = linear.vec
    right.data += bilinear.harmonic_extension_trans * linear.vec
    marks.append(time.process_time())
    free = space.FreeDofs(True)
    count, reached = conjugate_gradients(bilinear.mat, right, found.vec, inverse.mat, free, tolerance)
    found.vec.data += bilinear.harmonic_extension * found.vec
    found.vec.data += bilinear.inner_solve * linear.vec
    marks.append(time.process_time())
    total = float(ngsolve.Integrate(found.components[1], mesh))
    times = dict(zip(("assembly", "solve"), np.diff(marks).tolist(), strict=True))
    return {**times, "all": marks[-1] - marks[0], "iterations": count, "residual": reached, "sum": total}


def best(results):  # type: ignore[no-untyped-def]
    """Return the quickest of some rounds."""
    return min(results, key=lambda result: result["all"])


def main(job):  # type: ignore[no-untyped-def]
    """Solve what the job says and print the result."""
    ngsolve.SetNumThreads(1)
    with np.load(job["mesh"]) as file:
        mesh = mesh_of(dict(file))
    found = {"first": {}, "again": {}, "versions": f"NGSolve {ngsolve.__version__}"}
    for method, name in METHODS.items():
        pressure = Pressure(mesh, method, job["tolerance"])
        found["first"][name] = best([pressure.first(job["values"]) for _ in range(job["rounds"])])
        if job["again"]:
            found["again"][name] = best([pressure.again(new) for new in job["again"]])
    if job.get("flux"):
        rounds = [conservative(mesh, job["values"], job["tolerance"]) for _ in range(2)]
        found["first"]["NGSolve, RT0 hybridized, Jacobi"] = best(rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    with open(sys.argv[1]) as said:
        main(json.load(said))
