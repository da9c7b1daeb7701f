"""Figures show what they are given, fit their column, and are reproducible files."""

import os
import subprocess
import sys
from itertools import product
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from dwp.evaluation.factorial import METRICS
from dwp.plots import kernels as tiles
from dwp.plots.curves import curves, fewshot, kl_against_width
from dwp.plots.factorial import factorial_figure
from dwp.plots.style import DOUBLE_COLUMN, SINGLE_COLUMN, in_order, look, metric_label, save

PRIORS = ["dwp", "log-uniform", "standard-normal", "deterministic", "deep-ensemble", "flow"]
INITS = ["dwp", "xavier"]
STEPS, SCALES, ANGLES = (0, 10, 20), (0.0625, 0.25, 1.0), (0, 45, 90)
SUFFIXES = (".pdf", ".png", ".svg")
VARIED = ["kernels_per_step", "precision"]
VARIANTS = list(product(["none", "1024", "512"], ["bfloat16", "float32"]))
PAPER = pd.DataFrame({"prior": "dwp", "num_examples": [50, 500], "accuracy": [0.8, 0.9]})


def table(columns, rows):
    return pd.DataFrame(rows, columns=columns.split())


def summary(inits=("dwp",), priors=PRIORS):
    """Priors 0.02 apart, Xavier 0.05 below the DWP."""
    rows = [
        ("mnist", p, init, n, "ensemble_accuracy", 0.9 - 0.02 * k - 0.05 * i - 5 / n, 0.02)
        for (k, p), (i, init), n in product(enumerate(priors), enumerate(inits), (50, 100))
    ]
    return table("domain prior init n metric mean interval", rows)


def cells(*inits):
    return pd.concat([summary(inits).assign(metric=metric) for metric in METRICS])


def history():
    rows = [
        (prior, init, 50, split, 0, step, "validation_nll", 2.0 / (1 + step) + 0.1 * split)
        for prior, init, split, step in product(PRIORS[:2], INITS, (0, 1), STEPS)
    ]
    runs = table("prior init n split seed step metric value", rows)
    return curves(runs, ["validation_nll"], "step", "prior", over="split", panels=["init"])


def varied(own):
    """The table once for each of six variants, each a tenth above the one before."""
    parts = [
        own.assign(kernels_per_step=k, precision=p, mean=own["mean"] * (1 + i / 10))
        for i, (k, p) in enumerate(VARIANTS)
    ]
    order = pd.CategoricalDtype(["none", "1024", "512"], ordered=True)
    return pd.concat(parts).astype({"kernels_per_step": order})


def from_inits(x, values, seeds=(0, 1)):
    rows = [
        (init, seed, v, "test_accuracy", 0.9 - 0.1 * k - 0.1 / (1 + v) + 0.02 * seed)
        for (k, init), seed, v in product(enumerate(["source-kernels", *INITS]), seeds, values)
    ]
    return table(f"init seed {x} metric value", rows)


def rotated():
    """Priors at rotated test images; those further down suffer less."""
    rows = [
        ("mnist", prior, "dwp", 50, split, 0, angle, metric, k * (100 - angle) / 1000 + split / 10)
        for (k, prior), split, angle, metric in product(enumerate(PRIORS), (0, 1), ANGLES, METRICS)
    ]
    return table("domain prior init n split seed angle metric value", rows)


def random(*shape):
    draws = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=draws, dtype=torch.float32)


def kl_table():
    bases, deviations = (("kernels", 10.0), ("noise", 200.0)), (1.0, 0.001, 0.03)
    rows = [
        (w, prior, deviation, base - 50 * np.log10(deviation), 2.0)
        for (w, base), prior, deviation in product(bases, ["student-t", *PRIORS[:2]], deviations)
    ]
    return table("w prior deviation mean standard_error", rows)


