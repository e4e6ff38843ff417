"""PyVista, set up to draw without a display and to say nothing about it. Heavy: import it inside functions."""

from __future__ import annotations

import ctypes
import os

import pyvista as pv

from turgor.materials.errors import SetupError


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


HAS_DISPLAY = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
if not HAS_DISPLAY and _loads("libEGL.so.1"):
    # VTK looks here when it opens a window; it would else ask for an X server first and print that there is none.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

pv.OFF_SCREEN = True

__all__ = ["plotter", "pv"]


def plotter(width: int, height: int) -> pv.Plotter:
    """Return an off-screen plotter of a size in pixels, with soft light and a white ground.

    Raises:
        SetupError: This machine has no way to draw: no display, EGL or OSMesa. VTK itself would end the process.
    """
    if not (HAS_DISPLAY or _loads("libEGL.so.1") or _loads("libOSMesa.so.8")):
        raise SetupError("3-D pictures need libEGL: install it, on Debian or Ubuntu with `apt install libegl1`")
    picture = pv.Plotter(off_screen=True, window_size=[width, height], lighting="three lights")
    picture.renderer.set_background("white")
    picture.renderer.enable_parallel_projection()
    return picture
