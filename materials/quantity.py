"""Numbers with units: text at the door, floats in mm, g, s, nmol, K inside.

In these units pressure and stress are in Pa (g/(mm s²) = Pa) and concentration is in mol/m³ (= nmol/mm³), while
lengths stay the millimetres in which anatomy is segmented. pint is imported on first use, because it takes a second.
"""

from __future__ import annotations

import math
import re
import tokenize
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from turgor.materials.errors import nearest

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TEXT = re.compile(rf"\s*(?P<number>{NUMBER})\s*(?P<unit>\S.*)?\s*$")
_UNIT = re.compile(r"(?:[A-Za-zµμÅ°%²³\d\s.()/·]|\*(?!\*)|(?:\^|\*\*)\s*-?\d(?![\d^]|\s*\*\*)|e-)*")
_LONGEST = 60
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
"""What the parser of units raises on text that is none."""
_COMMON = (
    *("Pa", "kPa", "mmHg", "dyn", "N", "K"),
    *("m", "cm", "mm", "um", "nm", "L", "mL", "uL", "nL"),
    *("s", "min", "h", "day", "kg", "g", "mg", "ug", "mol", "mmol", "umol", "nmol", "M", "uM", "nM"),
)

KINDS = {
    "Pa": ("a pressure", "10 mmHg"),
    "Pa/mm": ("a stiffness per area", "100 Pa/mm"),
    "1/Pa": ("a compressibility", "1e-5 1/Pa"),
    "mm": ("a length", "1 mm"),
    "mm^3": ("a volume", "1 mL"),
    "s": ("a time", "1 s"),
    "1/s": ("a rate", "1e-4 1/s"),
    "1/mm": ("a surface per volume", "200 1/cm"),
    "mm/s": ("a velocity or permeability", "1e-6 m/s"),
    "mm^2/s": ("a diffusivity", "1e-10 m^2/s"),
    "mm^3/s": ("a volume rate", "3 uL/min"),
    "nmol": ("an amount", "1 nmol"),
    "nmol/s": ("an amount rate", "1 nmol/s"),
    "nmol/mm^3": ("a concentration", "1 umol/L"),
    "nmol/(mm^2*s)": ("an amount flux", "1 nmol/(mm^2*s)"),
    "mm^2/(Pa*s)": ("a hydraulic conductivity", "4.13e-8 cm^2/(mmHg*s)"),
    "mm/(Pa*s)": ("a hydraulic conductivity of vessel walls", "2.8e-7 cm/(mmHg*s)"),
    "1/(Pa*s)": ("a conductance per volume", "1e-7 1/(Pa*s)"),
    "mm^3/(nmol*s)": ("an association rate", "1e5 1/(M*s)"),
    "g/nmol": ("a molar mass", "543.5 g/mol"),
    "g/mm^3": ("a density", "1060 kg/m^3"),
    "1/mm^3": ("an amount per volume and dose", "0.0746 1/L"),
    "g": ("a mass", "75 kg"),
    "mm^2": ("an area", "1.8 m^2"),
    "g/mm^2": ("a mass per body surface", "50 mg/m^2"),
    "K": ("a temperature", "310 K"),
    "": ("a plain number", "0.9"),
}
"""Internal unit -> what it measures, and an example as a user would write it."""


@cache
def registry() -> Any:
    """Return the unit registry (pint), made once."""
    import pint

    return pint.UnitRegistry()


