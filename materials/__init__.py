"""What the numbers are: quantities with units, parameters, the library of tissues and agents, laws and references.

Cheap to import: pint is loaded when the first unit is read, rich when the library is shown.
"""

from turgor.materials.errors import CaseError, TurgorError
from turgor.materials.library import Agent, Entry, Library, Tissue, library
from turgor.materials.parameters import PARAMETERS, Parameter
from turgor.materials.quantity import In, Quantity
from turgor.materials.references import bibliography, citation
from turgor.materials.show import render_library

__all__ = [
    "PARAMETERS",
    "Agent",
    "CaseError",
    "Entry",
    "In",
    "Library",
    "Parameter",
    "Quantity",
    "Tissue",
    "TurgorError",
    "bibliography",
    "citation",
    "library",
    "render_library",
]
