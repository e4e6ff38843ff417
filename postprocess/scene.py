"""Three-dimensional stills: the organ transparent, the tumor in it, fields on a cut face, drawn to scale.

A scene is a few words (`Scene`), in Python or in a TOML file. The projection is parallel, so that the scale bar holds
everywhere in the picture. Heavy (PyVista, matplotlib): import it inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from turgor.postprocess.anatomy import Anatomy, as_surface, smooth
from turgor.postprocess.look import MAPS, region_colors, save_figure, styled
from turgor.postprocess.maps import Paint, color_bar, round_length
from turgor.postprocess.offscreen import plotter, pv
from turgor.postprocess.scales import MMHG, number, robust_range, scale_for
from turgor.postprocess.scenefile import Scene

Floats = NDArray[np.float64]

NORMALS = {"axial": 2, "coronal": 1, "sagittal": 0}
_UP = np.array([0.0, 0.0, 1.0])
_LOOKS = {
    "front": ((0.0, 1.0, 0.0), _UP),
    "back": ((0.0, -1.0, 0.0), _UP),
    "left": ((-1.0, 0.0, 0.0), _UP),
    "right": ((1.0, 0.0, 0.0), _UP),
    "top": ((0.0, 0.0, 1.0), np.array([0.0, 1.0, 0.0])),
    "bottom": ((0.0, 0.0, -1.0), np.array([0.0, 1.0, 0.0])),
}
_SIDES = (("R", (1, 0, 0)), ("L", (-1, 0, 0)), ("A", (0, 1, 0)), ("P", (0, -1, 0)), ("S", (0, 0, 1)), ("I", (0, 0, -1)))


class Camera:
    """A parallel camera that frames a set of points.

    Attributes:
        toward: Unit vector from the body to the camera.
        right: Unit vector that points right on the picture.
        up: Unit vector that points up on the picture.
        middle: Point at the middle of the picture [mm].
        half_height: Half the height of the picture [mm].
    """

    def __init__(self, name: str, points: Floats, focus: Floats, aspect: float) -> None:
        """Frame points, shape (n, 3); an oblique camera stands on the side of the focus."""
        center = (points.min(axis=0) + points.max(axis=0)) / 2
        side = 1.0 if focus[0] >= center[0] else -1.0
        toward, up = _LOOKS.get(name, ((0.62 * side, 0.72, 0.38), _UP))
        self.toward = np.array(toward) / np.linalg.norm(toward)
        self.right = np.cross(up, self.toward) / np.linalg.norm(np.cross(up, self.toward))
        self.up = np.cross(self.toward, self.right)
        x, y = points @ self.right, points @ self.up
        self.middle = (
            (x.min() + x.max()) / 2 * self.right
            + (y.min() + y.max()) / 2 * self.up
            + float(center @ self.toward) * self.toward
        )
        self.half_height = 1.17 * max(float(np.ptp(y)) / 2, float(np.ptp(x)) / 2 / aspect)
        self.depth = float(np.linalg.norm(np.ptp(points, axis=0)))

    def aim(self, picture: pv.Plotter) -> None:
        """Point a plotter's camera."""
        picture.camera.position = tuple(self.middle + self.toward * 2 * self.depth)
        picture.camera.focal_point = tuple(self.middle)
        picture.camera.up = tuple(self.up)
        picture.camera.parallel_scale = self.half_height
        picture.camera.clipping_range = (0.5 * self.depth, 4 * self.depth)


def draw_scene(anatomy: Anatomy, scene: Scene, path: Path, paint: Paint | None = None) -> Path:
    """Draw one scene of a grid, with legend, sides, scale bar and units, into a PNG.

    Raises:
        CaseError: The run has no such field.
        SetupError: This machine cannot draw.
    """
    with styled():
        figure = Figure(figsize=(scene.size[0] / scene.dpi, scene.size[1] / scene.dpi), dpi=scene.dpi)
        shown = scene.field != "anatomy"
        axes = figure.add_axes((0.0, 0.0, 0.86 if shown else 1.0, 1.0))
        paint = paint or (paint_over([anatomy], scene.field) if shown else None)
        still(axes, anatomy, scene, paint)
        if paint is not None:
            color_bar(figure, figure.add_axes((0.87, 0.15, 0.018, 0.7)), paint, _label(scene.field))
        if scene.time_note:
            axes.text(0.985, 0.97, scene.time_note, transform=axes.transAxes, ha="right", va="top", fontsize=9)
        figure.savefig(path, dpi=scene.dpi, metadata={"Software": None})
    return path


