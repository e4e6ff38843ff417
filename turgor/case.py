"""The whole case file: what the user says, checked as far as it can be without a mesh."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, Field, PrivateAttr, TypeAdapter, ValidationError

from turgor.fem.physics import PHYSICS
from turgor.fem.spec import OutputSpec, PatientSpec, PhysicsSpec, TimeSpec
from turgor.materials.errors import CaseError, listed, nearest
from turgor.materials.spec import Material, Spec, material_model
from turgor.meshing.spec import MeshSpec
from turgor.words import toml

LATER = {"edema": "poroelastic edema is not in this version of turgor; flow and drug are"}
"""Words of the case file that this version does not know yet."""


class Case(Spec):
    """A study: anatomy, materials, physics, time and what to report.

    Read one with `Case.read("case.toml")`; vary it with `case.with_(time__end="2 h")`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="Letters, digits, - and _.")]
    title: str | None = None
    patient: PatientSpec | None = None
    mesh: MeshSpec
    materials: Mapping[str, Material] = Field(default_factory=dict)
    physics: Mapping[str, PhysicsSpec] = Field(default_factory=dict)
    time: TimeSpec | None = None
    output: OutputSpec = Field(default_factory=OutputSpec)

    _data: dict[str, Any] = PrivateAttr(default_factory=dict)
    _folder: Path = PrivateAttr(default=Path())
    _text: str = PrivateAttr(default="")
    _changes: tuple[str, ...] = PrivateAttr(default=())
    _known: tuple[type[PhysicsSpec], ...] = PrivateAttr(default=PHYSICS)

    @classmethod
    def read(cls, path: Path | str, *, set: Sequence[str] = (), physics: Sequence[type[PhysicsSpec]] = ()) -> Self:
        """Read a case file.

        Args:
            path: The TOML file; relative paths in it start from its folder.
            set: Changes such as 'time.end="2 h"'.
            physics: Physics of your own, beside those of turgor.

        Raises:
            CaseError: Every complaint of the file at once, each with its place and the mend.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            data = tomllib.loads(text)
        except OSError as error:
            raise CaseError(f"{path}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise CaseError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise CaseError(f"{path}: not a TOML file: {error}") from None
        for change in set:
            _apply(data, *_change(change))
        try:
            case = cls.of(data, folder=path.parent, physics=physics)
        except CaseError as error:
            raise CaseError(f"{path}: {error}") from None
        case._text = text
        case._changes = tuple(set)
        return case

    @classmethod
    def of(cls, data: dict[str, Any], *, folder: Path, physics: Sequence[type[PhysicsSpec]] = ()) -> Self:
        """Build a case from the words of a case file; relative paths start from `folder`."""
        known = (*PHYSICS, *physics)
        sections, complaints = _sections(data, {"base": folder.resolve()}, known)
        complaints += list(_across(sections, data))
        if complaints:
            raise CaseError(listed(complaints))
        case = cls.model_construct(**sections)
        case.__pydantic_private__ = {
            "_data": data,
            "_folder": folder.resolve(),
            "_text": "",
            "_changes": (),
            "_known": known,
        }
        return cast("Self", case)

    def with_(self, **changes: object) -> Self:
        """Return a case with changes; `time__end="2 h"` sets `end` in `[time]`."""
        data = _copy(self._data)
        for name, value in changes.items():
            _apply(data, name.split("__"), value)
        return type(self).of(data, folder=self._folder, physics=[p for p in self._known if p not in PHYSICS])

    @property
    def folder(self) -> Path:
        """The folder of the case file."""
        return self._folder

    @property
    def text(self) -> str:
        """The case file as it was read, or for a case built in Python as it could have been written."""
        return self._text or toml(self._data)

    @property
    def changes(self) -> tuple[str, ...]:
        """What --set changed of the case file."""
        return self._changes

    @property
    def words(self) -> Mapping[str, Any]:
        """The case as plain tables and texts, changes included."""
        return self._data

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON schema of the case file, for editors."""
        schema = Case.model_json_schema(by_alias=True)
        definitions = schema.setdefault("$defs", {})
        physics = {}
        for spec in PHYSICS:
            part = spec.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
            definitions.update(part.pop("$defs", {}))
            physics[spec.key] = part
        schema["properties"]["physics"] = {"type": "object", "properties": physics, "additionalProperties": False}
        part = material_model().model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions.update(part.pop("$defs", {}))
        schema["properties"]["materials"] = {"type": "object", "additionalProperties": part}
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return schema


def _change(text: str) -> tuple[list[str], object]:
    """Split 'time.end="2 h"' into place and value."""
    place, equals, value = text.partition("=")
    if not equals or not place.strip():
        raise CaseError(f'--set {text!r}: expected a place and a value, for example --set time.end="2 h"')
    keys = [key.strip().strip("\"'") for key in place.split(".")]
    try:
        return keys, tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return keys, value.strip()


def _apply(data: dict[str, Any], keys: Sequence[str], value: object) -> None:
    """Set a nested value, making tables on the way."""
    table = data
    for position, key in enumerate(keys[:-1]):
        inner = table.setdefault(key, {})
        if isinstance(inner, list) and keys[position + 1].isdigit():
            inner = dict(enumerate(inner))
        if not isinstance(inner, dict):
            raise CaseError(f"{'.'.join(keys)}: {'.'.join(keys[: position + 1])} is not a table")
        table[key] = inner
        table = inner
    table[keys[-1]] = value