def figures():
    authors = table("init scale value", [*product(["dwp"], SCALES, [0.7]), ("other", 0.25, 0.2)])
    few = random(3, 5, 5).bfloat16().requires_grad_()
    kernels, grid, codes = random(40, 5, 5) - 0.5, random(3, 3, 5, 5), 4 * random(9, 3) - 2
    return {
        "fewshot": fewshot(summary(), "ensemble_accuracy", PAPER),
        "two": fewshot(summary(INITS), "ensemble_accuracy"),
        "varied": fewshot(varied(summary()), "ensemble_accuracy", PAPER, VARIED),
        "factorial": factorial_figure(cells(*INITS)),
        "history": history(),
        "steps": curves(from_inits("step", STEPS), ["test_accuracy"], "step"),
        "scales": curves(from_inits("scale", SCALES), ["test_accuracy"], "scale", paper=authors),
        "angles": curves(rotated(), METRICS, "angle", "prior", over="split"),
        "images": tiles.images_by_step(dict.fromkeys(INITS, random(3, 8, 28, 28)), [0, 20, 1000]),
        "kernels": tiles.kernels_and_samples(kernels, {"dwp": kernels, "mine": few}),
        "latent": tiles.latent_space(grid, (-2, 0, 2), codes[:, :2]),
        "traversal": tiles.latent_traversal(grid, (-2, 0, 2), codes),
        "reconstructions": tiles.reconstruction_pairs(kernels, kernels, 0.08811, 0.2114),
        "kl": kl_against_width(kl_table()),
        "norms": tiles.norm_histogram(random(100), 0.5, 500, 1000),
    }


@pytest.fixture(scope="module")
def drawn():
    before = dict(mpl.rcParams)
    made = figures()
    assert dict(mpl.rcParams) == before
    return made


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def titles(figure):
    return [panel.get_title() for panel in figure.axes]


def lines_of(panel, name):
    return [line for line in panel.lines if to_hex(line.get_color()) == look(name)["color"]]


def ticks(panel, axis):
    return [label.get_text() for label in getattr(panel, f"get_{axis}ticklabels")()]


def top(band):
    return band.get_paths()[0].vertices[:, 1].max()


def pixels(panel):
    return panel.images[0].get_array().filled(np.nan)


# Files


CODE = """
import locale, sys
import pandas as pd, torch
sys.path.insert(0, {tests!r})
if {hostile}:
    torch.set_default_dtype(torch.float64)
    pd.set_option("display.precision", 1, "display.max_rows", 2, "display.max_colwidth", 5)
    locale.setlocale(locale.LC_ALL, "")
import dwp.plots
import test_plots
from dwp.evaluation.tables import write_readable
from dwp.files import write_csv
from dwp.plots.style import save
figures = test_plots.figures()
for name in ("kernels", "fewshot", "scales", "factorial", "latent"):
    files = [name + end for end in test_plots.SUFFIXES]
    save(figures[name], files)
    if {hostile}:
        save(figures[name], files)  # saved twice is the same
write_csv("table.csv", test_plots.summary())
write_readable(test_plots.summary(), "table.csv")
"""
RC = "font.size: 20\nsavefig.bbox: tight\nfigure.dpi: 30\nsvg.fonttype: none\n"


def test_the_users_settings_change_nothing(tmp_path):
    made = {}
    for hostile in (False, True):
        folder = tmp_path / str(hostile)
        folder.mkdir()
        environment = dict(os.environ)
        if hostile:
            environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
            environment |= {"LC_ALL": "C", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"}
            (folder / "matplotlibrc").write_text(RC)
        code = CODE.format(tests=os.path.dirname(__file__), hostile=hostile)
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
        files = {*folder.iterdir()} - {folder / "matplotlibrc"}
        made[hostile] = {file.name: file.read_bytes() for file in files}
    assert len(made[True]) == 5 * 3 + 4  # a CSV has a checksum
    assert made[False] == made[True]
    assert b"Matplotlib" not in b"".join(made[True].values()), "no software version in the file"


@pytest.mark.parametrize("rc", [b"font.size: \xff\xfe", b"backend: module://no_such"])
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such"])
def test_matplotlib_starts_whatever_the_user_has_set(tmp_path, rc, backend):
    (tmp_path / "matplotlibrc").write_bytes(rc)
    command = [sys.executable, "-c", "import dwp.plots.style"]
    environment = os.environ | {"MPLBACKEND": backend}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)


