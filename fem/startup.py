"""Start MPI, then DOLFINx and PETSc, in the order that works everywhere; compile forms.

mpi4py must come first: with the wheel it loads the MPI library that the others need, with conda it does no harm. h5py
comes before PETSc, which brings an HDF5 of its own whose names would otherwise stand in for those of h5py's.
Compiled forms are kept in a private folder that carries the versions and the CPU, and are compiled one at a time
under a lock that the system releases when a process dies. Who holds it and sees an unfinished form therefore knows
that nobody is working on it, and removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from mpi4py import MPI

import cffi
import dolfinx.jit
import h5py  # noqa: F401  (before PETSc: see above)
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from petsc4py import PETSc

from turgor.materials.errors import SetupError

__all__ = ["MPI", "PETSc", "compile_retrying", "end_all_when_one_fails", "expression", "form", "form_folder"]


def cpu_name() -> str:
    """Return the model of this machine's processor, as the system calls it."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    return model[1].strip() if model else platform.processor() or platform.machine()


@cache
def form_folder() -> Path:
    """Return the private folder of compiled forms, made if it is not there.

    Raises:
        SetupError: The folder cannot be written.
    """
    cpu = cpu_name()
    name = re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")[:40]
    code = hashlib.sha256(cpu.encode()).hexdigest()[:6]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "turgor" / f"forms-{version('turgor')}-dolfinx-{dolfinx.__version__}-{name}-{code}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "lock").touch(mode=0o600)
    except OSError as error:
        raise SetupError(
            f"compiled forms cannot be kept in {folder} ({error.strerror}); "
            "let XDG_CACHE_HOME name a folder that you can write"
        ) from None
    return folder


def remove_unfinished(folder: Path) -> list[str]:
    """Remove the forms whose compilation was begun and never finished; return their names."""
    stale = [source for source in folder.glob("libffcx_*.c") if not source.with_suffix(".c.cached").exists()]
    for source in stale:
        source.unlink(missing_ok=True)
    return [source.stem for source in stale]


@contextmanager
def _alone(comm: MPI.Comm) -> Iterator[None]:
    """Let rank 0 be the only process of this machine that compiles, with leftovers of dead ones removed."""
    folder = form_folder()
    if comm.rank != 0:
        yield
        return
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: left to the form compiler's own time limit
            yield
            return
        remove_unfinished(folder)
        yield


def compile_retrying[T](make: Callable[[], T], comm: MPI.Comm = MPI.COMM_WORLD) -> T:
    """Call `make`, which compiles forms; once more if a lock left by a dead process held it up. Collective.

    Raises:
        SetupError: The C compiler failed; says how.
    """
    with _alone(comm):
        try:
            return make()
        except (TimeoutError, RuntimeError, cffi.VerificationError) as error:
            words = str(comm.bcast(str(error), root=0))
        if "timed out" in words:
            if comm.rank == 0:
                remove_unfinished(form_folder())
            comm.barrier()
            return make()
    raise SetupError(f"a form could not be compiled: {words}\nTry `turgor doctor`, which says what is missing.")


def form(weak: ufl.Form, *, entity_maps: Sequence[dolfinx.mesh.EntityMap] | None = None) -> fem.Form[np.float64]:
    """Return the compiled form. Collective.

    Args:
        weak: Linear, bilinear or scalar form.
        entity_maps: Maps between a mesh and its submeshes, where the form lives on both.
    """
    comm = weak.ufl_domains()[0].ufl_cargo().comm
    return compile_retrying(lambda: fem.form(weak, entity_maps=entity_maps), comm)


def expression(
    formula: ufl.core.expr.Expr, points: npt.NDArray[np.float64], comm: MPI.Comm = MPI.COMM_WORLD
) -> fem.Expression[np.float64]:
    """Return the compiled expression, to be evaluated at points of the reference cell. Collective.

    Args:
        formula: What to evaluate.
        points: Coordinates in the reference cell, shape (n, dim).
        comm: Communicator of the mesh.
    """
    return compile_retrying(lambda: fem.Expression(formula, points, comm=comm), comm)


def end_all_when_one_fails(comm: MPI.Comm) -> None:
    """Let an error that nobody catches on one rank end all of them, instead of leaving the others waiting."""
    if comm.size == 1:
        return

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        traceback.print_exception(kind, error, trace)
        sys.stderr.flush()
        comm.Abort(1)

    sys.excepthook = end


dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS["cache_dir"] = (form_folder(), "compiled forms of turgor")
