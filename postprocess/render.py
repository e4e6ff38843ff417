"""Still pictures of a run: the default set, or one scene from a file."""

from __future__ import annotations

from pathlib import Path

from turgor.materials.errors import CaseError
from turgor.postprocess.run import Run
from turgor.postprocess.scales import clock
from turgor.postprocess.scenefile import Scene, read_scene


def render(folder: Path | str | Run, scene: Path | Scene | None = None, into: Path | None = None) -> list[Path]:
    """Draw PNG stills of a finished run.

    Without a scene: the anatomy, the pressure and the velocity on a cut face, and the concentration at several times
    on one color scale.

    Args:
        folder: A run folder, or an open run.
        scene: A scene, or a TOML file that holds one.
        into: Folder for the pictures; `figures/` of the run by default.

    Returns:
        The pictures.

    Raises:
        CaseError: The run is not finished, the scene is wrong, or the run has no such field or time.
        SetupError: This machine cannot draw.
    """
    run = folder if isinstance(folder, Run) else Run(folder)
    wanted = read_scene(scene) if isinstance(scene, Path) else scene
    stem = scene.stem if isinstance(scene, Path) else "scene"
    if wanted is not None:
        _check(run, wanted, str(scene) if isinstance(scene, Path) else "scene")
    into = into or run.folder / "figures"
    into.mkdir(parents=True, exist_ok=True)
    return _one(run, wanted, into / f"{stem}.png") if wanted is not None else _default(run, into)


def _check(run: Run, scene: Scene, where: str) -> None:
    if scene.field != "anatomy" and not run.has(scene.field):
        raise CaseError(f"{where}: field: this run has no {scene.field}")
    try:
        run.step(scene.seconds)
    except CaseError as error:
        raise CaseError(f"{where}: {error}") from None


def _one(run: Run, scene: Scene, path: Path) -> list[Path]:
    from turgor.postprocess.anatomy import Anatomy
    from turgor.postprocess.scene import draw_scene

    time = run.times[run.step(scene.seconds)]
    anatomy = Anatomy(run, run.grid(time))
    return [draw_scene(anatomy, _stamped(run, scene, time), path)]


def _stamped(run: Run, scene: Scene, time: float) -> Scene:
    note = f"t = {clock(time)}" if len(run.times) > 1 and scene.field == "concentration" else ""
    return scene.model_copy(update={"time_note": note})


def _default(run: Run, into: Path) -> list[Path]:
    from turgor.postprocess.anatomy import Anatomy
    from turgor.postprocess.maps import snapshot_times
    from turgor.postprocess.scene import draw_scene, paint_over

    anatomy = Anatomy(run, run.grid())
    drawn = [draw_scene(anatomy, Scene(), into / "scene-anatomy.png")]
    for field in ("pressure", "velocity"):
        if run.has(field):
            drawn.append(draw_scene(anatomy, Scene(field=field), into / f"scene-{field}.png"))
    if run.has("concentration"):
        grids = [(time, Anatomy(run, run.grid(time))) for time in snapshot_times(run)]
        paint = paint_over([at for _, at in grids], "concentration")
        for i, (time, at) in enumerate(grids):
            scene = _stamped(run, Scene(field="concentration"), time)
            drawn.append(draw_scene(at, scene, into / f"scene-concentration-{i}.png", paint))
    return drawn
