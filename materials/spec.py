"""The base of everything a user says: frozen, complete after construction, comparable, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, create_model

from turgor.materials.parameters import PARAMETERS, Parameter
from turgor.materials.values import Value, ValueIn


class Spec(BaseModel):
    """A frozen part of a case."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, populate_by_name=True, arbitrary_types_allowed=True
    )

    def __hash__(self) -> int:
        """Return a hash that equal specs share."""
        return hash((type(self).__name__, str(self)))


class Material(Spec):
    """What fills a region: an entry of the library, with changes.

    The parameters themselves are fields too: one for every known `Parameter`, made by `material_model`.
    """

    like: str | None = None

    def given(self) -> Mapping[str, Value | str]:
        """Return the parameters that the case gives, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set if name != "like"}


@cache
def material_model(extra: tuple[Parameter, ...] = ()) -> type[Material]:
    """Return the `Material` that knows the parameters of turgor and of the user's own physics."""
    fields: dict[str, object] = {}
    for parameter in (*PARAMETERS.values(), *extra):
        if parameter.choices:
            fields[parameter.name] = (Literal[parameter.choices] | None, None)
        else:
            kind = ValueIn(parameter.unit, maps=True, tensors=parameter.tensor, low=parameter.low, high=parameter.high)
            fields[parameter.name] = (Annotated[Value, kind] | None, None)
    return create_model("Material", __base__=Material, **fields)  # type: ignore[call-overload, no-any-return]
