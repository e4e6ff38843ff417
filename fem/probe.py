"""A small integral that shows whether forms compile and ranks work together: `python -m turgor.fem.probe [--cold]`."""

from __future__ import annotations

import sys
import time

from turgor.fem.startup import MPI, form

import dolfinx.mesh
import ufl
from dolfinx import fem


def volume(comm: MPI.Intracomm, stretch: float) -> float:
    """Integrate `stretch` over the unit cube, shared between the ranks. Collective.

    Args:
        comm: Who shares the work.
        stretch: A number written into the form, so that a number not used before compiles a new form.
    """
    cube = dolfinx.mesh.create_unit_cube(comm, 4, 4, 4)
    x = ufl.SpatialCoordinate(cube)
    compiled = form(stretch * 2 * x[0] * ufl.dx)
    return float(comm.allreduce(fem.assemble_scalar(compiled).real))


def main() -> int:
    """Print how many ranks there are and how long the form took; return 0 if the integral is right."""
    comm = MPI.COMM_WORLD
    stretch = comm.bcast(1 + time.time_ns() % 10**9 * 1e-9) if "--cold" in sys.argv else 1.0
    began = time.monotonic()
    error = abs(volume(comm, stretch) / stretch - 1.0)
    if comm.rank == 0:
        print(f"{comm.size} ranks" if comm.size > 1 else f"{time.monotonic() - began:.1f} s")
    return int(error > 1e-12)


if __name__ == "__main__":
    sys.exit(main())
