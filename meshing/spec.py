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

TABLES = ("brats", "brats2013", "brats2017", "brats2023", "brats2024", "totalsegmentator", "freesurfer")
"""Tables of label values by name; see `turgor.meshing.tables`."""

TUMOR = re.compile("tumou?r|lesion|cancer|carcinoma|sarcoma|melanoma|glioma|glioblastoma|neoplas|metastas|gtv")
"""What names of tumors have in common."""

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


def _file_or_folder(path: Path, info: ValidationInfo) -> Path:
    """Resolve a path that may be a folder, such as that of a series of slices."""
    resolved = _absolute(path, info)
    return resolved if resolved.is_dir() else _existing(path, info)


_LABEL = 'a whole number such as 3, the name of a segment such as "Tumor", or a list of them'


def _label_values(raw: object) -> object:
    """Read one label value or name, or a list of them, as a tuple."""
    values = raw if isinstance(raw, list | tuple) else (raw,)
    for value in values:
        if type(value) is not int and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{value!r} is not a label value, expected {_LABEL}")
    if not values:
        raise ValueError(f"no label value is given, expected {_LABEL}")
    return tuple(value.strip() if isinstance(value, str) else value for value in values)


def _ignored(raw: object) -> object:
    """Read the labels that are left out; none is allowed."""
    return () if raw in ([], ()) else _label_values(raw)


def is_slice(path: Path) -> bool:
    """Whether a file of a folder may be a slice of a DICOM series, by its name."""
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in (".dcm", ".dicom", ".ima", "") or path.suffix[1:].isdigit()


def _table_name(name: str) -> str:
    """Return the name of a table of labels."""
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; there is {', '.join(TABLES)}.{nearest(name, TABLES)}")
    return name


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
InputPlace = Annotated[Path, AfterValidator(_file_or_folder)]
LabelValues = Annotated[tuple[int | str, ...], BeforeValidator(_label_values)]
TableName = Annotated[str, AfterValidator(_table_name)]
Sizes = Annotated[dict[str, PositiveLength] | Literal["auto"], BeforeValidator(_sizes)]


