"""The compiler of small loops over triangles (numba), with its cache, typed so that signatures stay visible.

numba keeps machine code until the file of a function changes, whatever happens to the functions that it calls from
other files. The cache is therefore kept in a folder named by the content of all files that may hold kernels.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import cast

import numba

FOLDERS = ("meshing", "fem")
"""Of packages that hold kernels."""


@cache
def _kernels() -> str:
    """Return the folder of the cache, "" where numba must find one itself."""
    own = Path(__file__).parent
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((own.parent / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    place = own / "__pycache__"
    with contextlib.suppress(OSError):
        place.mkdir(exist_ok=True)
        if os.access(place, os.W_OK):
            return str(place / f"kernels-{digest.hexdigest()[:16]}")
    return ""


@contextlib.contextmanager
def _cached() -> Iterator[None]:
    """Let numba keep what is compiled in the folder of these sources, unless the user chose one."""
    settings = vars(numba.config)
    before = settings["CACHE_DIR"]
    settings["CACHE_DIR"] = before or _kernels()
    try:
        yield
    finally:
        settings["CACHE_DIR"] = before


def compiled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code on its first call and keep the result for later runs."""
    with _cached():
        made: Callable[P, R] = numba.njit(cache=True, error_model="numpy")(function)
    return made


def lean[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that neither makes nor keeps arrays, and so need not count who holds them.

    It lets other threads run meanwhile.
    """
    compiler = cast("Callable[..., Callable[[Callable[P, R]], Callable[P, R]]]", numba.njit)
    with _cached():
        return compiler(cache=True, error_model="numpy", nogil=True, _nrt=False)(function)
