"""From the `[mesh]` table of a case to a mesh file: the whole line, kept when nothing changed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from turgor.materials.errors import CaseError, MeshQualityError, SegmentationError
from turgor.meshing import certificate
from turgor.meshing.anatomy import Anatomy, from_image
from turgor.meshing.distance import signed_distances
from turgor.meshing.fill import fill, named
from turgor.meshing.formats import attributes, read_msh, write_h5, write_msh
from turgor.meshing.sizes import Sizes, sizes_of
from turgor.meshing.spec import MeshSpec
from turgor.meshing.surfaces import from_surfaces
from turgor.meshing.tetrahedra import Tetrahedra

RECIPE = 3
"""Raised when the same input gives another mesh than before."""

FINER = (5.0, 4.0)
"""Cells across a pressure layer that "auto" takes instead of three, where the mesh then has at most `CHEAP` cells."""

CHEAP = 600_000

FILES = ("file", "reference")
"""Keys of a `[mesh]` table that name files."""

MOST_CELLS = 20_000_000
BYTES_PER_CELL = 1_300

Log = Callable[[str], None]


def _silent(sentence: str) -> None:
    """Take a sentence and drop it."""


def mesh(spec: MeshSpec, *, rim: Mapping[str, float] | None = None, log: Log = _silent, coarser: float = 1.0) -> Path:
    """Make the mesh of a case, or keep the one that is there.

    Args:
        spec: The `[mesh]` table.
        rim: Region -> 1/α [mm], α = sqrt(Lp S/V / K), for each leaky region; used when `size` is "auto".
        log: Takes a sentence now and then.
        coarser: What all sizes are multiplied with, those that "auto" finds, too.

    Returns:
        NAME.h5 beside `spec.file`, with NAME.certificate.json; NAME.msh, too, unless it is the user's own.

    Raises:
        TurgorError: What is wrong with the input, in one sentence; nothing is left half written.
    """
    target = spec.file.with_suffix(".h5")
    with _alone(target):
        made_from = fingerprint(spec, rim or {}, coarser)
        beside = target.with_suffix(".certificate.json").is_file() and spec.file.is_file()
        if beside and attributes(target).get("made_from") == made_from:
            log(f"mesh: {target.name} is up to date")
            return target
        if spec.is_own:
            _take_own(spec, target, made_from, log)
        else:
            _make(spec, rim or {}, target, made_from, log, coarser)
    return target


def fingerprint(spec: MeshSpec, rim: Mapping[str, float], coarser: float = 1.0) -> str:
    """Return the hash of all that decides a mesh: the spec, the bytes of its inputs, the recipe."""
    digest = hashlib.sha256()
    said = spec.model_dump(mode="json", exclude={"file"})
    if spec.image is not None:
        said["image"].update(file=None, reference=None, masks=list(spec.image.masks))
    for surface in said["surfaces"]:
        surface.pop("file")
    if coarser != 1.0:
        said["coarser"] = coarser
    rims = {name: round(value, 12) for name, value in rim.items()} if spec.size == "auto" else {}
    digest.update(json.dumps([RECIPE, said, sorted(rims.items())], ensure_ascii=False).encode())
    for path in inputs(spec):
        if not path.is_file():
            raise CaseError(f"mesh: there is no file {path}")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def inputs(spec: MeshSpec) -> tuple[Path, ...]:
    """Return the files that a mesh is made from."""
    if spec.is_own:
        return (spec.file,)
    return spec.image.files if spec.image is not None else tuple(surface.file for surface in spec.surfaces)


def _hashes(spec: MeshSpec) -> dict[str, str]:
    """Return the SHA-256 of each input by its name, with its folder where two are called alike."""
    found: dict[str, str] = {}
    for path in inputs(spec):
        name = path.name if path.name not in found else f"{path.parent.name}/{path.name}"
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep two processes from making the same mesh at once; the second waits and finds it made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.stem}.lock")
    while True:
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not lock.exists() or not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _take_own(spec: MeshSpec, target: Path, made_from: str, log: Log) -> None:
    """Read a user's own mesh and write what the solver reads."""
    own = read_msh(spec.file, spec.unit)
    log(f"mesh: {spec.file.name} has {len(own.cells):,} cells in {', '.join(own.regions)}")
    origin = certificate.Origin({}, {}, frozenset(), False, 0.0, ())
    content, warnings = certificate.certify(own, origin)
    _write(spec, _measured(own), target, made_from, content, warnings, log)