class _Spec(BaseModel):
    """Frozen, complete, comparable and hashable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __hash__(self) -> int:
        """Hash what the case file would say."""
        return hash(self.model_dump_json())


class ImageSpec(_Spec):
    """A segmentation on voxels: which value, segment, structure or mask is which region.

    Attributes:
        file: NIfTI, NRRD, MHA or MHD, a label image or a stack of masks or probabilities; or DICOM RT-STRUCT. The world
            frame comes from its header.
        labels: Region name -> label values, or names of segments or structures, or names of `table`.
        masks: Region name -> a file with its mask, instead of `file` and `labels`.
        table: Names of label values that are in common use.
        ignore: Labels that are outside of everything.
        priority: Regions, the highest first: who keeps a voxel that masks share.
        threshold: Above which a probability counts as inside.
        frame: Which frame of a NIfTI header holds, where its two differ.
        reference: The grid of an RT-STRUCT: the folder of its series, or one slice; or the grid of the masks.
        merge_below: Pieces of fewer voxels join their neighbor; 0 keeps every piece.
        protect: Regions that lose no piece by `merge_below`; None means those that are called like a tumor.
        fill_holes: Whether voids of background inside of regions are given to the region around them.
        many_pieces: Whether more pieces than an organ has are there on purpose.
    """

    file: InputPath | None = None
    labels: dict[RegionName, LabelValues] = Field(default_factory=dict)
    masks: dict[RegionName, InputPath] = Field(default_factory=dict)
    table: TableName | None = None
    ignore: Annotated[tuple[int | str, ...], BeforeValidator(_ignored)] = ()
    priority: tuple[str, ...] = ()
    threshold: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    frame: Literal["qform", "sform"] | None = None
    reference: InputPlace | None = None
    merge_below: int = Field(default=0, ge=0)
    protect: tuple[str, ...] | None = None
    fill_holes: bool = False
    many_pieces: bool = False

    @property
    def regions(self) -> tuple[str, ...]:
        """Return the names of all regions in the order of the case."""
        return tuple(self.labels or self.masks)

    @property
    def protected(self) -> tuple[str, ...]:
        """Return the regions that lose no piece: those said, or those that are called like a tumor."""
        if self.protect is not None:
            return self.protect
        return tuple(name for name in self.regions if TUMOR.search(name.lower()))

    @property
    def numbers(self) -> dict[str, tuple[int, ...]]:
        """Return the label values of each region; names of segments are none before the image is read."""
        return {name: tuple(v for v in values if isinstance(v, int)) for name, values in self.labels.items()}

    @property
    def title(self) -> str:
        """Return the name of the file, or of the first mask, to speak of."""
        return self.sources[0].name if self.sources else "the image"

    @property
    def sources(self) -> tuple[Path, ...]:
        """Return the files that hold the segmentation, without the reference."""
        return (self.file,) if self.file is not None else tuple(self.masks.values())

    @property
    def structures(self) -> bool:
        """Whether the segmentation is an RT-STRUCT."""
        return self.file is not None and self.file.suffix.lower() in (".dcm", ".dicom")

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every file that is read, each once: what a mesh depends on."""
        place = self.reference
        if place is None and self.structures and self.file is not None:
            place = self.file.parent
        if place is None:
            beside: tuple[Path, ...] = ()
        elif place.is_dir():
            beside = tuple(sorted(path for path in place.iterdir() if path.is_file() and is_slice(path)))
        else:
            beside = (place,)
        return tuple(dict.fromkeys((*self.sources, *beside)))

    @model_validator(mode="after")
    def _one_kind(self) -> ImageSpec:
        """A segmentation is a file with labels, or masks."""
        if self.masks and (self.file is not None or self.labels):
            raise ValueError("masks: stand instead of file and labels; remove one of them")
        if not self.masks and self.file is None:
            raise ValueError('file: is missing; name the label image, or give masks = { tumor = "tumor.nii.gz" }')
        if not self.masks and not self.labels:
            raise ValueError("labels: no region is named, expected for example { organ = 1, tumor = 2 }")
        for key, given in (("ignore", bool(self.ignore)), ("table", self.table is not None)):
            if self.masks and given:
                raise ValueError(f"{key}: belongs to the labels of one file; with masks there are none; remove it")
        if self.reference is not None and not self.masks and not self.structures:
            raise ValueError(
                "reference: belongs to masks or to an RT-STRUCT (.dcm); an image has its own grid; remove it"
            )
        if self.frame is not None and not any(".nii" in path.name.lower() for path in self.sources):
            raise ValueError("frame: only the header of a NIfTI file has two frames; remove it")
        if self.threshold is not None and self.structures:
            raise ValueError("threshold: contours hold no probabilities; remove it")
        return self

    @model_validator(mode="after")
    def _each_label_once(self) -> ImageSpec:
        owner: dict[int | str, str] = {}
        for name, values in self.labels.items():
            for value in values:
                if value == 0 and not self.structures:
                    raise ValueError(f"labels: region {name!r} claims value 0, which is the background")
                key = value.lower() if isinstance(value, str) else value
                if key in owner:
                    twice = "twice" if owner[key] == name else f"and so does region {owner[key]!r}"
                    raise ValueError(
                        f"labels: region {name!r} claims value {value} {twice}; a value belongs to one region"
                    )
                owner[key] = name
        both = [value for value in self.ignore if (value.lower() if isinstance(value, str) else value) in owner]
        if both:
            key = both[0].lower() if isinstance(both[0], str) else both[0]
            raise ValueError(f"ignore: value {both[0]} is ignored, but region {owner[key]!r} claims it")
        return self

    @model_validator(mode="after")
    def _names_are_regions(self) -> ImageSpec:
        known = self.regions
        for key, names in (("priority", self.priority), ("protect", self.protect or ())):
            for index, name in enumerate(names):
                if name not in known:
                    raise ValueError(
                        f"{key}: there is no region {name!r}; there is {', '.join(known)}.{nearest(name, known)}"
                    )
                if name in names[:index]:
                    raise ValueError(f"{key}: names region {name!r} twice; once is enough")
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
        strict: Whether anything that would have to be repaired is refused instead.
    """

    file: OutputPath
    unit: LengthUnit | None = None
    size: Sizes = "auto"
    cavities: tuple[str, ...] = ()
    image: ImageSpec | None = None
    surfaces: tuple[SurfaceSpec, ...] = ()
    strict: bool = False

    @property
    def is_own(self) -> bool:
        """Whether the user brings the mesh."""
        return self.image is None and not self.surfaces

    def named(self) -> tuple[str, ...]:
        """Return all region names in the order of the case, cavities included; empty for a mesh of one's own."""
        if self.image is not None:
            return self.image.regions
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