def anatomy_panels(anatomy: Anatomy, path: Path) -> Path:
    """Draw the anatomy obliquely, from the front and from the left, side by side."""
    with styled():
        figure = Figure(figsize=(9.4, 4.0))
        for i, camera in enumerate(("oblique", "front", "left")):
            axes = figure.add_axes((i / 3, 0.07, 1 / 3, 0.86))
            still(axes, anatomy, Scene(camera=camera, size=(760, 820), dpi=240), None, legend=False)
            title = {"oblique": "obliquely from the front", "front": "from the front", "left": "from the left"}[camera]
            axes.set_title(title, x=0.04)
        patches = _patches(anatomy)
        figure.legend(handles=patches, loc="lower center", ncols=min(len(patches), 8), fontsize=8, handlelength=1.0)
        return save_figure(figure, path)


def still(axes: Axes, anatomy: Anatomy, scene: Scene, paint: Paint | None, *, legend: bool = True) -> None:
    """Draw the picture of a scene into matplotlib axes, with sides, scale bar and legend."""
    height = scene.size[1]
    box = axes.get_position()
    aspect = scene.size[0] * box.width / (scene.size[1] * box.height) if paint is not None else scene.size[0] / height
    width = int(height * aspect)
    body = np.asarray(anatomy.surface().points, dtype=np.float64)
    camera = Camera(scene.camera, body, anatomy.focus, aspect)
    picture = plotter(width, height)
    if paint is None:
        _solid_parts(picture, anatomy)
    else:
        _cut_parts(picture, anatomy, scene, camera, paint)
    camera.aim(picture)
    picture.renderer.enable_depth_peeling(6)
    picture.enable_anti_aliasing("ssaa")
    image = np.asarray(picture.screenshot(return_img=True))
    picture.close()
    half_width = camera.half_height * aspect
    axes.imshow(
        image, extent=(-half_width, half_width, -camera.half_height, camera.half_height), interpolation="lanczos"
    )
    axes.set_axis_off()
    _side_letters(axes, camera, half_width)
    _scale_bar(axes, camera, half_width)
    if legend and paint is None:
        axes.legend(handles=_patches(anatomy), loc="upper left", fontsize=8, handlelength=1.0, borderaxespad=0.3)


def _patches(anatomy: Anatomy) -> list[Patch]:
    """Return a patch for each region, for legends."""
    colors = region_colors(anatomy.run.regions, anatomy.run.tumor)
    return [Patch(facecolor=color, label=name) for name, color in colors.items()]


def paint_over(anatomies: Sequence[Anatomy], field: str) -> Paint:
    """Return one color scale for a field of several grids."""
    values = np.concatenate([values_of(anatomy.grid, field) for anatomy in anatomies])
    if field == "pressure":
        return Paint(MAPS["pressure"], *robust_range(MMHG(values)), MMHG)
    scale = scale_for("mm/s" if field == "velocity" else "mol/m^3", float(np.percentile(np.abs(values), 99.5)))
    return Paint(MAPS[field], *robust_range(scale(values), high=99.5), scale)


def values_of(grid: pv.DataSet, field: str) -> Floats:
    """Return a field's values as stored; of a velocity the speed, averaged to nodes."""
    if field == "velocity":
        nodal = grid.cell_data_to_point_data().point_data["velocity"]
        return np.asarray(np.linalg.norm(np.asarray(nodal, dtype=np.float64), axis=1))
    return np.asarray(grid.point_data[field], dtype=np.float64)


def _label(field: str) -> str:
    return {"pressure": "pressure", "velocity": "Darcy speed", "concentration": "free concentration"}[field]


def _solid_parts(picture: pv.Plotter, anatomy: Anatomy) -> None:
    """Add normal regions as glass and the tumor as a solid, glass too where it hides a core."""
    colors = region_colors(anatomy.run.regions, anatomy.run.tumor)
    parts = anatomy.parts()
    tumor = 0.4 if any(part.kind == "core" for part in parts) else 1.0
    glass = {"outside": 0.2, "large": 0.14, "inner": 0.3, "tumor": tumor, "core": 1.0}
    for part in parts:
        picture.add_mesh(smooth(part.surface), color=colors[part.region], opacity=glass[part.kind], smooth_shading=True,
                         specular=0.25, specular_power=12)  # fmt: skip


