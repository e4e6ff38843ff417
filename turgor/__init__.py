"""Finite elements for tumor biophysics: from a segmentation to interstitial flow, drug transport and a report.

The whole line in Python::

    import turgor

    case = turgor.Case.read("case.toml")
    turgor.mesh(case)          # segmentation -> tetrahedra with names, and a certificate
    run = turgor.solve(case)   # -> run folder
    turgor.report(run)         # -> report.html

Names are imported when they are asked for, so that `import turgor` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turgor.case import Case
    from turgor.fem.study import solve
    from turgor.line import mesh
    from turgor.materials.errors import CaseError, TurgorError
    from turgor.postprocess import Run, render, report

_HOMES = {
    "Case": "turgor.case",
    "CaseError": "turgor.materials.errors",
    "Run": "turgor.postprocess",
    "TurgorError": "turgor.materials.errors",
    "mesh": "turgor.line",
    "render": "turgor.postprocess",
    "report": "turgor.postprocess",
    "solve": "turgor.fem.study",
}

__all__ = ["Case", "CaseError", "Run", "TurgorError", "mesh", "render", "report", "solve"]


def __getattr__(name: str) -> object:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"turgor has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