def test_an_svg_is_as_large_as_the_png(tmp_path, drawn):
    save(drawn["kl"], [tmp_path / "kl.svg", tmp_path / "kl.png"])
    root = ElementTree.parse(tmp_path / "kl.svg").getroot()
    with Image.open(tmp_path / "kl.png") as image:
        assert [int(root.get("width")), int(root.get("height"))] == list(image.size)


def test_text_is_inside_the_column_and_readable(drawn):
    for name, figure in drawn.items():
        assert figure.get_figwidth() in (SINGLE_COLUMN, DOUBLE_COLUMN)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()  # inches, without padding
        assert min(box.x0, box.y0) >= -0.01, name
        assert box.x1 <= figure.get_figwidth() + 0.01, name
        assert box.y1 <= figure.get_figheight() + 0.01, name
        assert all(text.get_fontsize() >= 7 for text in figure.findobj(mpl.text.Text)), name


def test_looks_and_labels_are_distinct_and_stable():
    for option in ("color", "marker", "label"):
        assert len({look(prior)[option] for prior in PRIORS}) == len(PRIORS)
    # the value must not depend on the process, as that of `hash` does
    own = {"color": "#8c1d40", "marker": "*", "label": "my-prior"}
    assert own.items() <= look("my-prior").items()
    assert in_order(["z", "log-uniform", "a", "dwp", "dwp"]) == ["dwp", "log-uniform", "a", "z"]
    metrics = ["ensemble_nll", "kl_conv1", "mean_ood_auroc"]
    labels = ["ensemble NLL (nats)", "KL conv1 (nats)", "mean OOD AUROC"]
    assert [metric_label(metric) for metric in metrics] == labels


# Classification


def test_fewshot_shifts_priors_apart_but_not_across(drawn):
    first, second = drawn["two"].axes
    assert titles(drawn["two"]) == ["DWP initialisation", "Xavier initialisation"]
    assert first.get_ylim() == second.get_ylim()
    firsts = [c.lines[0].get_xdata()[0] for c in first.containers]
    assert len(set(np.round(firsts, 6))) == len(PRIORS)
    assert 50 / 1.3 < min(firsts) < 50 < max(firsts) < 50 * 1.3
    assert np.exp(np.log(firsts).mean()) == pytest.approx(50)
    assert ticks(first, "x") == ["50", "100"]


def test_variants_have_their_own_panels_in_the_order_of_the_config(drawn):
    labels = [f"kernels per step {k}\nprecision {p}\nDWP initialisation" for k, p in VARIANTS]
    assert titles(drawn["varied"]) == labels
    panels = drawn["varied"].axes
    means = [panel.containers[0].lines[0].get_ydata()[0] for panel in panels]
    np.testing.assert_allclose(means, 0.8 * (1 + np.arange(6) / 10))
    assert [panel.get_ylabel() != "" for panel in panels] == [True, False, False] * 2


def test_fewshot_draws_the_authors_numbers_in_the_panels_that_they_hold_for(drawn):
    def theirs(figure):
        lines = [
            [line for line in panel.lines if "--" in line.get_linestyle()] for panel in figure.axes
        ]
        return [[value for line in own for value in line.get_ydata()] for own in lines]

    assert theirs(drawn["fewshot"]) == [[0.8]]  # without n = 500
    numbers = pd.concat([PAPER[:1]] * 2, ignore_index=True).assign(accuracy=[0.1, 0.2])
    numbers["precision"] = ["bfloat16", "float32"]
    figure = fewshot(varied(summary()), "ensemble_accuracy", numbers, VARIED)
    assert theirs(figure) == [[0.1], [0.2]] * 3
    assert legend(figure)[-1] == "authors"
    elsewhere = fewshot(summary(), "ensemble_accuracy", numbers)  # of an unknown precision
    assert legend(elsewhere)[-1] != "authors"


def test_error_bars_are_the_intervals():
    def half_widths(container):
        (bars,) = container.lines[2]
        return [np.ptp(segment, axis=0).max() / 2 for segment in bars.get_segments()]

    own = summary(priors=["dwp"]).assign(interval=[0.02, 0.05])
    (panel,) = fewshot(own, "ensemble_accuracy").axes
    assert half_widths(panel.containers[0]) == pytest.approx([0.02, 0.05])
    for panel in factorial_figure(pd.concat([own.assign(metric=m) for m in METRICS])).axes:
        found = [half_widths(container) for container in panel.containers]
        assert found == [pytest.approx([0.02]), pytest.approx([0.05])]
    (panel,) = fewshot(summary().assign(interval=3.0), "ensemble_accuracy").axes
    assert panel.get_ylim() == (0.0, 1.0)  # a fraction


