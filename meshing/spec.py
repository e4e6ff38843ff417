"""What a case says about its mesh: the `[mesh]` table of the case file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from turgor.materials.errors import nearest
from turgor.materials.quantity import PositiveLength, Quantity, factor

RESERVED = ("outside", "cut", "all")
"""Words that no region may be called, because surfaces are named with them."""

_NAME = re.compile(r"[^\W_][\w +-]*")


def _region_name(name: str) -> str:
    """Return the name if a region may be called so; say why not otherwise."""
    if name in RESERVED:
        raise ValueError(f"{name!r} cannot name a region, because surfaces are called so; choose another word")
    if not _NAME.fullmatch(name) or name != name.strip():
        raise ValueError(f"{name!r} cannot name a region; use letters, digits, spaces, '-', '_' and '+'")
    return name


def _absolute(path: Path, info: ValidationInfo) -> Path:
    """Resolve a path against the folder of the case file, when the context names it."""
    base = (info.context or {}).get("base")
    return path if base is None else (Path(base) / path.expanduser()).absolute()


def _existing(path: Path, info: ValidationInfo) -> Path:
    """Resolve a path and say what lies beside it when there is no such file."""
    path = _absolute(path, info)
    if (info.context or {}).get("base") is not None and not path.is_file():
        folder = path.parent
        if path.is_dir():
            raise ValueError(f"{path} is a folder, expected a file")
        beside = [entry.name for entry in sorted(folder.iterdir())] if folder.is_dir() else []
        raise ValueError(f"there is no file {path}.{nearest(path.name, beside)}")
    return path


def _length_unit(unit: str) -> str:
    """Return the unit if it measures a length."""
    factor(unit, "mm")
    return unit


def _label_values(raw: object) -> object:
    """Read one label value or a list of them as a tuple of whole numbers."""
    values = raw if isinstance(raw, list | tuple) else (raw,)
    for value in values:
        if type(value) is not int:
            raise ValueError(
                f"{value!r} is not a label value, expected a whole number such as 3 or a list such as [1, 2]"
            )
    if not values:
        raise ValueError("no label value is given, expected a whole number such as 3 or a list such as [1, 2]")
    return tuple(values)


def _sizes(raw: object) -> object:
    """Read `"auto"` or a table of edge lengths; one sentence when it is neither."""
    if raw == "auto":
        return raw
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError(
            f'{raw!r} is not a size, expected "auto" or a table such as {{ tumor = "1 mm", brain = "5 mm" }}'
        )
    lengths = {}
    for region, text in raw.items():
        try:
            length = text if isinstance(text, Quantity) else Quantity.parse(text, "mm")
        except ValueError as error:
            raise ValueError(f"{region}: {error}") from None
        if not (length.value > 0 and math.isfinite(length.value)):
            raise ValueError(f"{region}: {length.text!r} must be larger than zero")
        lengths[str(region)] = length
    return lengths


RegionName = Annotated[str, AfterValidator(_region_name)]
OutputPath = Annotated[Path, AfterValidator(_absolute)]
InputPath = Annotated[Path, AfterValidator(_existing)]
LengthUnit = Annotated[str, AfterValidator(_length_unit)]
LabelValues = Annotated[tuple[int, ...], BeforeValidator(_label_values)]
Sizes = Annotated[dict[str, PositiveLength] | Literal["auto"], BeforeValidator(_sizes)]


class _Spec(BaseModel):
    """Frozen, complete, comparable and hashable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __hash__(self) -> int:
        """Hash what the case file would say."""
        return hash(self.model_dump_json())


class ImageSpec(_Spec):
    """A label image: which value is which region.

    Attributes:
        file: NIfTI, NRRD, MHA or MHD; the world frame comes from its header.
        labels: Region name -> label values.
        ignore: Label values that are outside of everything.
        merge_below: Pieces of fewer voxels join their neighbor; 0 keeps every piece.
    """

    file: InputPath
    labels: dict[RegionName, LabelValues]
    ignore: tuple[int, ...] = ()
    merge_below: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _each_label_once(self) -> ImageSpec:
        if not self.labels:
            raise ValueError("labels: no region is named, expected for example { organ = 1, tumor = 2 }")
        owner: dict[int, str] = {}
        for name, values in self.labels.items():
            for value in values:
                if value == 0:
                    raise ValueError(f"labels: region {name!r} claims value 0, which is the background")
                if value in owner:
                    twice = "twice" if owner[value] == name else f"and so does region {owner[value]!r}"
                    raise ValueError(
                        f"labels: region {name!r} claims value {value} {twice}; a value belongs to one region"
                    )
                owner[value] = name
        both = sorted(set(self.ignore) & set(owner))
        if both:
            raise ValueError(f"ignore: value {both[0]} is ignored, but region {owner[both[0]]!r} claims it")
        return self


