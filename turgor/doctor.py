"""Tests what a run needs on this machine: each part in a program of its own, so that a crash is only an answer."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from turgor import launch
from turgor.materials.errors import SetupError

PACKAGES = (
    "dolfinx-solver-real",
    "fenics-dolfinx",
    "mpi4py",
    "mpich",
    "gmsh",
    "pyvista",
    "vtk",
    "k3d",
    "numpy",
    "h5py",
    "pint",
    "pydantic",
)

LIMIT = 180.0
"""Seconds after which a part counts as hanging."""


@dataclass(frozen=True)
class Part:
    """One thing that a run needs.

    Attributes:
        name: What is tested.
        words: The program, without Python.
        ranks: On how many ranks; 0 for no MPI at all.
        mend: What to do when it fails.
        expect: Text that must be printed.
    """

    name: str
    words: tuple[str, ...]
    ranks: int
    mend: str
    expect: str = ""


PARTS = (
    Part(
        "forms compile",
        ("-m", "turgor.fem.probe", "--cold"),
        0,
        "install a C compiler and Python's headers (Debian: apt-get install gcc libc6-dev python3-dev)",
    ),
    Part(
        "two ranks work together",
        ("-m", "turgor.fem.probe"),
        2,
        "let one MPI be installed: remove other mpich, openmpi, petsc, adios2 packages from this environment",
        expect="2 ranks",
    ),
    Part(
        "gmsh fills a body",
        ("-m", "turgor.meshing.probe"),
        0,
        "install the libraries that gmsh loads (Debian: apt-get install "
        "libglu1-mesa libxft2 libxcursor1 libxinerama1 libxrender1 libfontconfig1)",
    ),
    Part(
        "pictures are drawn off screen",
        ("-m", "turgor.postprocess.probe"),
        0,
        "install EGL (Debian: apt-get install libegl1 libgl1)",
    ),
)


def examine(tell: Callable[[str], None]) -> int:
    """Tell the versions and how each part does; return 0 if all are well, else 1."""
    tell(f"Python {platform.python_version()} on {platform.platform()}, {sys.executable}")
    tell(", ".join(_versions()))
    well = True
    for part in PARTS:
        good, said = examined(part)
        well = well and good
        tell(f"{'ok   ' if good else 'WRONG'} {part.name}: {said}")
        if not good:
            tell(f"      mend: {part.mend}")
    tell("all is well" if well else "something is wrong; see above")
    return 0 if well else 1


def _versions() -> list[str]:
    """Return the versions of turgor and of what it rests on."""
    found = []
    for name in ("turgor", *PACKAGES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def examined(part: Part) -> tuple[bool, str]:
    """Run one part; return whether it did well, and its last words."""
    program = [sys.executable, "-P", *part.words]
    try:
        if part.ranks:
            program = [launch.mpirun(), "-n", str(part.ranks), *program]
        done = subprocess.run(
            program, capture_output=True, text=True, env=launch.environment(), timeout=LIMIT, stdin=subprocess.DEVNULL
        )
    except SetupError as error:
        return False, str(error)
    except subprocess.TimeoutExpired:
        return False, f"no answer in {LIMIT:.0f} s"
    said = [line for line in (done.stdout + (done.stderr if done.returncode else "")).splitlines() if line.strip()]
    last = said[-1].strip() if said else f"ended with code {done.returncode} without a word"
    return done.returncode == 0 and part.expect in done.stdout, last