def test_the_crossed_study_is_one_row_of_panels_a_line_for_each_prior_and_init(drawn):
    panels = drawn["factorial"].axes
    assert [panel.get_xlabel() for panel in panels] == [metric_label(name) for name in METRICS]
    assert ticks(panels[0], "y") == [look(prior)["label"] for prior in in_order(PRIORS)]
    lines = [container.lines[0] for container in panels[0].containers]
    means = [line.get_xdata()[0] for line in lines]
    assert means == pytest.approx([0.8, 0.85, 0.75, 0.8])  # DWP's with 50, 100; Xavier's
    assert [to_hex(line.get_color()) for line in lines[1:3]] == [look(i)["color"] for i in INITS]
    assert [line.get_alpha() for line in lines] == pytest.approx([0.6, 1.0] * 2)
    heights = [line.get_ydata()[0] for line in lines]
    np.testing.assert_allclose(np.diff(heights), [0, 1 / 3, 0], atol=1e-12)


# Curves


def test_curves_are_means_with_bands_and_the_authors(drawn):
    (panel,) = drawn["scales"].axes
    theirs, ours = lines_of(panel, "dwp")
    assert list(theirs.get_ydata()) == [0.7, 0.7, 0.7]
    assert theirs.get_linestyle() == "--"
    np.testing.assert_allclose(ours.get_ydata(), 0.81 - 0.1 / (1 + np.array(SCALES)))
    assert top(panel.collections[0]) == pytest.approx(ours.get_ydata().max() + 0.01 * np.sqrt(2))
    assert ticks(panel, "x") == ["1/16", "1/4", "1"]
    assert legend(drawn["scales"]) == ["DWP", "Xavier", "source kernels", "authors"]
    assert "authors" not in legend(drawn["steps"])
    (panel,) = curves(from_inits("step", STEPS, [0]), ["test_accuracy"], "step").axes
    assert not any(band.get_paths() for band in panel.collections)  # of one run


def test_several_metrics_of_every_prior_against_any_number(drawn):
    panels = drawn["angles"].axes
    assert [panel.get_ylabel() for panel in panels] == [metric_label(name) for name in METRICS]
    assert {panel.get_xlabel() for panel in panels} == {"angle (degrees)"}
    for k, prior in enumerate(PRIORS):
        (line,) = lines_of(panels[0], prior)
        np.testing.assert_allclose(line.get_xdata(), ANGLES)
        np.testing.assert_allclose(line.get_ydata(), k * (100 - np.array(ANGLES)) / 1000 + 0.05)
    assert legend(drawn["angles"]) == [look(prior)["label"] for prior in in_order(PRIORS)]


def test_the_axis_leaves_out_a_start_far_below():
    runs = from_inits("step", range(20))
    runs.loc[runs["step"] == 0, "value"] = -100.0
    (panel,) = curves(runs.assign(metric="test_elbo"), ["test_elbo"], "step").axes
    assert 0 < panel.get_ylim()[0] < 0.7


def test_kl_curves_are_in_order_of_the_deviation_in_both_panels(drawn):
    assert legend(drawn["kl"]) == ["DWP", "log-uniform", "Student t"]
    assert titles(drawn["kl"]) == ["real kernels", "noise of the same mean square"]
    for panel, base in zip(drawn["kl"].axes, (10, 200), strict=True):
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
        x, y = panel.lines[0].get_data()
        np.testing.assert_allclose(x, [0.001, 0.03, 1])
        np.testing.assert_allclose(y, base - 50 * np.log10(x))
        assert top(panel.collections[0]) == pytest.approx(base + 150 + 2)


# Tiles


