"""What a run says about itself: `run.json` and `resolved.json`, read into frozen models.

Keys that are missing have an empty default and unknown ones are passed over, so that runs of neighboring versions can
be read; only what no picture can do without (the status, the names of the regions) must be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from turgor.materials.errors import CaseError

FORMAT = 1
"""The layout of the run folder that this version reads."""


class Part(BaseModel):
    """Base of all parts: frozen, tolerant to keys of later versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FieldNote(Part):
    """A field in the file: unit as stored, label for axes, and where it lives (points or cells)."""

    unit: str = ""
    label: str = ""
    on: str = "points"


class Surface(Part):
    """A named surface: interface, outside, cut, cavity or named by the user; area [mm^2]."""

    name: str
    kind: str = ""
    area: float = 0.0


class RegionGeometry(Part):
    """Cells and volume [mm^3] of a region."""

    name: str
    cells: int = 0
    volume: float = 0.0


class MeshNote(Part):
    """The mesh file, its hash and its size."""

    file: str = ""
    hash: str = ""
    cells: int = 0
    points: int = 0
    certificate: Mapping[str, JsonValue] = {}


class PhysicsNote(Part):
    """A physics: its name, number of unknowns and equations in Unicode."""

    name: str
    unknowns: int = 0
    equations: str = ""


class SolverNote(Part):
    """What the linear solver of a physics did."""

    solves: int = 0
    iterations_max: int = 0
    iterations_total: int = 0
    residual_max: float = 0.0
    tolerance: float = 0.0
    method: str = ""


class Verification(Part):
    """Numbers that say how far the discretization can be trusted."""

    h_alpha: Mapping[str, float] = {}
    cell_peclet_max: float | None = None
    cell_imbalance_max: float | None = None
    balance_residual_max: Mapping[str, float] = {}


class Ending(Part):
    """A way in which the fluid that leaves a tumor ends: rate [mm^3/s], and share of all that leaves."""

    way: str
    place: str
    rate: float
    share: float


class TumorNote(Part):
    """The numbers of a tumor, in mm, s and Pa; None where there is none to tell. The solver's `rim` defines them."""

    name: str
    regions: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()
    condition: str = ""
    volume: float = 0.0
    depth: float = 0.0
    plateau: float | None = None
    surface: float | None = None
    depth50: float | None = None
    depth90: float | None = None
    depth95: float | None = None
    edge: float | None = None
    area: float = 0.0
    median: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    efflux: float = 0.0
    influx: float = 0.0
    fate: tuple[Ending, ...] = ()


class FarNote(Part):
    """Tissue farther than a distance [mm] from every tumor, and its mean pressure [Pa]."""

    region: str
    distance: float
    pressure: float


class FlowNote(Part):
    """What a flow found."""

    tumors: tuple[TumorNote, ...] = ()
    far: tuple[FarNote, ...] = ()


class Findings(Part):
    """What the physics found, at the last time."""

    flow: FlowNote = Field(default_factory=FlowNote)


class Manifest(Part):
    """`run.json`."""

    format: int
    status: str
    reason: str = ""
    name: str
    title: str = ""
    title_note: str = ""
    case_hash: str = ""
    version: str = ""
    started: str = ""
    finished: str | None = None
    wall_seconds: float | None = None
    ranks: int = 1
    versions: Mapping[str, str] = {}
    regions: tuple[str, ...] = ()
    tumor: tuple[str, ...] = ()
    surfaces: tuple[Surface, ...] = ()
    region_geometry: tuple[RegionGeometry, ...] = ()
    side: Mapping[str, str] = {}
    fields: Mapping[str, FieldNote] = {}
    mesh: MeshNote = Field(default_factory=MeshNote)
    physics: tuple[PhysicsNote, ...] = ()
    solvers: Mapping[str, SolverNote] = {}
    verification: Verification = Field(default_factory=Verification)
    findings: Findings = Field(default_factory=Findings)
    stages: Mapping[str, float] = {}
    citations: tuple[str, ...] = ()
    references: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()
    reproduce: str = ""


class Value(Part):
    """A parameter in force: as printed in its source, and as a number in internal units."""

    value: str = ""
    number: float | None = None
    unit: str = ""
    symbol: str = ""
    label: str = ""
    source: str = ""
    reason: str = ""


class Condition(Part):
    """What holds at a surface for a physics."""

    surface: str
    kind: str = ""
    area: float = 0.0
    physics: str = ""
    condition: str = ""


class Resolved(Part):
    """`resolved.json`: every value in force."""

    format: int = FORMAT
    case: Mapping[str, JsonValue] = {}
    regions: Mapping[str, Mapping[str, Value]] = {}
    agent: Mapping[str, JsonValue] | None = None
    plasma: Mapping[str, JsonValue] | None = None
    conditions: tuple[Condition, ...] = ()


class BarNote(Part):
    """A number on two meshes, and its error; `bar` is None where there is a reason for none."""

    name: str
    value: float
    coarse: float
    unit: str = ""
    order: int = 1
    ratio: float = 1.0
    bar: float | None = None
    reason: str = ""


class Bars(Part):
    """`errorbar.json`; empty for a run that has none."""

    format: int = FORMAT
    runs: tuple[tuple[str, str], ...] = ()
    cells: tuple[int, ...] = ()
    measures: tuple[BarNote, ...] = ()
    tumors: tuple[BarNote, ...] = ()

    def of(self, name: str) -> BarNote | None:
        """Return the bar of a measure, or of a number of a tumor such as "tumor.plateau"; None if there is none."""
        return next((note for note in (*self.measures, *self.tumors) if note.name == name), None)


def read_bars(folder: Path) -> Bars:
    """Return `errorbar.json` of a run folder, empty if there is none.

    Raises:
        CaseError: It cannot be read.
    """
    return _checked(folder, "errorbar.json", Bars) if (folder / "errorbar.json").is_file() else Bars()


def read_manifest(folder: Path) -> Manifest:
    """Return `run.json` of a run folder.

    Raises:
        CaseError: There is none, it cannot be read, or its layout is that of another version.
    """
    return _checked(folder, "run.json", Manifest)


def read_resolved(folder: Path) -> Resolved:
    """Return `resolved.json` of a run folder.

    Raises:
        CaseError: There is none, or it cannot be read.
    """
    return _checked(folder, "resolved.json", Resolved)


def _checked[P: Part](folder: Path, name: str, model: type[P]) -> P:
    path = folder / name
    try:
        part = model.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CaseError(f"{folder}: this is not a run folder, it has no {name}") from None
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(step) for step in first["loc"]) if first else ""
        what = first["msg"] if first else "it is not UTF-8 text"
        raise CaseError(f"{path}: {where + ': ' if where else ''}{what}") from None
    if getattr(part, "format", FORMAT) != FORMAT:
        raise CaseError(f"{path}: written in format {getattr(part, 'format', '?')}, this version reads format {FORMAT}")
    return part
