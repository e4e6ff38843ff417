"""What the case file says under [physics.flow]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from turgor.fem.spec import Condition, PhysicsSpec, Source
from turgor.materials.quantity import In, Pressure, Quantity
from turgor.materials.spec import Spec
from turgor.materials.values import Value, ValueIn


class SurfaceExchange(Spec):
    """v·n = coefficient (p - to)."""

    coefficient: Annotated[Value, ValueIn("mm/(Pa*s)", low=0.0)]
    to: Annotated[Value, ValueIn("Pa")]

    def __str__(self) -> str:
        """Return the words for reports."""
        return f"{self.coefficient} to {self.to}"


class FlowCondition(Condition):
    """One of: a pressure, a volume entering per area and time, an exchange."""

    keys: ClassVar[tuple[str, ...]] = ("pressure", "inflow", "exchange")
    pressure: Annotated[Value, ValueIn("Pa")] | None = None
    inflow: Annotated[Value, ValueIn("mm/s")] | None = None
    exchange: SurfaceExchange | None = None


class FlowSource(Source):
    """A volume of fluid per time, in a region or a ball."""

    rate: Annotated[Quantity, In("mm^3/s")]


class FlowStart(Spec):
    """The pressure at the start. A flow in rigid tissue has no memory: it starts steady, whatever is said here."""

    pressure: Pressure


class FlowSpec(PhysicsSpec):
    """Interstitial flow: pressure and velocity."""

    key: ClassVar[str] = "flow"
    unknowns: ClassVar[Mapping[str, str]] = {"pressure": "Pa"}
    parameters: ClassVar[tuple[str, ...]] = (
        "hydraulic_conductivity",
        "vessel_conductivity",
        "vessel_surface_density",
        "vascular_pressure",
        "osmotic_reflection",
        "plasma_oncotic_pressure",
        "tissue_oncotic_pressure",
        "lymphatic_conductance",
        "lymphatic_pressure",
        "lymph",
        "reabsorption",
    )
    provides: ClassVar[Mapping[str, tuple[str, str]]] = {
        "pressure": ("Pa", "interstitial pressure"),
        "velocity": ("mm/s", "Darcy velocity"),
    }
    references: ClassVar[tuple[str, ...]] = ("baxter1989",)
    live: ClassVar[str] = "turgor.fem.physics.flow.solver:Flow"

    conditions: tuple[FlowCondition, ...] = ()
    initial: FlowStart | None = None
    sources: tuple[FlowSource, ...] = ()
