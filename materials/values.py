"""Values of parameters and conditions: a number, a table in time, or an image in world coordinates."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from turgor.materials.errors import nearest
from turgor.materials.quantity import Quantity, factor, json_schema


@dataclass(frozen=True, slots=True)
class Table:
    """A value that changes in time: linear between the entries, constant outside them.

    Attributes:
        times: Times [s], strictly increasing.
        values: Values in `unit`, one a time.
        unit: Internal unit.
        text: As it was written, or the name of the file.
        file: The CSV file it came from, if any.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]
    unit: str
    text: str
    file: Path | None = None

    def at(self, time: float) -> float:
        """Return the value at a time [s]."""
        return float(np.interp(time, self.times, self.values))

    def __str__(self) -> str:
        """Return the text as written."""
        return self.text


Missing = Literal["refuse", "mean", "nearest"]
FRAMES = ("RAS", "LPS", "voxel", "FSL")
COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")


@dataclass(frozen=True, slots=True)
class ImageMap:
    """A value that changes in space: an image in world coordinates, averaged over each cell.

    Attributes:
        file: The image.
        unit: Internal unit of the parameter.
        factor: Factor from the image's numbers to the internal unit; 1 for a relative map.
        relative: The region's value is scaled by map/mean, so that its mean over the region is kept.
        mean: For a relative map the region's value, where the library has none; for an absolute one the mean over the
            region that is expected, which the map is checked against.
        text: As it was written.
        missing: What parts of the region in voxels without a value (NaN), or beyond the image, get: "refuse", "mean"
            (the mean over the rest of the region) or "nearest" (the value of the nearest cell with one).
        no_value: A number that stands for no value, beside NaN.
        components: Order of the numbers of a tensor in each voxel, such as ("xx", "xy", "xz", "yy", "yz", "zz"); empty
            where the header says it, or for a map of numbers.
        frame: Axes of these tensors: "RAS", "LPS", "voxel" or "FSL"; empty where the header says it.
    """

    file: Path
    unit: str
    factor: float
    relative: bool
    mean: Quantity | None
    text: str
    missing: Missing = "refuse"
    no_value: float | None = None
    components: tuple[str, ...] = ()
    frame: str = ""

    def __str__(self) -> str:
        """Return the text as written."""
        return self.text


Value = Quantity | Table | ImageMap


def base_folder(info: ValidationInfo) -> Path:
    """Return the folder that relative paths of the case start from."""
    context = info.context or {}
    return Path(context.get("base", "."))


def existing_file(raw: object, info: ValidationInfo) -> Path:
    """Return the absolute path of a file that must exist; raise ValueError when it does not."""
    if not isinstance(raw, str | Path) or not str(raw):
        raise ValueError(f"{raw!r} is not the name of a file")
    path = (base_folder(info) / raw).resolve()
    if not path.exists():
        others = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ValueError(f"there is no file {str(path)!r}.{nearest(path.name, others)}")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file")
    return path


def _keys(raw: dict[str, Any], required: set[str], optional: set[str]) -> None:
    for key in raw:
        if key not in required | optional:
            raise ValueError(f"unknown key {key!r} in {{{', '.join(raw)}}}.{nearest(key, required | optional)}")
    missing = required - set(raw)
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} is missing beside {', '.join(sorted(raw))}")


def table(times: tuple[float, ...], values: tuple[float, ...], unit: str, text: str, file: Path | None = None) -> Table:
    """Return a checked table; raise ValueError when it is empty, unequal in length, not finite or not increasing."""
    if not times or len(times) != len(values):
        raise ValueError(f"{text}: {len(times)} times and {len(values)} values, expected as many of both, at least one")
    if not np.all(np.isfinite([*times, *values])):
        raise ValueError(f"{text}: every time and value must be a finite number")
    if np.any(np.diff(times) <= 0):
        raise ValueError(f"{text}: the times must increase")
    return Table(times, values, unit, text, file)


def read_csv(path: Path, unit: str, internal: str) -> Table:
    """Read two columns, time [s] and value in `unit`, with or without a header line.

    Raises:
        ValueError: A line that is not two numbers, or fewer than one line.
    """
    scale = factor(unit, internal)
    times, values = [], []
    with path.open(newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.reader(stream), start=1):
            cells = [cell.strip() for cell in row if cell.strip()]
            if not cells or cells[0].startswith("#"):
                continue
            try:
                time, value = (float(cell) for cell in cells)
            except ValueError:
                if number == 1:
                    continue
                raise ValueError(f"{str(path)!r}, line {number}: expected a time [s] and a value, got {row}") from None
            times.append(time)
            values.append(value * scale)
    return table(tuple(times), tuple(values), internal, f"{path.name} [{unit}]", path)


