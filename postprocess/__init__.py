"""From a run folder to pictures, tables and one report; it never sees a case or a solver.

The heavy libraries (PyVista, matplotlib, k3d, jinja2) are imported when something is drawn, not before.
"""

from turgor.postprocess.render import render
from turgor.postprocess.report import report
from turgor.postprocess.run import Run
from turgor.postprocess.scenefile import Scene
from turgor.postprocess.table import Table

__all__ = ["Run", "Scene", "Table", "render", "report"]