class SurfaceSpec(_Spec):
    """A closed surface that bounds a region; where surfaces overlap the later one wins.

    Attributes:
        file: STL, OBJ, PLY, VTP or OFF.
        unit: Unit of the coordinates in the file; never guessed.
        region: Name of what is inside.
        frame: Whether x points to the patient's right ("RAS") or left ("LPS"); None is taken as RAS.
    """

    file: InputPath
    unit: LengthUnit
    region: RegionName
    frame: Literal["RAS", "LPS"] | None = None


class MeshSpec(_Spec):
    """The mesh of a case: from a label image, from closed surfaces, or one of the user's own.

    Attributes:
        file: The `.msh` that is written, or read when there is neither image nor surfaces.
        unit: Unit of the coordinates of a mesh of one's own; millimeters when not said.
        size: Target edge length by region, graded between, or "auto".
        cavities: Regions that are named and drawn, but not meshed.
        image: The label image.
        surfaces: The closed surfaces.
    """

    file: OutputPath
    unit: LengthUnit | None = None
    size: Sizes = "auto"
    cavities: tuple[str, ...] = ()
    image: ImageSpec | None = None
    surfaces: tuple[SurfaceSpec, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether the user brings the mesh."""
        return self.image is None and not self.surfaces

    def named(self) -> tuple[str, ...]:
        """Return all region names in the order of the case, cavities included; empty for a mesh of one's own."""
        if self.image is not None:
            return tuple(self.image.labels)
        return tuple(dict.fromkeys(surface.region for surface in self.surfaces))

    def regions(self) -> tuple[str, ...] | None:
        """Return the meshed regions in the order of the case; None for a mesh of one's own."""
        if self.is_own:
            return None
        return tuple(name for name in self.named() if name not in self.cavities)

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> MeshSpec:
        if self.file.suffix.lower() != ".msh":
            raise ValueError(
                f"file: {self.file.name!r} must end in .msh; `turgor convert` makes one from other formats"
            )
        if self.image is not None and self.surfaces:
            raise ValueError("a mesh comes from [mesh.image] or from [[mesh.surfaces]], not from both; remove one")
        if self.is_own:
            self._refuse_settings_of_an_own_mesh()
            _existing(self.file, info)
        elif self.unit is not None:
            where = "image says its own unit" if self.image is not None else "surfaces have a unit each"
            raise ValueError(f"unit: only a mesh of your own has one here; the {where}; remove it")
        self._refuse_unknown_names()
        return self

    def _refuse_settings_of_an_own_mesh(self) -> None:
        """A mesh that exists already has its sizes and cavities."""
        for key, given in (("size", self.size != "auto"), ("cavities", bool(self.cavities))):
            if given:
                raise ValueError(f"{key}: a mesh of your own is taken as it is; remove {key}, or add [mesh.image]")

    def _refuse_unknown_names(self) -> None:
        """Cavities and sizes must name regions."""
        known = self.named()
        for name in self.cavities:
            if name not in known:
                raise ValueError(
                    f"cavities: there is no region {name!r}; there is {', '.join(known)}.{nearest(name, known)}"
                )
        if not self.is_own and not self.regions():
            raise ValueError("cavities: every region is a cavity, so nothing is left to mesh")
        for name in () if self.size == "auto" else self.size:
            if name not in known:
                raise ValueError(
                    f"size: there is no region {name!r}; there is {', '.join(known)}.{nearest(name, known)}"
                )
            if name in self.cavities:
                raise ValueError(f"size: region {name!r} is a cavity and is not meshed; give the size of its neighbors")
