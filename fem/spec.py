"""What a case says to every physics: where, when, and what to report. Pure: no mesh, no MPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from turgor.materials.quantity import In, Length, PositiveLength, PositiveTime, Quantity, Time
from turgor.materials.spec import Spec


def _words(raw: object) -> object:
    """Let one word stand for a list of one."""
    return (raw,) if isinstance(raw, str) else raw


Names = Annotated[tuple[str, ...], BeforeValidator(_words), Field(min_length=1)]


class Condition(Spec):
    """What holds on the named surfaces; "*|outside" means all of that kind.

    A physics adds its own keys; each key is one way to say what happens to one unknown.
    """

    on: Names
    keys: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _says_one_thing(self) -> Condition:
        said = self.said()
        if len(said) != 1:
            raise ValueError(f"expected exactly one of {', '.join(self.keys)}, got {', '.join(said) or 'none'}")
        return self

    def said(self) -> Mapping[str, Any]:
        """Return the key that is given, and its value."""
        return {key: getattr(self, key) for key in self.keys if getattr(self, key) is not None}

    def words(self) -> str:
        """Return the condition as text, for example "pressure = 10 mmHg"."""
        return ", ".join(f"{key} = {value}" for key, value in self.said().items())


class Source(Spec):
    """A source in a region or in a ball."""

    in_: Annotated[str | None, Field(alias="in")] = None
    at: tuple[Length, Length, Length] | None = None
    radius: PositiveLength | None = None
    duration: PositiveTime | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> Source:
        if (self.in_ is None) == (self.at is None):
            raise ValueError('expected either in = "region" or at = [x, y, z] with a radius')
        if (self.at is None) != (self.radius is None):
            raise ValueError("at = [x, y, z] and radius belong together")
        return self


class PhysicsSpec(Spec):
    """What a case says to one physics, and what that physics declares of itself.

    Class attributes:
        key: Its word in the case file.
        unknowns: Unknown -> internal unit.
        parameters: The parameters it needs in each region.
        takes: Fields it takes from other physics.
        provides: Fields it provides: name -> (internal unit, words).
        references: Keys of the papers it rests on.
        live: "module:class" of its discrete counterpart.
    """

    key: ClassVar[str]
    unknowns: ClassVar[Mapping[str, str]]
    parameters: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[str, ...]] = ()
    provides: ClassVar[Mapping[str, tuple[str, str]]]
    references: ClassVar[tuple[str, ...]] = ()
    live: ClassVar[str]

    in_: Annotated[Names | None, Field(alias="in")] = None
    conditions: tuple[Condition, ...] = ()


class TimeSpec(Spec):
    """From when to when, and in which steps: `tolerance` for adaptive steps, or `step`."""

    end: PositiveTime
    tolerance: Annotated[float | None, Field(gt=0, lt=1)] = None
    step: PositiveTime | None = None
    stops: Annotated[tuple[PositiveTime, ...], BeforeValidator(_words)] = ()

    @model_validator(mode="after")
    def _is_a_time_line(self) -> TimeSpec:
        if self.tolerance is not None and self.step is not None:
            raise ValueError("tolerance (adaptive steps) and step (fixed steps) exclude each other")
        for stop in self.stops:
            if stop.value > self.end.value:
                raise ValueError(f"the stop {stop.text!r} is after the end {self.end.text!r}")
        return self


class MeasureSpec(Spec):
    """One reported number: a column of quantities.csv."""

    of: str
    in_: Annotated[str | None, Field(alias="in")] = None
    as_: Annotated[Literal["mean", "max", "min", "integral", "amount", "volume_above"] | None, Field(alias="as")] = None
    over: Literal["AUC", "Cmax", "Tmax"] | None = None
    through: str | None = None
    at: tuple[Length, Length, Length] | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _has_one_place(self) -> MeasureSpec:
        places = [name for name in ("in_", "through", "at") if getattr(self, name) is not None]
        if len(places) != 1:
            raise ValueError('expected one of in = "region", through = "a|b", at = [x, y, z]')
        if (self.in_ is not None) != (self.as_ is not None):
            raise ValueError('in = "region" needs as = "mean" (or max, min, integral, amount, volume_above)')
        if (self.as_ == "volume_above") != (self.value is not None):
            raise ValueError('as = "volume_above" and value = "..." belong together')
        return self


class OutputSpec(Spec):
    """What is written: fields `every` so often, and measures at every step."""

    every: PositiveTime | None = None
    measures: Mapping[str, MeasureSpec] = Field(default_factory=dict)


class PatientSpec(Spec):
    """Whom the dose is for."""

    species: str = "human"
    body_surface: Annotated[Quantity, In("mm^2", positive=True)] | None = None
    mass: Annotated[Quantity, In("g", positive=True)] | None = None
    hematocrit: Annotated[float, Field(gt=0, lt=1)] | None = None


__all__ = [
    "Condition",
    "MeasureSpec",
    "Names",
    "OutputSpec",
    "PatientSpec",
    "PhysicsSpec",
    "Source",
    "Time",
    "TimeSpec",
]