def test_mosaic_lays_out_and_scales_tiles():
    kernels = torch.zeros(2, 2, 2)
    kernels[0, 0, 1], kernels[1, 0, 0] = -2.0, 4.0
    for largest, expected in ((None, -1.0), (4.0, -0.5)):
        left, right = np.split(tiles.mosaic(kernels, 2, largest), 2, axis=1)
        half = len(left) // 2
        assert np.nanmin(left[:half, half:]) == expected
        assert np.nanmax(right[:half, :half]) == 1.0
        assert np.nanmax(np.abs(left[half:])) == 0.0
        np.testing.assert_array_equal(np.isnan(left), np.isnan(left[::-1, ::-1]))
    three = tiles.mosaic(torch.zeros(3, 5, 5), 2)
    assert np.nanmax(np.abs(three)) == 0.0
    assert np.isnan(np.split(np.split(three, 2)[1], 2, axis=1)[1]).all()  # no fourth


def test_kernel_blocks_have_titles_real_first(drawn):
    assert titles(drawn["kernels"]) == ["real kernels", "DWP", "mine"]
    first, second, third = (panel.images[0].get_array().shape for panel in drawn["kernels"].axes)
    assert first == second == (6 * third[0], third[1])  # three kernels in one row


def test_images_have_rows_of_inits_and_absolute_greys(drawn):
    steps = ("step 0", "step 20", "step 1,000")
    assert titles(drawn["images"]) == [f"{i}, {step}" for i in ("DWP", "Xavier") for step in steps]
    half = tiles.images_by_step({"dwp": torch.full((1, 4, 28, 28), 0.5)}, [0]).axes[0].images[0]
    assert half.get_clim() == (0, 1)
    assert set(half.get_array().compressed()) == {0.5}


def test_latent_tiles_are_centred_on_their_codes():
    grid = torch.zeros(3, 3, 2, 2)
    grid[0, 2] = 1.0  # first coordinate high, second low
    panel = tiles.latent_space(grid, (-2, 0, 2)).axes[0]
    assert tuple(panel.images[0].get_extent()) == (-3, 3, -3, 3)
    rows, columns = np.nonzero(pixels(panel) == 1.0)
    height, width = pixels(panel).shape
    x, y = (columns.mean() + 0.5) / width * 6 - 3, 3 - (rows.mean() + 0.5) / height * 6
    assert (x, y) == (pytest.approx(2), pytest.approx(-2))


def test_traversal_has_a_row_for_each_coordinate_in_one_scale():
    grid = torch.zeros(2, 3, 5, 5)
    grid[0, 2], grid[1, 0] = 4.0, -1.0
    codes = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    (panel,) = tiles.latent_traversal(grid, (-2, 0, 2), codes).axes
    assert ticks(panel, "x") == ["-2", "0", "2"]
    assert ticks(panel, "y") == ["$z_{1}$ (sd 0.00)", "$z_{2}$ (sd 1.00)"]
    height, width = pixels(panel).shape
    for (row, column), value in (((0, 2), 1.0), ((1, 0), -0.25), ((1, 2), 0.0)):
        x, y = panel.get_xticks()[column] / 3, panel.get_yticks()[row] / 2
        assert pixels(panel)[round(y * height), round(x * width)] == value


def test_reconstructions_are_right_of_their_kernels_in_the_same_scale():
    real, decoded = torch.full((3, 1, 5, 5), 2.0), torch.full((3, 5, 5), -0.5)
    figure = tiles.reconstruction_pairs(real, decoded, 2.5, 0.0)
    image = pixels(figure.axes[0])
    first = image[len(image) // 2, : image.shape[1] // 4]
    found = first[~np.isnan(first)]
    np.testing.assert_array_equal(found, np.repeat([1.0, -0.25], len(found) // 2))
    assert np.isnan(image[:, image.shape[1] * 3 // 4 :]).all(), "three pairs of a row of four"
    assert "error 2.5, kernels' spread 0" in titles(figure)[0]


@pytest.mark.parametrize(
    ("collected", "expected"),
    [
        (1000, "threshold 0.5: kept 500 of 1,000 (50 %)"),
        (None, "least norm 0.5: 500 released, pruned already"),
    ],
)
def test_the_norms_of_all_kernels_and_the_threshold(collected, expected):
    figure = tiles.norm_histogram(torch.linspace(0, 1, 100), 0.5, 500, collected)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) == pytest.approx(collected or 500)
    assert titles(figure) == [expected]
