"""What the case file says under [physics.drug]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ValidationInfo, model_validator

from turgor.fem.spec import Condition, PhysicsSpec, Source
from turgor.materials.quantity import In, PositiveTime, Quantity, Time
from turgor.materials.spec import Spec
from turgor.materials.values import Table, Value, ValueIn, existing_file, read_csv, table

DOSES = {"g/mm^2": "body_surface", "": "mass", "g": "", "nmol": ""}
"""Internal unit of a dose -> what must be known of the patient."""


class SurfaceExchange(Spec):
    """-n_a D grad c . n = coefficient (c - to)."""

    coefficient: Annotated[Value, ValueIn("mm/s", low=0.0)]
    to: Annotated[Value, ValueIn("nmol/mm^3", low=0.0)]

    def __str__(self) -> str:
        """Return the words for reports."""
        return f"{self.coefficient} to {self.to}"


class DrugCondition(Condition):
    """One of: a concentration, an amount entering per area and time, an exchange."""

    keys: ClassVar[tuple[str, ...]] = ("concentration", "influx", "exchange")
    concentration: Annotated[Value, ValueIn("nmol/mm^3", low=0.0)] | None = None
    influx: Annotated[Value, ValueIn("nmol/(mm^2*s)", low=0.0)] | None = None
    exchange: SurfaceExchange | None = None


class DrugSource(Source):
    """An amount of drug per time, in a region or a ball.

    Either `rate` is an amount per time, or it is a volume per time with a concentration: the drug that such a volume
    carries. The fluid itself is a source of the flow.
    """

    rate: str
    concentration: Annotated[Quantity, In("nmol/mm^3")] | None = None

    @model_validator(mode="after")
    def _is_a_rate(self) -> DrugSource:
        Quantity.parse(self.rate, "nmol/s" if self.concentration is None else "mm^3/s")
        return self

    def amount(self) -> float:
        """Return the amount per time [nmol/s]."""
        if self.concentration is None:
            return Quantity.parse(self.rate, "nmol/s").value
        return Quantity.parse(self.rate, "mm^3/s").value * self.concentration.value


class DrugStart(Spec):
    """The free concentration at the start."""

    concentration: Annotated[Quantity, In("nmol/mm^3")]


class Dose(Spec):
    """A dose in the units it was written in."""

    text: str
    value: float
    unit: str

    def __str__(self) -> str:
        """Return the text as written."""
        return self.text


def read_dose(raw: object) -> Dose:
    """Read "50 mg/m^2", "2 mg/kg", "90 mg" or "1 umol"; raise ValueError for anything else."""
    for unit in DOSES:
        try:
            quantity = Quantity.parse(raw, unit)
        except ValueError:
            continue
        if unit == "" and not any(letter.isalpha() for letter in quantity.text):
            break
        if not quantity.value > 0:
            raise ValueError(f"the dose {raw!r} must be larger than zero")
        return Dose(text=quantity.text, value=quantity.value, unit=unit)
    raise ValueError(f'{raw!r} is not a dose, expected for example "50 mg/m^2", "2 mg/kg", "90 mg" or "1 umol"')


class PlasmaSpec(Spec):
    """How the blood carries the drug: a dose with the agent's kinetics, or a measured curve."""

    dose: Dose | None = None
    kind: Literal["bolus", "infusion"] | None = None
    duration: PositiveTime | None = None
    schedule: tuple[Time, ...] = ()
    curve: Table | None = None
    of: Literal["plasma", "blood"] = "plasma"
    fraction: Literal["total", "free"] = "total"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, dict):
            return raw
        words = dict(raw)
        if "dose" in words and not isinstance(words["dose"], Dose):
            words["dose"] = read_dose(words["dose"])
        if "csv" in words:
            if "unit" not in words:
                raise ValueError('csv needs a unit beside it, for example unit = "umol/L"')
            words["curve"] = read_csv(existing_file(words.pop("csv"), info), str(words.pop("unit")), "nmol/mm^3")
        if "times" in words and "values" in words:
            times = tuple(Quantity.parse(t, "s").value for t in words.pop("times"))
            values = tuple(Quantity.parse(v, "nmol/mm^3").value for v in words.pop("values"))
            words["curve"] = table(times, values, "nmol/mm^3", f"table of {len(times)} times")
        return words

    @model_validator(mode="after")
    def _is_one_curve(self) -> PlasmaSpec:
        if (self.dose is None) == (self.curve is None):
            raise ValueError("expected either a dose (with kind) or a curve (csv, or times and values)")
        if self.dose is not None and self.kind is None:
            raise ValueError('a dose needs kind = "bolus" or kind = "infusion"')
        if (self.kind == "infusion") != (self.duration is not None):
            raise ValueError('kind = "infusion" and duration = "..." belong together')
        if self.curve is not None and min(self.curve.values) < 0:
            raise ValueError(f"{self.curve.text}: a concentration cannot be negative")
        return self

    def words(self) -> str:
        """Return the plasma in words, for reports."""
        if self.curve is not None:
            return f"{self.fraction} drug in {self.of} after {self.curve}"
        times = ", ".join(t.text for t in self.schedule) or "0 s"
        how = f"infusion over {self.duration}" if self.kind == "infusion" else "bolus"
        return f"{self.dose} as {how} at {times}"


class DrugSpec(PhysicsSpec):
    """Drug transport: the free concentration of one agent."""

    key: ClassVar[str] = "drug"
    unknowns: ClassVar[Mapping[str, str]] = {"concentration": "nmol/mm^3"}
    parameters: ClassVar[tuple[str, ...]] = (
        "diffusivity",
        "vascular_permeability",
        "vessel_surface_density",
        "filtration_reflection",
        "convective_hindrance",
        "available_volume_fraction",
        "decay_rate",
    )
    takes: ClassVar[tuple[str, ...]] = ("velocity",)
    provides: ClassVar[Mapping[str, tuple[str, str]]] = {
        "concentration": ("mol/m^3", "free drug per volume of accessible fluid"),
    }
    references: ClassVar[tuple[str, ...]] = ("baxter1989",)
    live: ClassVar[str] = "turgor.fem.physics.drug.solver:Drug"

    agent: str | None = None
    plasma: PlasmaSpec | None = None
    conditions: tuple[DrugCondition, ...] = ()
    sources: tuple[DrugSource, ...] = ()
    initial: DrugStart | None = None


__all__ = ["Dose", "DrugCondition", "DrugSource", "DrugSpec", "DrugStart", "PlasmaSpec"]
