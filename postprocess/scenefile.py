"""What a scene file says: which field, when, from where, cut how, and how large the picture is."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from turgor.materials.errors import CaseError, listed, nearest

Pixels = Annotated[int, Field(ge=100, le=10000)]


class Scene(BaseModel):
    """A still picture.

    ```toml
    field  = "pressure"      # anatomy | pressure | velocity | concentration
    time   = "24 h"          # a stored time; by default the last one
    camera = "oblique"       # oblique | front | back | left | right | top | bottom
    clip   = "coronal"       # the plane that carries the field: axial | coronal | sagittal
    size   = [1800, 1400]    # pixels
    dpi    = 200
    ```

    Attributes:
        field: What is drawn.
        time: When, with unit; none is the last stored time.
        camera: From where.
        clip: Through the tumor; the half toward the camera is taken away. An anatomy is not cut.
        size: Width and height [pixel].
        dpi: Dots per inch; sets the size of letters and lines.
        time_note: Time stamp in the corner; written by turgor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: Literal["anatomy", "pressure", "velocity", "concentration"] = "anatomy"
    time: str | None = None
    camera: Literal["oblique", "front", "back", "left", "right", "top", "bottom"] = "oblique"
    clip: Literal["axial", "coronal", "sagittal"] = "coronal"
    size: tuple[Pixels, Pixels] = (1800, 1400)
    dpi: Annotated[int, Field(ge=30, le=1200)] = 200
    time_note: str = ""

    @property
    def seconds(self) -> float | None:
        """The time [s]; None is the last one.

        Raises:
            CaseError: It is not a time with a unit.
        """
        if self.time is None:
            return None
        from turgor.materials.quantity import Quantity

        try:
            return Quantity.parse(self.time, "s").value
        except ValueError as error:
            raise CaseError(f"time: {error}") from None


def read_scene(path: Path) -> Scene:
    """Read a scene file.

    Raises:
        CaseError: It cannot be read, or holds unknown keys or values; all complaints at once.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CaseError(f"{path}: there is no such scene file") from None
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: {error}") from None
    try:
        return Scene.model_validate(given)
    except ValidationError as error:
        raise CaseError(f"{path}: {listed(_complaints(error.errors()))}") from None


def _complaints(errors: Iterable[ErrorDetails]) -> list[str]:
    keys = [key for key in Scene.model_fields if key != "time_note"]
    sentences = []
    for error in errors:
        place = ".".join(str(step) for step in error["loc"])
        if error["type"] == "extra_forbidden":
            sentences.append(f"{place}: there is no such key; a scene has {', '.join(keys)}.{nearest(place, keys)}")
        elif error["type"] == "literal_error":
            allowed = error.get("ctx", {}).get("expected", "")
            sentences.append(f"{place}: {error['input']!r} is not one of {allowed}")
        else:
            sentences.append(f"{place}: {error['msg']}, got {error['input']!r}")
    return sentences