def prepare(spec: MeshSpec, rim: Mapping[str, float], log: Log) -> tuple[Anatomy, Sizes]:
    """Read the segmentation and decide how fine each region becomes.

    With "auto" a pressure layer gets three cells, and up to five where these cost little.
    """
    anatomy = from_image(spec, rim, log) if spec.image is not None else from_surfaces(spec, rim, log)
    sizes = sizes_of(spec, rim, anatomy.extent)
    for layers in FINER if spec.size == "auto" else ():
        finer = sizes_of(spec, rim, anatomy.extent, layers)
        if anatomy.cells(finer) <= CHEAP:
            return anatomy, finer
    return anatomy, sizes


def _make(
    spec: MeshSpec, rim: Mapping[str, float], target: Path, made_from: str, log: Log, coarser: float = 1.0
) -> None:
    """Go the whole line from the segmentation to the files."""
    started = time.perf_counter()
    anatomy, sizes = prepare(spec, rim, log)
    sizes = sizes.times(coarser)
    cells = anatomy.cells(sizes)
    if cells > MOST_CELLS:
        raise MeshQualityError(
            f"mesh.size: the mesh would have about {cells / 1e6:.0f} million cells and need about "
            f"{cells * BYTES_PER_CELL / 1e9:.0f} GB; set larger sizes, for at most {MOST_CELLS / 1e6:.0f} million"
        )
    while True:
        try:
            made, content, warnings = _meshed(anatomy, sizes, spec, log)
            break
        except (MeshQualityError, SegmentationError) as error:
            other = anatomy.fallback(str(error), log)
            if other is None:
                raise
            anatomy = other
    content["seconds"] = round(time.perf_counter() - started, 2)
    _write(spec, _measured(made), target, made_from, content, warnings, log)


def _meshed(
    anatomy: Anatomy, sizes: Sizes, spec: MeshSpec, log: Log
) -> tuple[Tetrahedra, dict[str, object], list[str]]:
    """Fill an anatomy; return the mesh, its certificate, and warnings."""
    started = time.perf_counter()
    boundary = anatomy.surfaces(sizes, log)
    log(f"mesh: {len(boundary.triangles):,} triangles ({time.perf_counter() - started:.0f} s)")
    filling = fill(boundary, sizes, log=log)
    made = named(boundary, filling, spec.regions() or ())
    log(f"mesh: {len(made.cells):,} cells ({time.perf_counter() - started:.0f} s)")
    content, warnings = certificate.certify(made, anatomy.origin)
    content["how"] = filling.how
    return made, content, warnings


def _measured(bare: Tetrahedra) -> Tetrahedra:
    """Return the mesh with the distance to each region's surface."""
    fields = {name: getattr(bare, name) for name in bare.__dataclass_fields__}
    return Tetrahedra(**{**fields, "distance": signed_distances(bare)})


def _write(
    spec: MeshSpec,
    made: Tetrahedra,
    target: Path,
    made_from: str,
    content: dict[str, object],
    warnings: list[str],
    log: Log,
) -> None:
    """Write .msh, certificate and, last, .h5, which says that all is done."""
    for warning in warnings:
        log(f"warning: {warning}")
    head: dict[str, object] = {
        "format": 1,
        "mesh_hash": made.hash(),
        "made_from": made_from,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": _hashes(spec),
        "options": _options(spec),
        "versions": _versions(),
    }
    certificate.write(target.with_suffix(".certificate.json"), {**head, **content})
    if not spec.is_own:
        write_msh(spec.file, made)
    write_h5(target, made, made_from)
    for line in certificate.lines(content):
        log(line)


def _options(spec: MeshSpec) -> dict[str, object]:
    """Return what the case says of the mesh, files by their names."""

    def short(value: object) -> object:
        if isinstance(value, dict):
            return {key: Path(str(part)).name if key in FILES and part else short(part) for key, part in value.items()}
        return [short(part) for part in value] if isinstance(value, list) else value

    said: dict[str, object] = {key: short(part) for key, part in spec.model_dump(mode="json", exclude={"file"}).items()}
    if spec.image is not None and isinstance(image := said["image"], dict):
        image["masks"] = {name: path.name for name, path in spec.image.masks.items()}
    return said


def _versions() -> dict[str, str]:
    """Return the versions of what makes a mesh."""
    found = {}
    for name in ("turgor", "gmsh", "numpy", "scipy", "numba"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def estimate(spec: MeshSpec, *, rim: Mapping[str, float] | None = None) -> tuple[int, float]:
    """Return the expected number of cells, right within about a factor of two, and memory [GB] to make them.

    Args:
        spec: The `[mesh]` table; for a mesh of one's own the cells are counted.
        rim: Region -> 1/α [mm] for each leaky region; used when `size` is "auto".
    """
    if spec.is_own:
        cells = float(len(read_msh(spec.file, spec.unit).cells))
    else:
        anatomy, sizes = prepare(spec, rim or {}, _silent)
        cells = anatomy.cells(sizes)
    return int(np.ceil(cells)), float(cells * BYTES_PER_CELL / 1e9)
