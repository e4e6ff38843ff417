"""The anatomy in the browser: a k3d snapshot with its own controls, one page without any address in it.

Surfaces are thinned so that the page stays small, and what was thinned is said. Fields are shown on three sections
through the tumor, at stored times only, never in between. Heavy (k3d, PyVista): import it inside functions.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import k3d
import matplotlib as mpl
import numpy as np
from numpy.typing import ArrayLike, NDArray

from turgor.postprocess.anatomy import VIEWS, Anatomy, smooth
from turgor.postprocess.look import MAPS, region_colors
from turgor.postprocess.offscreen import pv
from turgor.postprocess.run import Run
from turgor.postprocess.scales import MMHG, Scale, and_list, clock, counted, number, robust_range, scale_for

Floats = NDArray[np.float64]

TRIANGLES = 60_000
"""Most triangles of all surfaces together."""
VALUES = 600_000
"""Most stored numbers of all sections, fields and times together."""
_FOLDER = Path(__file__).parent
_FONT_FILES = re.compile(r',url\(fonts/[^)]*\) format\("(?:woff|truetype)"\)')


@dataclass(frozen=True)
class Interactive:
    """The page for the frame, and what was left out of it.

    Attributes:
        html: A whole page that needs no network.
        note: What was thinned, as a sentence.
    """

    html: str
    note: str


@dataclass(frozen=True)
class _Field:
    key: str
    label: str
    scale: Scale
    low: float
    high: float
    by_time: bool


def interactive(run: Run, anatomy: Anatomy) -> Interactive:
    """Build the three-dimensional page of a run."""
    fields = [key for key in ("pressure", "concentration", "velocity") if run.has(key)]
    steps = _steps(run, anatomy, fields)
    grid = _with_times(run, anatomy, fields, steps)
    notes = _Notes()
    plot = k3d.plot(
        grid_visible=False, menu_visibility=False, camera_auto_fit=False, axes=["R", "A", "S"], axes_helper=0.0,
        background_color=0xFFFFFF, colorbar_object_id=0, time_interpolation=False, camera_fov=FIELD_OF_VIEW,
        depth_peels=0, camera_mode="orbit", camera_up_axis="z", lighting=1.4,
    )  # fmt: skip
    parts = _add_parts(plot, anatomy, notes)
    painted, planes = _add_planes(plot, run, anatomy, grid, fields, steps)
    labels = _add_sides(plot, anatomy)
    plot.camera = _camera(anatomy)
    if len(steps) < len(run.times):
        notes.add(f"{len(steps)} of the {len(run.times)} stored times are in the slider")
    settings = {
        "parts": parts, "fields": painted, "planes": planes, "labels": labels,
        "times": [clock(run.times[i]) for i in steps],
        "views": _views(anatomy), "start": _start(grid, steps),
    }  # fmt: skip
    return Interactive(_page(plot, settings), notes.sentence())


class Switch(TypedDict):
    """What the page switches on and off together."""

    ids: list[int]
    name: str
    color: str
    opacity: float
    on: bool


_GLASS = {"outside": 0.1, "large": 0.2, "inner": 0.2, "tumor": 0.42, "core": 0.8}


class _Notes:
    """Collects what was left out."""

    def __init__(self) -> None:
        self.items: list[str] = []

    def add(self, item: str) -> None:
        """Add one thing."""
        self.items.append(item)

    def sentence(self) -> str:
        """Return all as one sentence."""
        return f"For this view only, {and_list([*self.items, 'values are kept to three digits'])}."


def _steps(run: Run, anatomy: Anatomy, fields: Sequence[str]) -> list[int]:
    """Return indices of times whose sections fit the page."""
    if "concentration" not in fields or len(run.times) < 2:
        return [len(run.times) - 1]
    per_time = 3 * 3 * max(len(anatomy.region), 1) ** (2 / 3)
    most = int(np.clip(VALUES / per_time, 2, 60))
    return [int(i) for i in np.unique(np.linspace(0, len(run.times) - 1, min(most, len(run.times))).round())]


def _with_times(run: Run, anatomy: Anatomy, fields: Sequence[str], steps: Sequence[int]) -> pv.UnstructuredGrid:
    """Return the grid with every field at every time as node values, so that a section is cut once."""
    grid = anatomy.grid.copy(deep=False)
    if "velocity" in fields:
        nodal = anatomy.grid.cell_data_to_point_data().point_data["velocity"]
        grid.point_data["velocity@"] = np.linalg.norm(np.asarray(nodal, dtype=np.float64), axis=1)
    for key in ("pressure", "concentration"):
        if key not in fields:
            continue
        if key == "pressure":
            grid.point_data["pressure@"] = np.asarray(anatomy.grid.point_data["pressure"])
            continue
        for place, step in enumerate(steps):
            grid.point_data[f"{key}@{place}"] = np.asarray(run.grid(run.times[step]).point_data[key])
    return grid


def _add_parts(plot: k3d.Plot, anatomy: Anatomy, notes: _Notes) -> list[Switch]:
    """Add the surfaces; return their switches."""
    colors = region_colors(anatomy.run.regions, anatomy.run.tumor)
    parts = anatomy.parts()
    before = sum(part.surface.n_cells for part in parts)
    keep = min(1.0, TRIANGLES / max(before, 1))
    switches: dict[str, Switch] = {}
    drawn = 0
    for part in parts:
        surface = part.surface.decimate(1.0 - keep) if keep < 1.0 and part.surface.n_cells > 500 else part.surface
        surface = smooth(surface)
        drawn += surface.n_cells
        switch = switches.setdefault(
            part.group,
            Switch(
                ids=[], name=part.group, color=colors[part.region], opacity=_GLASS[part.kind], on=part.kind != "large"
            ),
        )
        mesh = k3d.mesh(
            coarse(surface.points), _triangles(surface), normals=coarse(surface.point_data["Normals"], 8),
            color=int(colors[part.region][1:], 16), opacity=switch["opacity"], flat_shading=False, side="double",
            name=part.group, roughness=0.7, compression_level=6, visible=switch["on"],
        )  # fmt: skip
        plot += mesh
        switch["ids"].append(mesh.id)
    if keep < 1.0:
        notes.add(f"surfaces have {counted(drawn)} of {counted(before)} triangles")
    return list(switches.values())


def coarse(values: ArrayLike, bits: int = 13) -> NDArray[np.float32]:
    """Return numbers of single precision with so many bits after the point, which makes the page smaller."""
    single = np.ascontiguousarray(values, dtype=np.float32)
    mask = np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)
    return (single.view(np.uint32) & mask).view(np.float32)


def _triangles(surface: pv.PolyData) -> NDArray[np.uint32]:
    return np.asarray(surface.faces).reshape(-1, 4)[:, 1:].astype(np.uint32)


def _add_planes(
    plot: k3d.Plot, run: Run, anatomy: Anatomy, grid: pv.UnstructuredGrid, fields: Sequence[str], steps: Sequence[int]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Add three sections for each field; return the choices of field and of plane."""
    sections = [anatomy.section(view, grid) for view in VIEWS]
    chosen = "concentration" if "concentration" in fields else next(iter(fields), "")
    painted: list[dict[str, object]] = []
    for key in fields:
        values = [np.concatenate([_values(s.mesh, key, p) for p in _places(key, steps)]) for s in sections]
        field = _field(key, np.concatenate(values))
        ids = {}
        for section in sections:
            mesh = _plane(section.mesh, field, steps, shown=key == chosen and section.view.name == "axial")
            plot += mesh
            ids[section.view.name] = mesh.id
        gradient = [mpl.colors.to_hex(mpl.colormaps[MAPS[key]](x)) for x in np.linspace(0, 1, 12)]
        painted.append({
            "key": key, "label": field.label, "unit": field.scale.unit, "low": field.low, "high": field.high,
            "gradient": gradient, "ids": ids, "on": key == chosen, "by_time": field.by_time,
        })  # fmt: skip
    planes: list[dict[str, object]] = [
        {
            "name": section.view.name,
            "at": f"{'xyz'[section.view.normal]} = {number(section.at)} mm",
            "on": section.view.name == "axial",
        }
        for section in sections
    ]
    return painted, planes


