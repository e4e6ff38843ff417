"""Draw a small picture off screen and say how; `turgor doctor` starts this as a program of its own."""

from __future__ import annotations

import sys

import numpy as np

from turgor.materials.errors import SetupError
from turgor.postprocess.offscreen import plotter, pv


def main() -> int:
    """Draw; return 0 if something was on the picture."""
    try:
        picture = plotter(64, 64)
    except SetupError as error:
        print(error)
        return 1
    picture.add_mesh(pv.Sphere(), color="orange")
    image = np.asarray(picture.screenshot(return_img=True))
    window = type(picture.render_window).__name__ if picture.render_window else "no window"
    picture.close()
    colors = len(np.unique(image.reshape(-1, image.shape[-1]), axis=0))
    print(f"{colors} colors drawn with PyVista {pv.__version__}, {window}")
    return 0 if colors > 10 else 1


if __name__ == "__main__":
    sys.exit(main())
