"""The compiler of small loops over triangles (numba), with its cache, typed so that signatures stay visible."""

from __future__ import annotations

from collections.abc import Callable

import numba


def compiled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code on its first call and keep the result for later runs."""
    made: Callable[P, R] = numba.njit(cache=True, error_model="numpy")(function)
    return made