@lru_cache(maxsize=4096)
def factor(unit: str, internal: str) -> float:
    """Return the number by which a value in `unit` is multiplied to be in `internal`.

    Raises:
        ValueError: The unit is unknown, cannot be read, or measures something else.
    """
    import pint

    kind, example = KINDS.get(internal, ("a quantity", f"1 {internal}"))
    expected = f"expected for example {example!r}"
    if len(unit) > _LONGEST or not _UNIT.fullmatch(unit):
        raise ValueError(f"{unit!r} cannot be read as a unit, {expected}")
    try:
        one, zero = (registry().Quantity(number, unit.replace("µ", "u")) for number in (1.0, 0.0))
    except pint.UndefinedUnitError as error:
        name, hint = _unknown(str(error), unit)
        raise ValueError(f"unit {name!r} is not known, {expected}{hint}") from None
    except _UNREADABLE:
        raise ValueError(f"{unit!r} cannot be read as a unit, {expected}") from None
    try:
        scale, offset = (float(given.to(internal or "dimensionless").magnitude) for given in (one, zero))
    except pint.DimensionalityError:
        raise ValueError(f"{unit!r} does not measure {kind}, {expected}") from None
    if offset != 0.0:
        raise ValueError(f"{unit!r} does not start at absolute zero, {expected}")
    return scale


def _unknown(complaint: str, unit: str) -> tuple[str, str]:
    """Return the name that pint does not know, and the sentence about the nearest one that it does."""
    name = complaint.split("'")[1] if "'" in complaint else unit
    power = re.fullmatch(r"([A-Za-z]+)(\d)", name)
    hint = f" Did you mean '{power[1]}^{power[2]}'?" if power else nearest(name, _COMMON)
    return name, hint and f".{hint}"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit.

    Attributes:
        text: As it was written, for example "15.6 mmHg".
        value: The number in `unit`.
        unit: The internal unit (mm, g, s, nmol, K, Pa).
    """

    text: str
    value: float
    unit: str

    @classmethod
    def parse(cls, text: object, unit: str) -> Quantity:
        """Read text such as "4.13e-8 cm^2/(mmHg*s)" into internal units.

        Raises:
            ValueError: No unit, an unknown unit or one that measures something else; says what was expected.
        """
        kind, example = KINDS.get(unit, ("a quantity", f"1 {unit}"))
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError(f"{text!r} is not {kind}, expected for example {example!r}")
        match = _TEXT.match(str(text))
        if not match:
            raise ValueError(f"{text!r} is not {kind}, expected a number with a unit, for example {example!r}")
        if not match["unit"] and unit:
            raise ValueError(f"{text!r} has no unit, expected for example {example!r}")
        value = float(match["number"]) * factor((match["unit"] or "").strip(), unit)
        if not math.isfinite(value):
            raise ValueError(f"{text!r} is too large, expected for example {example!r}")
        return cls(str(text), value, unit)

    def __str__(self) -> str:
        """Return the text as written."""
        return self.text


@dataclass(frozen=True, slots=True)
class In:
    """Annotation that makes pydantic read a `Quantity` in an internal unit: `Annotated[Quantity, In("Pa")]`."""

    unit: str
    positive: bool = False

    def read(self, raw: object) -> Quantity:
        """Return the quantity; raise ValueError with the sentence for the user."""
        quantity = raw if isinstance(raw, Quantity) else Quantity.parse(raw, self.unit)
        if quantity.unit != self.unit:
            raise ValueError(f"{quantity.text!r} was read in {quantity.unit!r}, expected {self.unit!r}")
        if self.positive and not quantity.value > 0:
            raise ValueError(f"{raw!r} must be larger than zero")
        return quantity

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how to read and write the quantity."""
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the quantity to editors."""
        return json_schema(self.unit)


def json_schema(unit: str) -> dict[str, Any]:
    """Return the JSON schema of a quantity in an internal unit."""
    kind, example = KINDS.get(unit, ("a quantity", f"1 {unit}"))
    described = {"description": f"{kind[0].upper()}{kind[1:]}.", "examples": [example], "x-unit": unit}
    if not unit:
        return {"type": ["number", "string"], **described}
    return {"type": "string", "pattern": rf"^\s*{NUMBER}\s*\S.*$", **described}


Pressure = Annotated[Quantity, In("Pa")]
Length = Annotated[Quantity, In("mm")]
PositiveLength = Annotated[Quantity, In("mm", positive=True)]
Time = Annotated[Quantity, In("s")]
PositiveTime = Annotated[Quantity, In("s", positive=True)]
Area = Annotated[Quantity, In("mm^2", positive=True)]
Mass = Annotated[Quantity, In("g", positive=True)]
