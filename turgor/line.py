"""The stages of the line that need the whole case, for Python and the command line alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from turgor.resolve import rim_lengths

if TYPE_CHECKING:
    from turgor.case import Case


def _silent(sentence: str) -> None:
    """Take a sentence and drop it."""


def mesh(case: Case, *, log: Callable[[str], None] = _silent, coarser: float = 1.0) -> Path:
    """Turn the segmentation of a case into tetrahedra with names, and a certificate; an up-to-date mesh is kept.

    Args:
        case: The case; its materials say how thin the rim of a tumor is, which decides `size = "auto"`.
        log: Takes a sentence now and then.
        coarser: What all sizes are multiplied with.

    Returns:
        The mesh that the solver reads.
    """
    from turgor.meshing import make

    return make.mesh(case.mesh, rim=rim_lengths(case), log=log, coarser=coarser)


def estimated_cells(case: Case) -> int:
    """Return about how many tetrahedra the mesh of a case will have; reads the segmentation, makes nothing."""
    from turgor.meshing import make

    anatomy, sizes = make.prepare(case.mesh, rim_lengths(case), _silent)
    return round(anatomy.cells(sizes))