def _copy(words: Any) -> Any:
    """Copy nested tables and lists."""
    if isinstance(words, Mapping):
        return {key: _copy(value) for key, value in words.items()}
    return [_copy(value) for value in words] if isinstance(words, list | tuple) else words


def _sections(
    data: dict[str, Any], context: dict[str, Any], known: tuple[type[PhysicsSpec], ...]
) -> tuple[dict[str, Any], list[str]]:
    """Validate each section by itself, so that one mistake does not hide the others."""
    complaints: list[str] = []
    sections: dict[str, Any] = {}
    for key in data:
        if key not in Case.model_fields:
            complaints.append(f"{key}: unknown key.{nearest(key, Case.model_fields)}")
    for key, field in Case.model_fields.items():
        if key in ("materials", "physics"):
            continue
        if key in data:
            kind: Any = field.annotation if not field.metadata else Annotated[field.annotation, *field.metadata]
            _validate(TypeAdapter(kind), data[key], (key,), context, sections, complaints)
        elif field.is_required():
            example = 'name = "my-study"' if key == "name" else f"[{key}]"
            complaints.append(f"{key}: is missing; add {example}")
        else:
            sections[key] = field.get_default(call_default_factory=True)
    model = material_model(tuple(p for spec in known for p in getattr(spec, "own_parameters", ())))
    sections["materials"] = _tables(
        data, "materials", dict.fromkeys(data.get("materials", {}), model), context, complaints
    )
    physics = {spec.key: spec for spec in known}
    for key in _table(data, "physics", complaints):
        if key not in physics:
            why = LATER.get(key, f"unknown physics, expected one of {', '.join(physics)}.{nearest(key, physics)}")
            complaints.append(f"physics.{key}: {why}")
    sections["physics"] = _tables(data, "physics", physics, context, complaints)
    return sections, complaints


def _table(data: dict[str, Any], key: str, complaints: list[str]) -> dict[str, Any]:
    words = data.get(key, {})
    if isinstance(words, dict):
        return words
    complaints.append(f"{key}: expected a table [{key}]")
    return {}


def _tables(
    data: dict[str, Any],
    key: str,
    models: Mapping[str, type[BaseModel]],
    context: dict[str, Any],
    complaints: list[str],
) -> dict[str, Any]:
    """Validate the tables of a section whose tables are named freely."""
    found: dict[str, Any] = {}
    for name, words in _table(data, key, []).items():
        if name in models:
            _validate(TypeAdapter(models[name]), words, (key, name), context, found, complaints)
    return found


def _validate(
    adapter: TypeAdapter[Any],
    words: Any,
    place: tuple[str, ...],
    context: dict[str, Any],
    into: dict[str, Any],
    complaints: list[str],
) -> None:
    try:
        into[place[-1]] = adapter.validate_python(words, context=context)
    except ValidationError as error:
        schema = adapter.json_schema(by_alias=True)
        complaints.extend(_sentence(place, dict(item), schema) for item in error.errors())


def _sentence(place: tuple[str, ...], item: dict[str, Any], schema: dict[str, Any]) -> str:
    """Turn one pydantic error into place, what and the mend."""
    path = [*place, *item["loc"]]
    where = ".".join(str(part) for part in path if part != "[key]")
    kind = item["type"]
    if kind == "extra_forbidden":
        known = _known_keys(schema, item["loc"][:-1])
        return (
            f"{where}: unknown key.{nearest(str(path[-1]), known) or f' Expected one of {", ".join(sorted(known))}.'}"
        )
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "string_pattern_mismatch":
        return f"{where}: {item['input']!r} may hold only letters, digits, - and _"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower() + message[1:] if not message.startswith(('RAS', 'LPS')) else message}"


def _known_keys(schema: dict[str, Any], loc: Iterable[int | str]) -> list[str]:
    """Return the keys that a JSON schema allows at a place."""
    here: dict[str, Any] = _follow(schema, schema)
    for part in loc:
        inner = here.get("items") if isinstance(part, int) else here.get("properties", {}).get(part)
        inner = inner or here.get("additionalProperties")
        here = _follow(inner, schema) if isinstance(inner, dict) else {}
    return list(here.get("properties", {}))


def _follow(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and a choice with nothing, to the schema they stand for."""
    while True:
        choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        elif len(choices) == 1:
            node = choices[0]
        else:
            return node


def _across(sections: dict[str, Any], data: dict[str, Any]) -> Iterable[str]:
    """Yield the complaints that need several sections, as far as these are valid; a wrong section is not missing."""
    from turgor.resolve import complaints

    wrong = tuple(f"{key}{mark}" for key in data if key not in sections for mark in ":.")
    gone = "no physics of the case" if set(_table(data, "physics", [])) - set(sections["physics"]) else "\0"
    found = complaints(
        sections.get("mesh"),
        sections["materials"],
        sections["physics"],
        sections.get("time"),
        sections.get("output"),
        sections.get("patient"),
        tuple(_table(data, "materials", [])),
    )
    yield from (complaint for complaint in found if not complaint.startswith(wrong) and gone not in complaint)


__all__ = ["Case"]
