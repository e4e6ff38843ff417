"""The parameters that a region of tissue may carry, with unit, symbol and bounds.

A physics lists the names it needs; the library and the case give the values. A physics of your own may bring
parameters of its own: see `Parameter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a region.

    Attributes:
        name: The field's standard term, with underscores.
        unit: Internal unit; "" for a plain number.
        symbol: As in the equations.
        label: Words for tables and reports.
        low: Smallest value allowed, in the internal unit.
        high: Largest value allowed.
        default: Value in force when nobody gives one; None means that it must be given.
        choices: Words allowed, for a parameter that is not a number; the first is the default.
        tensor: Whether an image of tensors may give it.
    """

    name: str
    unit: str
    symbol: str
    label: str
    low: float = float("-inf")
    high: float = float("inf")
    default: float | None = None
    choices: tuple[str, ...] = field(default=())
    tensor: bool = False


_FLOW = (
    Parameter(
        "hydraulic_conductivity", "mm^2/(Pa*s)", "K", "interstitial hydraulic conductivity", low=0.0, tensor=True
    ),
    Parameter("vessel_conductivity", "mm/(Pa*s)", "Lp", "hydraulic conductivity of the vessel wall", low=0.0),
    Parameter("vessel_surface_density", "1/mm", "S/V", "vessel surface per tissue volume", low=0.0),
    Parameter("vascular_pressure", "Pa", "pv", "microvascular pressure"),
    Parameter("osmotic_reflection", "", "σ", "osmotic reflection coefficient of plasma proteins", 0.0, 1.0),
    Parameter("plasma_oncotic_pressure", "Pa", "πv", "oncotic pressure of plasma", low=0.0),
    Parameter("tissue_oncotic_pressure", "Pa", "πi", "oncotic pressure of the interstitium", low=0.0),
    Parameter(
        "lymphatic_conductance", "1/(Pa*s)", "LpL SL/V", "lymphatic conductance per tissue volume", 0.0, default=0.0
    ),
    Parameter("lymphatic_pressure", "Pa", "pL", "pressure in the lymphatics", default=0.0),
    Parameter("lymph", "", "", "lymphatic drainage", choices=("one-way", "linear")),
    Parameter("reabsorption", "", "", "reabsorption into vessels", choices=("linear", "none")),
)
_EDEMA = (
    Parameter("youngs_modulus", "Pa", "E", "drained Young's modulus", low=0.0),
    Parameter("poisson_ratio", "", "ν", "drained Poisson ratio", -1.0, 0.5),
    Parameter("biot_coefficient", "", "α", "Biot coefficient", 0.0, 1.0, default=1.0),
    Parameter("storage_coefficient", "1/Pa", "1/M", "specific storage", 0.0, default=0.0),
    Parameter("porosity", "", "n", "interstitial fluid per tissue volume", 0.0, 1.0),
    Parameter("law", "", "", "constitutive law of the skeleton", choices=("neo-hookean",)),
    Parameter(
        "conductivity_law", "", "", "conductivity under strain", choices=("constant", "kozeny-carman", "exponential")
    ),
)
_DRUG = (
    Parameter("diffusivity", "mm^2/s", "D", "interstitial diffusivity", low=0.0),
    Parameter("vascular_permeability", "mm/s", "P", "permeability of the vessel wall", low=0.0),
    Parameter("filtration_reflection", "", "σf", "filtration reflection coefficient of the drug", 0.0, 1.0),
    Parameter("convective_hindrance", "", "R", "convective hindrance", 0.0, 1.0, default=1.0),
    Parameter("available_volume_fraction", "", "n_a", "accessible fluid per tissue volume", 0.0, 1.0),
    Parameter("decay_rate", "1/s", "k", "first-order decay", 0.0, default=0.0),
    Parameter("binding_sites", "nmol/mm^3", "B_max", "binding sites per tissue volume", 0.0, default=0.0),
    Parameter("association_rate", "mm^3/(nmol*s)", "k_on", "association rate", 0.0),
    Parameter("dissociation_rate", "1/s", "k_off", "dissociation rate", 0.0),
    Parameter("internalization_rate", "1/s", "k_int", "internalization rate", 0.0),
    Parameter("release_rate", "1/s", "k_rel", "release rate from the carrier", 0.0),
)

PARAMETERS: Mapping[str, Parameter] = MappingProxyType({p.name: p for p in (*_FLOW, *_EDEMA, *_DRUG)})
"""Every parameter the case file knows, by name."""
