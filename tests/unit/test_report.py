"""Figures show what the fields say, and the page holds everything and asks for nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.browser import open_page, require_browser
from support.fake_run import CENTER, RADIUS, Fake, pressure, write_fake_run

from turgor.materials.errors import CaseError
from turgor.postprocess import Run, render, report
from turgor.postprocess.ledger import ledgers
from turgor.postprocess.scales import clock, number, robust_range, scale_for
from turgor.postprocess.scenefile import Scene, read_scene


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_fake_run(tmp_path_factory.mktemp("runs") / "breast"))


@pytest.fixture(scope="module")
def page(run: Run) -> Path:
    return report(run)


@pytest.fixture(scope="module")
def steady_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fake = Fake(drug=False, times=(0.0,), core=False, warnings=(), subdivisions=1)
    return report(write_fake_run(tmp_path_factory.mktemp("runs") / "steady", fake))


def test_the_pressure_profile_follows_the_formula(run: Run) -> None:
    from turgor.postprocess.anatomy import Anatomy
    from turgor.postprocess.profiles import profile

    anatomy = Anatomy(run, run.grid())
    curve = profile(anatomy, np.asarray(anatomy.grid.point_data["pressure"]))
    assert curve is not None
    # Where the pressure is smooth, linear interpolation over layers of 1.4 mm keeps it to 3 % of the plateau.
    smooth = (np.abs(curve.distance) > 2.5) & (curve.distance > -RADIUS + 1.0)
    exact = pressure(curve.distance + RADIUS)
    assert curve.mean[smooth] == pytest.approx(exact[smooth], abs=0.03 * pressure(np.zeros(1))[0])
    rounding = 1e-9 * curve.mean
    assert (curve.low <= curve.mean + rounding).all()
    assert (curve.mean <= curve.high + rounding).all()


def test_the_distance_from_a_tumor_with_a_core_is_that_from_its_outer_surface(run: Run) -> None:
    from turgor.postprocess.anatomy import Anatomy

    anatomy = Anatomy(run, run.grid())
    exact = np.linalg.norm(np.asarray(anatomy.grid.points) - CENTER, axis=1) - RADIUS
    # Facets of an icosahedron divided twice stand off the sphere by R (1 - cos 10.9 deg) = 0.02 R at most.
    assert anatomy.tumor_distance == pytest.approx(exact, abs=0.02 * RADIUS)


def test_a_core_that_does_not_count_as_tumor_still_lies_in_its_body(run: Run, tmp_path: Path) -> None:
    from turgor.postprocess.anatomy import Anatomy

    for name in ("run.json", "resolved.json", "fields.vtkhdf"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    content = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps(content | {"tumor": ["tumor"]}), encoding="utf-8")
    other = Run(tmp_path)
    assert other.tumor == ("tumor",)
    assert Anatomy(other, other.grid()).tumor == ("tumor", "necrosis")


def test_a_profile_weighs_by_volume() -> None:
    from turgor.postprocess.profiles import weighted_percentiles

    values, weights = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0, 97.0])
    assert weighted_percentiles(values, weights, (50.0,))[0] == pytest.approx(2.96, abs=0.02)


def test_the_parts_of_the_anatomy_close_up_without_a_double_face(run: Run) -> None:
    from turgor.postprocess.anatomy import Anatomy

    parts = {part.group: part.surface for part in Anatomy(run, run.grid()).parts()}
    assert set(parts) == {"outer surface", "tumor", "necrosis"}
    for surface in parts.values():
        assert surface.is_manifold
        assert surface.n_cells == 20 * 4**2


def test_the_right_of_the_patient_is_on_the_left_of_an_axial_section() -> None:
    from turgor.postprocess.anatomy import AXIAL, CORONAL, SAGITTAL

    right, front, top = np.eye(3)
    origin = np.zeros((1, 3))
    assert AXIAL.flat(right[None])[0, 0] < AXIAL.flat(origin)[0, 0]
    assert AXIAL.letters[:2] == CORONAL.letters[:2] == ("R", "L")
    assert AXIAL.flat(front[None])[0, 1] > 0
    assert SAGITTAL.flat(front[None])[0, 0] < 0
    assert SAGITTAL.letters[0] == "A"
    assert CORONAL.flat(top[None])[0, 1] > 0


def test_a_section_is_cut_into_the_regions_it_crosses(run: Run) -> None:
    from turgor.postprocess.anatomy import AXIAL, Anatomy

    section = Anatomy(run, run.grid()).section(AXIAL)
    corner = section.points[section.triangles]
    edge = corner[:, 1:] - corner[:, :1]
    area = 0.5 * np.abs(edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0])
    # A plane through the middle of a ball of polygons: a disc, smaller by at most twice the facet's standoff.
    tumor = area[section.region > 0].sum()
    assert 0.95 * np.pi * RADIUS**2 < tumor < np.pi * RADIUS**2


def test_amounts_of_the_ledger_are_sums_of_rates_times_steps(run: Run) -> None:
    flow, drug = ledgers(run)
    assert flow.steady
    assert not drug.steady
    # The rates were made from amounts in closed form, so their sum gives these back.
    assert drug.cumulative("lost")[-1] == pytest.approx(700.0 * (1 - np.exp(-86400 / 50000.0)), rel=1e-9)
    came = sum(item.value for item in drug.items if item.term in ("in", "made"))
    went = sum(item.value for item in drug.items if item.term in ("out", "lost", "stored"))
    assert came == pytest.approx(went, rel=1e-9)
    assert drug.relative_residual == pytest.approx(2e-13, rel=1e-3)


def test_numbers_are_shown_with_few_digits_and_fitting_units() -> None:
    assert number(0.000123456) == "1.23 × 10⁻⁴"
    assert number(1533.0) == "1533"
    assert number(-0.5) == "−0.5"
    assert clock(3600.0) == "1 h"
    assert clock(90.0) == "90 s"
    assert scale_for("mol/m^3", 3.2e-6).unit == "nmol/L"
    assert scale_for("Pa", 1.0)(np.array([133.322387415])) == pytest.approx([1.0])


def test_a_color_scale_ignores_a_few_odd_nodes_and_starts_at_zero() -> None:
    values = np.append(np.linspace(0.0, 1.0, 1000), [50.0])
    assert robust_range(values) == pytest.approx((0.0, 1.0), abs=0.01)
    low, high = robust_range(np.full(10, 7.0))
    assert low < 7.0 < high


def test_a_region_keeps_its_color_whatever_regions_stand_beside_it() -> None:
    from turgor.postprocess.look import region_colors

    with_core = region_colors(("brain", "tumor", "necrosis"), ("tumor", "necrosis"))
    without = region_colors(("brain", "tumor"), ("tumor",))
    assert all(with_core[name] == color for name, color in without.items())
    assert len(set(with_core.values())) == 3


def test_the_page_names_nothing_outside_itself(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']*)""", text.split('srcdoc="')[0])
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert len(text) < 10e6