def _cut_parts(picture: pv.Plotter, anatomy: Anatomy, scene: Scene, camera: Camera, paint: Paint) -> None:
    """Add the half of the body behind the cut as glass, and the field on the cut face."""
    axis = NORMALS[scene.clip]
    normal = np.zeros(3)
    normal[axis] = 1.0 if camera.toward[axis] >= 0 else -1.0
    origin = anatomy.focus + normal * anatomy.aside
    half = as_surface(smooth(anatomy.surface()).clip(normal=normal, origin=origin))
    if half.n_cells:
        picture.add_mesh(half, color="#9AA5B1", opacity=0.3, smooth_shading=True)
    face = as_surface(anatomy.grid.slice(normal=normal, origin=origin).triangulate())
    face.point_data["shown"] = paint.scale(values_of(face, scene.field))
    picture.add_mesh(face, scalars="shown", cmap=mpl.colormaps[paint.colors], clim=(paint.low, paint.high),
                     lighting=False, show_scalar_bar=False)  # fmt: skip
    edges = _region_edges(face).translate(normal * 0.004 * camera.depth)
    if edges.n_cells:
        picture.add_mesh(edges, color="white", line_width=2.0, lighting=False)


def _region_edges(face: pv.PolyData) -> pv.PolyData:
    """Return the lines between regions on a cut face."""
    pieces = []
    region = np.asarray(face.cell_data["region"]).ravel()
    for index in np.unique(region):
        part = face.extract_cells(np.flatnonzero(region == index).tolist()).extract_surface(algorithm="dataset_surface")
        pieces.append(part.extract_feature_edges(boundary_edges=True, feature_edges=False, manifold_edges=False))
    return as_surface(pieces[0].merge(pieces[1:]) if len(pieces) > 1 else pieces[0])


def _side_letters(axes: Axes, camera: Camera, half_width: float) -> None:
    """Write the letters of the sides that lie in the picture's plane at its edges, and a small tripod else."""
    for letter, direction in _SIDES:
        x, y = float(np.dot(direction, camera.right)), float(np.dot(direction, camera.up))
        if max(abs(x), abs(y)) > 0.99:
            place = (x * half_width * 0.955, y * camera.half_height * 0.955)
            axes.text(*place, letter, ha="center", va="center", color="#666666", fontsize=9)
    if abs(float(np.abs(camera.toward).max()) - 1.0) > 1e-6:
        _tripod(axes, camera, half_width)


def _tripod(axes: Axes, camera: Camera, half_width: float) -> None:
    """Draw three axes; of each pair of sides the one that keeps the arrows apart."""
    length = 0.13 * camera.half_height
    x0, y0 = half_width - 1.8 * length, -camera.half_height + 1.7 * length
    for (one, direction), (other, _), outward in (
        (_SIDES[0], _SIDES[1], 1),
        (_SIDES[2], _SIDES[3], -1),
        (*_SIDES[4:], 0),
    ):
        x, y = float(np.dot(direction, camera.right)) * length, float(np.dot(direction, camera.up)) * length
        flip = -1.0 if x * outward < 0 else 1.0
        axes.annotate(
            "",
            (x0 + flip * x, y0 + flip * y),
            (x0, y0),
            arrowprops={"arrowstyle": "-|>", "color": "#666666", "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
        )
        place = (x0 + flip * 1.35 * x, y0 + flip * 1.35 * y)
        axes.text(*place, one if flip > 0 else other, ha="center", va="center", color="#444444", fontsize=8)


def _scale_bar(axes: Axes, camera: Camera, half_width: float) -> None:
    length = round_length(0.5 * half_width)
    x, y = -0.95 * half_width, -0.95 * camera.half_height
    axes.plot([x, x + length], [y, y], color="#222222", lw=2.2, solid_capstyle="butt")
    axes.text(
        x + length / 2, y + 0.02 * camera.half_height, f"{number(length)} mm", ha="center", va="bottom", fontsize=8
    )