@dataclass(frozen=True, slots=True)
class ValueIn:
    """Annotation that makes pydantic read a `Value` in an internal unit.

    Attributes:
        unit: The internal unit.
        maps: Whether an image is allowed.
        tensors: Whether an image of tensors is allowed.
        low: Smallest value allowed, in the internal unit.
        high: Largest value allowed.
    """

    unit: str
    maps: bool = False
    tensors: bool = False
    low: float = float("-inf")
    high: float = float("inf")

    def read(self, raw: object, info: ValidationInfo) -> Value:
        """Return the value; raise ValueError with the sentence for the user."""
        if isinstance(raw, Quantity | Table | ImageMap):
            return raw
        if not isinstance(raw, dict):
            return self._bounded(Quantity.parse(raw, self.unit))
        if "image" in raw:
            return self._map(raw, info)
        if "csv" in raw:
            _keys(raw, {"csv", "unit"}, set())
            return self._bounded(read_csv(existing_file(raw["csv"], info), str(raw["unit"]), self.unit))
        _keys(raw, {"times", "values"}, set())
        times = tuple(Quantity.parse(text, "s").value for text in raw["times"])
        values = tuple(Quantity.parse(text, self.unit).value for text in raw["values"])
        return self._bounded(table(times, values, self.unit, f"table of {len(times)} times"))

    def _bounded[T: (Quantity, Table)](self, value: T) -> T:
        numbers = value.values if isinstance(value, Table) else (value.value,)
        if not all(self.low <= number <= self.high for number in numbers):
            span = f"between {self.low:g} and {self.high:g}" if self.high < float("inf") else f"at least {self.low:g}"
            raise ValueError(f"{str(value)!r} is out of range, expected {span} {self.unit}".rstrip())
        if not all(np.isfinite(numbers)):
            raise ValueError(f"{str(value)!r} is not a finite number")
        return value

    def _map(self, raw: dict[str, Any], info: ValidationInfo) -> ImageMap:
        if not self.maps:
            raise ValueError("an image is not possible here, expected a number with a unit or a table in time")
        if not self.tensors and {"components", "frame"} & set(raw):
            raise ValueError("only hydraulic_conductivity takes an image of tensors; leave out components and frame")
        optional = {"mean", "missing", "no_value"} | ({"components", "frame"} if self.tensors else set())
        _keys(raw, {"image", "unit", "as"}, optional)
        if raw["as"] not in ("absolute", "relative"):
            raise ValueError(f'as = {raw["as"]!r}, expected "absolute" or "relative"')
        relative = raw["as"] == "relative"
        file = existing_file(raw["image"], info)
        return ImageMap(
            file=file,
            unit=self.unit,
            factor=1.0 if relative else factor(str(raw["unit"]), self.unit),
            relative=relative,
            mean=Quantity.parse(raw["mean"], self.unit) if "mean" in raw else None,
            text=f"{file.name} [{raw['unit']}], {raw['as']}",
            missing=_one_of("missing", raw.get("missing", "refuse"), get_args(Missing)),
            no_value=_number("no_value", raw["no_value"]) if "no_value" in raw else None,
            components=_components(raw["components"]) if "components" in raw else (),
            frame=_one_of("frame", raw["frame"], FRAMES) if "frame" in raw else "",
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how to read and write the value."""
        return core_schema.with_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the value to editors."""
        texts = {"type": "array", "items": {"type": "string"}}
        number = json_schema(self.unit) if self.unit else {"type": ["number", "string"]}
        forms: list[dict[str, Any]] = [number, _object({"times": texts, "values": texts}, 2)]
        forms.append(_object({"csv": {"type": "string"}, "unit": {"type": "string"}}, 2))
        if self.maps:
            words: dict[str, Any] = {
                "image": {"type": "string"},
                "unit": {"type": "string"},
                "as": {"enum": ["absolute", "relative"]},
            }
            words |= {"mean": {"type": "string"}, "missing": {"enum": [*get_args(Missing)]}}
            words |= {"no_value": {"type": "number"}}
            if self.tensors:
                words |= {"components": {"type": "string"}, "frame": {"enum": [*FRAMES]}}
            forms.append(_object(words, 3))
        return {"anyOf": forms}


def _one_of[T: str](key: str, raw: object, words: tuple[T, ...]) -> T:
    """Return one of the words that a key may have."""
    for word in words:
        if raw == word:
            return word
    expected = ", ".join(f'"{word}"' for word in words)
    raise ValueError(f"{key} = {raw!r}, expected one of {expected}.{nearest(str(raw), words)}")


def _number(key: str, raw: object) -> float:
    """Return a plain finite number."""
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not np.isfinite(raw):
        raise ValueError(f"{key} = {raw!r}, expected a number as it stands in the image, for example 0")
    return float(raw)


def _components(raw: object) -> tuple[str, ...]:
    """Return the order of a tensor's six numbers, with "yx" read as "xy"."""
    words = tuple("".join(sorted(word)) for word in re.split(r"[\s,]+", str(raw).strip().lower()))
    if sorted(words) != sorted(COMPONENTS):
        raise ValueError(
            f"components = {raw!r}, expected the order of the six numbers in each voxel, "
            'such as "xx, xy, xz, yy, yz, zz"'
        )
    return words


def _object(properties: dict[str, Any], required: int) -> dict[str, Any]:
    """Return the JSON schema of a table whose first `required` keys must be there."""
    needed = list(properties)[:required]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