def _places(key: str, steps: Sequence[int]) -> Sequence[str]:
    return [str(i) for i in range(len(steps))] if key == "concentration" else [""]


def _values(mesh: pv.PolyData, key: str, place: str) -> Floats:
    return np.asarray(mesh.point_data[f"{key}@{place}"], dtype=np.float64)


def _field(key: str, values: Floats) -> _Field:
    """Return a field's label, display unit and range, one for all times."""
    label = {"pressure": "pressure", "velocity": "Darcy speed", "concentration": "free concentration"}[key]
    top = float(np.percentile(np.abs(values), 99.5)) if len(values) else 0.0
    scale = MMHG if key == "pressure" else scale_for("mm/s" if key == "velocity" else "mol/m^3", top)
    low, high = robust_range(scale(values), high=99.0 if key == "velocity" else 99.5)
    return _Field(key, label, scale, low, high, key == "concentration")


def _plane(mesh: pv.PolyData, field: _Field, steps: Sequence[int], *, shown: bool) -> k3d.objects.Mesh:
    """Return one section painted with one field, over all times if it changes."""
    arrays = {p: coarse(field.scale(_values(mesh, field.key, p)), 10) for p in _places(field.key, steps)}
    attribute: object = arrays if field.by_time and len(arrays) > 1 else next(iter(arrays.values()))
    table = mpl.colormaps[MAPS[field.key]](np.linspace(0, 1, 64))[:, :3]
    colors = np.column_stack([np.linspace(0, 1, 64), table]).ravel().astype(np.float32)
    return k3d.mesh(
        coarse(mesh.points), _triangles(mesh), attribute=attribute, color_map=colors,
        color_range=[field.low, field.high], flat_shading=True, side="double", name=field.label, roughness=1.0,
        compression_level=6, visible=shown,
    )  # fmt: skip