def test_the_page_tells_the_study(run: Run, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    positions = [text.index(words) for words in ("Read this first", "The study", 'id="anatomy"', 'id="balance"')]
    assert positions == sorted(positions)
    for words in (
        "Tumor bed after surgery", "sealed, not named", "4.13e-8 cm²/(mmHg·s)", "assumed", "Baxter and Jain",
        "is not resolved", "&lt;target&gt; edge length &amp; more", "turgor run case.toml -n 2", "pressure = 0 mmHg",
        "balance residual, drug",
    ):  # fmt: skip
        assert words in text
    assert not list(run.folder.glob(".*tmp"))


def test_every_figure_is_a_file_with_its_numbers_beside_it(run: Run, page: Path) -> None:
    figures = page.parent / "figures"
    drawn = {path.stem for path in figures.iterdir() if path.suffix in (".svg", ".png")}
    assert drawn >= {
        "anatomy", "pressure-sections", "pressure-profile", "velocity-section", "concentration-time", "penetration",
        "concentration-snapshots", "balance-flow", "balance-drug",
    }  # fmt: skip
    header = (figures / "pressure-profile.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("distance [mm],pressure mean [Pa]")
    assert (figures / "concentration-time.csv").stat().st_size > 1000


def test_a_steady_run_without_drug_has_no_empty_section(steady_page: Path) -> None:
    text = steady_page.read_text(encoding="utf-8")
    visible = re.sub(r'="data:[^"]*"|srcdoc="[^"]*"|<style>.*?</style>', "", text, flags=re.DOTALL)
    for words in ('id="drug"', "Concentration", "nan", "None", "when</th>", "<ul></ul>", "<tbody></tbody>"):
        assert words not in visible
    assert "The solution is steady." in visible


def test_a_failed_run_gets_no_report(tmp_path: Path) -> None:
    folder = write_fake_run(tmp_path / "run", Fake(status="failed", subdivisions=1))
    with pytest.raises(CaseError, match="the run failed"):
        report(folder)
    assert not (folder / "report.html").exists()


def test_the_page_opens_without_a_network_and_shows_the_scene(page: Path) -> None:
    require_browser()
    seen = open_page(page, height=1900)
    assert seen.console == ()
    rows, columns = 950, 1200
    scene = (0, 1900 - rows, columns, 1900)
    assert seen.distinct_colors(scene) > 1000
    assert seen.saturated_share(scene) > 0.05


def test_default_pictures_are_drawn_at_their_size(steady_page: Path, tmp_path: Path) -> None:
    pictures = render(steady_page.parent, into=tmp_path)
    assert [path.name for path in pictures] == ["scene-anatomy.png", "scene-pressure.png", "scene-velocity.png"]
    for path in pictures:
        with Image.open(path) as image:
            assert image.size == (1800, 1400)
            assert len(image.convert("RGB").resize((450, 350)).getcolors(450 * 350) or ()) > 500


def test_a_scene_file_is_drawn_as_asked(run: Run, tmp_path: Path) -> None:
    scene = tmp_path / "mine.toml"
    words = 'field = "concentration"\ntime = "4 h"\ncamera = "front"\nclip = "coronal"\nsize = [600, 500]\ndpi = 80\n'
    scene.write_text(words, encoding="utf-8")
    (picture,) = render(run, scene, tmp_path / "out")
    assert picture == tmp_path / "out" / "mine.png"
    with Image.open(picture) as image:
        assert image.size == (600, 500)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('feild = "pressure"', "Did you mean 'field'"),
        ('field = "presure"', "'presure' is not one of 'anatomy', 'pressure'"),
        ("size = [10, 10]", "greater than or equal to 100"),
        ("size = [", "Invalid"),
        ('dpi = "many"\ncamera = "moon"', "2 complaints"),
    ],
)
def test_a_wrong_scene_file_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "scene.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, match=re.escape(words)):
        read_scene(path)


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (Scene(field="pressure", time="5 h"), "closest is 14400 s"),
        (Scene(field="pressure", time="5"), "has no unit"),
        (Scene(field="pressure", time="5 mm"), "does not measure a time"),
    ],
)
def test_a_scene_at_a_time_that_is_not_stored_is_refused(run: Run, scene: Scene, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        render(run, scene)