def _add_sides(plot: k3d.Plot, anatomy: Anatomy) -> list[int]:
    """Add the letters of the sides around the body; return their ids."""
    low, high = _box(anatomy)
    middle, half = (low + high) / 2, (high - low) / 2
    pad = 0.06 * float(np.linalg.norm(high - low))
    ids = []
    for letter, axis, sign in (("R", 0, 1), ("L", 0, -1), ("A", 1, 1), ("P", 1, -1), ("S", 2, 1), ("I", 2, -1)):
        place = middle.copy()
        place[axis] += sign * (half[axis] + pad)
        mark = k3d.text(letter, position=[float(x) for x in place], color=0x666666, size=1.1, reference_point="cc",
                        label_box=False, is_html=True, on_top=True)  # fmt: skip
        plot += mark
        ids.append(mark.id)
    return ids


def _box(anatomy: Anatomy) -> tuple[Floats, Floats]:
    points = np.asarray(anatomy.grid.points, dtype=np.float64)
    return points.min(axis=0), points.max(axis=0)


_LOOKS = {
    "oblique": (0.55, 0.68, 0.48),
    "front": (0.0, 1.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "top": (0.0, 0.02, 1.0),
}
"""From where the buttons look; the oblique view comes from the side on which the tumor lies."""
FIELD_OF_VIEW = 32.0
"""Opening of the camera from below to above [degrees]."""
_ASPECT = 1.3
"""Width over height of the part of the frame that no control covers."""


def _views(anatomy: Anatomy) -> Mapping[str, list[float]]:
    """Return cameras by name, each far enough to see the whole body: position, target, up."""
    points = np.asarray(anatomy.grid.points, dtype=np.float64)
    low, high = _box(anatomy)
    middle = (low + high) / 2
    cameras = {}
    for name, look in _LOOKS.items():
        mirrored = name == "oblique" and anatomy.focus[0] < middle[0]
        toward = np.array(look) * (-1.0 if mirrored else 1.0, 1.0, 1.0)
        toward /= np.linalg.norm(toward)
        right = np.cross((0.0, 0.0, 1.0), toward)
        right /= np.linalg.norm(right)
        offset = points - middle
        wide = float(np.abs(offset @ right).max())
        tall = float(np.abs(offset @ np.cross(toward, right)).max())
        near = float((offset @ toward).max())
        distance = 1.2 * max(tall, wide / _ASPECT) / np.tan(np.radians(FIELD_OF_VIEW / 2)) + near
        cameras[name] = [float(x) for x in (*(middle + distance * toward), *middle, 0.0, 0.0, 1.0)]
    return cameras


def _camera(anatomy: Anatomy) -> list[float]:
    return list(_views(anatomy)["oblique"])


def _start(grid: pv.UnstructuredGrid, steps: Sequence[int]) -> int:
    """Return the place of the time with the most drug, which is where the slider stands at first."""
    means = [float(np.mean(grid.point_data[f"concentration@{i}"])) for i in range(len(steps))
             if f"concentration@{i}" in grid.point_data]  # fmt: skip
    return int(np.argmax(means)) if means else 0


def _page(plot: k3d.Plot, settings: Mapping[str, object]) -> str:
    """Return a page that holds k3d's program, the plot and turgor's controls, and names no other file.

    k3d's own page carries a style that asks for fonts beside it; those are not needed and are taken out.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    static = Path(k3d.__file__).parent / "static"
    program = _FONT_FILES.sub("", (static / "standalone.js").read_text(encoding="utf-8"))
    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=False, undefined=StrictUndefined)
    return environment.get_template("scene.html").render(
        style=(_FOLDER / "scene.css").read_text(encoding="utf-8"),
        controls=(_FOLDER / "scene.js").read_text(encoding="utf-8"),
        fflate=(static / "fflate.js").read_text(encoding="utf-8"),
        require=(static / "require.js").read_text(encoding="utf-8"),
        program=_text(zlib.compress(program.encode(), 9)),
        data=_text(plot.get_binary_snapshot(9, [])),
        settings=json.dumps(settings, ensure_ascii=False).replace("</", "<\\/"),
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
