"""Figures show what they are given, fit their column, and are reproducible files."""

import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from dwp.errors import UserError
from dwp.evaluation.factorial import METRICS
from dwp.plots.curves import curves
from dwp.plots.factorial import factorial_figure
from dwp.plots.fewshot import fewshot
from dwp.plots.history import against_steps
from dwp.plots.images import images_by_step
from dwp.plots.kernels import kernels_beside_reconstructions, kernels_beside_samples, mosaic
from dwp.plots.kl import kl_against_width
from dwp.plots.latent import latent_space, latent_traversal
from dwp.plots.norms import norm_histogram
from dwp.plots.style import DOUBLE_COLUMN, SINGLE_COLUMN, in_order, look, metric_label, save
from dwp.plots.tables import to_be_read, to_markdown

PRIORS = [
    *("dwp", "log-uniform", "standard-normal", "gaussian-diagonal", "gaussian-full"),
    *("deterministic", "deterministic-l2", "deterministic-dropout", "deterministic-dwp"),
    "deep-ensemble",
]


def summary(inits=("dwp",), counts=(50, 100), priors=PRIORS) -> pd.DataFrame:
    rows = [
        ("mnist", prior, init, n, "ensemble_accuracy", 0.9 - 0.02 * k - 5 / n, 0.02)
        for k, prior in enumerate(priors)
        for init in inits
        for n in counts
    ]
    return pd.DataFrame(
        rows, columns=["domain", "prior", "init", "n", "metric", "mean", "interval"]
    )


def cells() -> pd.DataFrame:
    """Of a crossed study: priors 0.02 apart, Xavier 0.05 below the DWP."""
    table = summary(("dwp", "xavier"))
    table["mean"] -= 0.05 * (table["init"] == "xavier")
    return pd.concat([table.assign(metric=metric) for metric in METRICS])


def history(splits=(0, 1)) -> pd.DataFrame:
    rows = [
        (prior, init, 50, split, 0, step, "validation_nll", 2.0 / (1 + step) + 0.1 * split)
        for prior in ("dwp", "log-uniform")
        for init in ("dwp", "xavier")
        for split in splits
        for step in (0, 10, 20)
    ]
    columns = ["prior", "init", "n", "split", "seed", "step", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


VARIED = ["kernels_per_step", "precision"]


def varied(table) -> pd.DataFrame:
    """The table once for each of six variants, each a tenth above the one before."""
    kernels = pd.CategoricalDtype(["none", "1024", "512"], ordered=True)
    number = "mean" if "mean" in table else "value"
    parts = [
        table.assign(kernels_per_step=k, precision=p, **{number: table[number] * (1 + i / 10)})
        for i, (k, p) in enumerate(
            (k, p) for k in kernels.categories for p in ("bfloat16", "float32")
        )
    ]
    return pd.concat(parts).astype({"kernels_per_step": kernels})


def from_inits(x: str, places) -> pd.DataFrame:
    rows = [
        (init, seed, place, "test_accuracy", 0.9 - 0.1 * k - 0.1 / (1 + place) + 0.02 * seed)
        for k, init in enumerate(("source-kernels", "dwp", "xavier"))
        for seed in (0, 1)
        for place in places
    ]
    return pd.DataFrame(rows, columns=["init", "seed", x, "metric", "value"])


def authors(x: str, places) -> pd.DataFrame:
    rows = [("dwp", place, 0.7) for place in places] + [("reconstructed", places[0], 0.2)]
    return pd.DataFrame(rows, columns=["init", x, "value"])


STEPS, SCALES = (0, 10, 20), (0.0625, 0.25, 1.0)
PAPER = pd.DataFrame(
    {
        "dataset": ["mnist", "mnist", "cifar10"],
        "prior": ["dwp", "dwp", "dwp"],
        "num_examples": [50, 500, 50],
        "accuracy": [0.8, 0.9, 0.2],
    }
)


def kernels(m: int, k: int = 5) -> torch.Tensor:
    return torch.randn(m, k, k, generator=torch.Generator().manual_seed(0))


def kl_table() -> pd.DataFrame:
    rows = [
        (w, prior, deviation, base - 50 * np.log10(deviation), 2.0)
        for w, base in (("kernels", 10.0), ("noise", 200.0))
        for prior in ("dwp", "standard-normal", "student-t")
        for deviation in (1.0, 0.001, 0.03)
    ]
    return pd.DataFrame(rows, columns=["w", "prior", "deviation", "mean", "standard_error"])


def unit(steps: int) -> torch.Tensor:
    return torch.rand(steps, 8, 28, 28, generator=torch.Generator().manual_seed(0))


def figures() -> dict[str, Figure]:
    return {
        "fewshot": fewshot(summary(), "ensemble_accuracy", PAPER),
        "fewshot-two": fewshot(summary(("dwp", "xavier")), "ensemble_accuracy"),
        "fewshot-varied": fewshot(varied(summary()), "ensemble_accuracy", PAPER, VARIED),
        "factorial": factorial_figure(cells()),
        "history": against_steps(history(), "validation_nll"),
        "steps": curves(from_inits("step", STEPS), "test_accuracy", "step"),
        "scales": curves(
            from_inits("scale", SCALES), "test_accuracy", "scale", authors("scale", SCALES)
        ),
        "images": images_by_step({"dwp": unit(3), "xavier": unit(3)}, [0, 20, 1000]),
        "kernels": kernels_beside_samples(kernels(40), {"dwp": kernels(40)}),
        "latent": latent_space(kernels(9).unflatten(0, (3, 3)), (-2, 2, -2, 2), torch.randn(9, 2)),
        "traversal": latent_traversal(
            kernels(12).unflatten(0, (4, 3)), (-2, 0, 2), torch.randn(9, 4)
        ),
        "reconstructions": kernels_beside_reconstructions(kernels(9), kernels(9), 0.08811, 0.2114),
        "kl": kl_against_width(kl_table()),
        "norms": norm_histogram(torch.linspace(0, 1, 100), 0.5, 500, 1000),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    return figures()


def test_saved_twice_is_the_same(tmp_path, drawn):
    for name, figure in drawn.items():
        for suffix in (".pdf", ".png", ".svg"):
            first, second = tmp_path / f"{name}-1{suffix}", tmp_path / f"{name}-2{suffix}"
            save(figure, [first, second])
            assert first.read_bytes() == second.read_bytes(), first.name
            assert b"Matplotlib" not in first.read_bytes(), "no software version in the file"


def test_drawn_twice_is_the_same(tmp_path):
    for copy in "ab":
        figure = fewshot(summary(), "ensemble_accuracy", PAPER)
        save(figure, [tmp_path / f"{copy}{suffix}" for suffix in (".png", ".pdf", ".svg")])
    for suffix in (".png", ".pdf", ".svg"):
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        assert first.read_bytes() == second.read_bytes()


def test_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"\.pdf, \.png or \.svg"):
        save(Figure(), [tmp_path / "figure.gif"])
    assert not list(tmp_path.iterdir())


def test_an_svg_is_as_large_as_the_png_and_needs_nothing_else(tmp_path, drawn):
    save(drawn["kl"], [tmp_path / "kl.svg", tmp_path / "kl.png"])
    root = ElementTree.parse(tmp_path / "kl.svg").getroot()
    with Image.open(tmp_path / "kl.png") as image:
        assert [int(root.get("width")), int(root.get("height"))] == list(image.size)
    links = [
        v for e in root.iter() for k, v in e.items() if k.endswith(("href", "src", "resource"))
    ]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)


def test_text_is_inside_the_column_and_readable(drawn):
    for name, figure in drawn.items():
        assert figure.get_figwidth() in (SINGLE_COLUMN, DOUBLE_COLUMN)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()  # inches, without padding
        assert box.x0 >= -0.01, name
        assert box.y0 >= -0.01, name
        assert box.x1 <= figure.get_figwidth() + 0.01, name
        assert box.y1 <= figure.get_figheight() + 0.01, name
        for text in figure.findobj(mpl.text.Text):
            assert text.get_fontsize() >= 7, (name, text)


def test_drawing_leaves_global_settings_alone():
    before = dict(mpl.rcParams)
    figures()
    assert dict(mpl.rcParams) == before


def test_plots_import_neither_pyplot_nor_training():
    code = (
        "import sys, dwp.plots.fewshot, dwp.plots.history, dwp.plots.kernels, dwp.plots.kl, "
        "dwp.plots.latent, dwp.plots.curves, dwp.plots.images, dwp.plots.norms, dwp.plots.tables; "
        "assert 'matplotlib.pyplot' not in sys.modules; "
        "assert not any(name.startswith('dwp.training') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_looks_are_distinct_and_stable():
    known = [look(prior) for prior in PRIORS]
    assert len({one.colour for one in known}) == len({one.marker for one in known}) == len(PRIORS)
    assert look("my-prior") == look("my-prior")
    assert look("my-prior").label == "my-prior"
    assert look("my-prior").colour not in {one.colour for one in known}
    # The value must not depend on the process, as that of `hash` does.
    code = "from dwp.plots.style import look; print(look('my-prior').colour)"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == look("my-prior").colour


def test_order_and_labels():
    assert in_order(["zeta", "log-uniform", "alpha", "dwp", "dwp"]) == [
        *("dwp", "log-uniform", "alpha", "zeta")
    ]
    assert metric_label("ensemble_nll") == "ensemble NLL (nats)"
    assert metric_label("kl_conv1") == "KL conv1 (nats)"
    assert metric_label("mean_ood_auroc") == "mean OOD AUROC"


def test_same_colour_in_every_figure(drawn):
    few = drawn["fewshot"].axes[0].lines
    steps = drawn["history"].axes[0].lines
    for lines in (few, steps):
        assert look("dwp").colour in {to_hex(line.get_color()) for line in lines}


def test_fewshot_shifts_priors_apart_but_not_across(drawn):
    panel = drawn["fewshot-two"].axes[0]
    firsts = [c.lines[0].get_xdata()[0] for c in panel.containers]
    assert len(set(np.round(firsts, 6))) == len(PRIORS)
    assert 50 / 1.3 < min(firsts) < 50 < max(firsts) < 50 * 1.3
    assert np.exp(np.log(firsts).mean()) == pytest.approx(50)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["50", "100"]


def test_fewshot_panels_share_the_axis(drawn):
    first, second = drawn["fewshot-two"].axes
    assert first.get_title() == "DWP initialisation"
    assert first.get_ylim() == second.get_ylim()


def test_variants_have_panels_of_their_own_in_the_order_of_the_config(drawn):
    panels = drawn["fewshot-varied"].axes
    assert [panel.get_title().splitlines()[1:] for panel in panels] == [
        [f"kernels per step {kernels}", f"precision {precision}"]
        for kernels in ("none", "1024", "512")
        for precision in ("bfloat16", "float32")
    ]
    means = [panel.containers[0].lines[0].get_ydata()[0] for panel in panels]
    np.testing.assert_allclose(means, 0.8 * (1 + np.arange(6) / 10))
    assert len({panel.get_subplotspec().rowspan.start for panel in panels}) == 2
    assert [panel.get_ylabel() != "" for panel in panels] == [True, False, False] * 2

    steps = against_steps(varied(history()), "validation_nll", VARIED)
    inits = [panel.get_title().splitlines()[0] for panel in steps.axes]
    assert inits == ["DWP initialisation", "Xavier initialisation"] * 6  # a row of each variant
    assert len({panel.get_subplotspec().rowspan.start for panel in steps.axes}) == 6
    ends = [panel.lines[0].get_ydata()[0] for panel in steps.axes]
    np.testing.assert_allclose(ends, np.repeat(2.05 * (1 + np.arange(6) / 10), 2))


def theirs(panel) -> list[float]:
    """The authors' numbers in a panel."""
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    return [value for line in hollow for value in line.get_ydata()]


def test_fewshot_draws_only_the_authors_matching_numbers(drawn):
    (panel,) = drawn["fewshot"].axes
    assert theirs(panel) == [0.8]  # neither n = 500 nor the other data set
    labels = [text.get_text() for text in drawn["fewshot"].legends[0].get_texts()]
    assert labels[0] == "DWP"
    assert labels[-1] == "authors"


def test_fewshot_draws_the_authors_numbers_of_a_panel_in_that_panel():
    paper = pd.DataFrame(
        {
            "dataset": "mnist",
            "prior": "dwp",
            "num_examples": 50,
            "precision": ["bfloat16", "float32"] * 2,
            "init": ["dwp", "dwp", "xavier", "xavier"],
            "accuracy": [0.1, 0.2, 0.3, 0.4],
        }
    )
    figure = fewshot(varied(summary(("dwp", "xavier"))), "ensemble_accuracy", paper, VARIED)
    assert [theirs(panel) for panel in figure.axes] == [[0.1], [0.3], [0.2], [0.4]] * 3
    assert figure.legends[0].get_texts()[-1].get_text() == "authors"
    elsewhere = fewshot(summary(), "ensemble_accuracy", paper)  # of an unknown precision
    assert elsewhere.legends[0].get_texts()[-1].get_text() != "authors"


def test_fewshot_with_one_n_one_prior_and_no_interval():
    table = summary(counts=(50,), priors=["dwp"]).assign(interval=np.nan)
    (panel,) = fewshot(table, "ensemble_accuracy").axes
    assert panel.containers[0].lines[0].get_xdata()[0] == pytest.approx(50)


def test_fractions_stay_below_one():
    (panel,) = fewshot(summary().assign(interval=3.0), "ensemble_accuracy").axes
    assert panel.get_ylim() == (0.0, 1.0)


def test_figures_refuse_what_they_would_mix_up():
    with pytest.raises(UserError, match="nll"):
        fewshot(summary(), "nll")
    both = pd.concat([summary(), summary().assign(domain="cifar10")])
    with pytest.raises(UserError, match="domain"):
        fewshot(both, "ensemble_accuracy")
    with pytest.raises(UserError, match="ece"):
        factorial_figure(cells()[cells()["metric"] != "ensemble_ece"])
    with pytest.raises(UserError, match="'n'"):
        against_steps(pd.concat([history(), history().assign(n=100)]), "validation_nll")


def test_the_authors_curves_are_not_cut_off_above():
    paper = authors("step", STEPS).assign(value=0.97)
    (axes,) = curves(from_inits("step", STEPS), "test_accuracy", "step", paper).axes
    assert axes.get_ylim()[1] > 0.97


def test_the_crossed_study_is_one_row_of_panels_a_line_for_each_prior_and_init(drawn):
    panels = drawn["factorial"].axes
    assert [panel.get_xlabel() for panel in panels] == [metric_label(name) for name in METRICS]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == [look(prior).label for prior in PRIORS]
    first, last = panels[0].get_ylim()
    assert first > last  # the first prior above
    means, heights, colours = [], [], []
    for container in panels[0].containers:
        x, y = container.lines[0].get_data()
        means.append(x[0])
        heights.append(y)
        colours.append(to_hex(container.lines[0].get_color()))
    assert means == pytest.approx([0.8, 0.85, 0.75, 0.8])  # DWP's with 50, 100; Xavier's
    assert colours[1] == look("dwp").colour  # the most examples in full colour
    assert colours[0] != colours[1]
    assert colours[3] == look("xavier").colour
    np.testing.assert_allclose(heights[0], heights[1])
    np.testing.assert_allclose(heights[2] - heights[0], 1 / 3)

    table = varied(cells())
    figure = factorial_figure(table, VARIED)
    rows = [panel.get_ylabel().splitlines() for panel in figure.axes[::3]]
    assert rows == [
        [f"kernels per step {kernels}", f"precision {precision}"]
        for kernels in ("none", "1024", "512")
        for precision in ("bfloat16", "float32")
    ]


def test_history_is_the_mean_with_a_band(drawn):
    panel = drawn["history"].axes[0]
    np.testing.assert_allclose(panel.lines[0].get_ydata(), 2 / (1 + np.array([0, 10, 20])) + 0.05)
    band = panel.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(2.05 + 0.1 / np.sqrt(2))


def test_history_of_one_split_has_no_band():
    figure = against_steps(history(splits=(0,)), "validation_nll")
    assert not any(band.get_paths() for band in figure.axes[0].collections)


def test_curves_are_means_with_bands_and_the_authors_behind(drawn):
    (panel,) = drawn["scales"].axes
    dashed = [
        line for line in panel.lines if line.get_linestyle() == "--" and len(line.get_xdata())
    ]
    assert [list(line.get_ydata()) for line in dashed] == [[0.7, 0.7, 0.7]]
    (mine,) = (
        line
        for line in panel.lines
        if line not in dashed and to_hex(line.get_color()) == look("dwp").colour
    )
    np.testing.assert_allclose(mine.get_ydata(), 0.81 - 0.1 / (1 + np.array(SCALES)))
    assert mine.get_zorder() > dashed[0].get_zorder()
    band = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(mine.get_ydata().max() + 0.01 * np.sqrt(2))
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1/16", "1/4", "1"]
    texts = [text.get_text() for text in drawn["scales"].legends[0].get_texts()]
    assert texts == ["DWP", "Xavier", "source kernels", "authors"]
    assert "authors" not in [text.get_text() for text in drawn["steps"].legends[0].get_texts()]


def test_images_stand_by_init_and_step_in_absolute_greys(drawn):
    axes = drawn["images"].axes
    assert [panel.get_title() for panel in axes[:3]] == ["step 0", "step 20", "step 1,000"]
    assert [panel.get_ylabel() for panel in axes] == ["DWP", "", "", "Xavier", "", ""]
    half = images_by_step({"dwp": torch.full((1, 4, 28, 28), 0.5)}, [0]).axes[0].images[0]
    assert half.get_clim() == (0, 1)
    assert set(half.get_array().compressed()) == {0.5}


def test_images_have_names_no_longer_than_their_rows():
    figure = images_by_step({"source-kernels": unit(5)}, [0, 20, 100, 200, 1000])
    figure.draw_without_rendering()
    panel = figure.axes[0]
    name = panel.yaxis.label.get_window_extent()
    assert name.height <= panel.get_window_extent().height


def test_mosaic_places_and_scales_tiles():
    tiles = torch.zeros(1, 2, 2, 2)
    tiles[0, 0, 0, 1], tiles[0, 1, 0, 0] = -2.0, 4.0
    for scale, expected in (("tile", -1.0), ("block", -0.5)):
        image = mosaic(tiles, scale)
        left, right = np.split(image, 2, axis=1)
        half = len(left) // 2
        assert np.nanmin(left[:half, half:]) == expected
        assert np.nanmax(right[:half, :half]) == 1.0
        assert np.nanmax(np.abs(left[half:])) == 0.0
        assert np.isnan(left[0]).all()
        np.testing.assert_array_equal(np.isnan(left), np.isnan(left[::-1, ::-1]))


def test_mosaic_of_zero_kernels():
    assert np.nanmax(np.abs(mosaic(torch.zeros(2, 2, 5, 5)))) == 0.0
    with pytest.raises(ValueError, match="scale"):
        mosaic(torch.zeros(1, 1, 2, 2), "row")


def test_kernel_blocks_have_titles_real_first():
    samples = {"dwp": kernels(40, 7), "mine": kernels(3, 7)}
    figure = kernels_beside_samples(kernels(40, 7), samples, tiles=4)
    assert [axes.get_title() for axes in figure.axes] == ["real kernels", "DWP", "mine"]
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(-1, 1)] * 3
    few = figure.axes[2].images[0].get_array().filled(np.nan)
    assert np.isnan(few[len(few) // 4 :]).all(), "three kernels fill part of the first row"
    with pytest.raises(ValueError, match="nothing to draw"):
        kernels_beside_samples(None, {})


def test_latent_tiles_are_centred_on_their_codes():
    grid = torch.zeros(3, 5, 2, 2)
    grid[0, 4] = 1.0  # first coordinate high, second low
    axes = latent_space(grid, (-2, 2, -1, 1)).axes[0]
    image = axes.images[0]
    assert tuple(image.get_extent()) == (-2.5, 2.5, -1.5, 1.5)
    pixels = image.get_array().filled(np.nan)
    rows, columns = np.nonzero(pixels == 1.0)
    left, right, bottom, top = image.get_extent()
    x = left + (columns.mean() + 0.5) / pixels.shape[1] * (right - left)
    y = top - (rows.mean() + 0.5) / pixels.shape[0] * (top - bottom)
    assert (x, y) == (pytest.approx(2), pytest.approx(-1))


def test_traversal_has_a_row_for_each_coordinate_in_one_scale():
    grid = torch.zeros(2, 3, 5, 5)
    grid[0, 2], grid[1, 0] = 4.0, -1.0
    codes = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    (panel,) = latent_traversal(grid, (-2, 0, 2), codes).axes
    assert [text.get_text() for text in panel.get_xticklabels()] == ["-2", "0", "2"]
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == ["$z_{1}$ (sd 0.00)", "$z_{2}$ (sd 1.00)"]
    pixels = panel.images[0].get_array().filled(np.nan)
    for (row, column), value in (((0, 2), 1.0), ((1, 0), -0.25), ((1, 2), 0.0)):
        x, y = panel.get_xticks()[column], panel.get_yticks()[row]
        assert pixels[round(y), round(x)] == value


def test_reconstructions_stand_right_of_their_kernels_in_the_same_scale():
    real, decoded = torch.full((3, 1, 5, 5), 2.0), torch.full((3, 5, 5), -0.5)
    (panel,) = kernels_beside_reconstructions(real, decoded, 2.5, 0.0, rows=2, columns=2).axes
    pixels = panel.images[0].get_array().filled(np.nan)
    row = pixels[len(pixels) // 4]
    half = row[: len(row) // 2]
    found = half[~np.isnan(half)]
    np.testing.assert_array_equal(found, np.repeat([1.0, -0.25], len(found) // 2))
    last = pixels[len(pixels) // 2 :, len(row) // 2 :]
    assert np.isnan(last).all(), "three pairs leave the fourth place empty"
    assert "error 2.5, spread of the real 0" in panel.get_title()


def test_kl_curves_are_in_order_of_the_deviation_in_both_panels(drawn):
    real, noise = drawn["kl"].axes
    assert real.get_title() == "real kernels"
    for panel, base in ((real, 10), (noise, 200)):
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
        first = panel.lines[0]
        assert to_hex(first.get_color()) == look("dwp").colour
        np.testing.assert_allclose(first.get_xdata(), [0.001, 0.03, 1])
        np.testing.assert_allclose(first.get_ydata(), base - 50 * np.log10([0.001, 0.03, 1]))
        band = panel.collections[0].get_paths()[0].vertices[:, 1]
        assert band.max() == pytest.approx(base + 150 + 2)
    labels = [text.get_text() for text in drawn["kl"].legends[0].get_texts()]
    assert labels == ["DWP", "standard normal", "Student t"]


def test_norm_histogram_counts_all_and_tells_the_cut(drawn):
    figure = drawn["norms"]
    (axes,) = figure.axes
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1000)
    assert axes.get_yscale() == "log"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["cut 0.5", "kept 500 of 1,000 (50 %)"]
    few = norm_histogram(torch.linspace(0, 1, 100), 0.5, 11, 13_000)
    assert few.legends[0].get_texts()[1].get_text() == "kept 11 of 13,000 (0.0846 %)"
    released = norm_histogram(torch.linspace(0.5, 1, 100), 0.5, 500, None)
    assert sum(bar.get_height() for bar in released.axes[0].patches) == pytest.approx(500)
    labels = [text.get_text() for text in released.legends[0].get_texts()]
    assert labels == ["least 0.5", "500 released, pruned already"]


def test_markdown_table(tmp_path):
    frame = pd.DataFrame(
        {
            "prior": ["dwp", "a|b"],
            "n": [50, 1000],
            "mean": [0.86749, np.nan],
            "p": [0.00004, 0.5],
            "kl": [12345.6, 1.0],
        }
    )
    to_markdown(frame, tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == (
        "| prior |    n |  mean |       p |    kl |\n"
        "| ----- | ---: | ----: | ------: | ----: |\n"
        "| dwp   |   50 | 0.867 | 4.0e-05 | 12346 |\n"
        "| a\\|b  | 1000 |     – |   0.500 |     1 |\n"
    )


def test_html_table(tmp_path):
    frame = pd.DataFrame({"prior": ["a|b", "<dwp>"], "mean_nll": [0.86749, np.nan]})
    to_be_read(frame, tmp_path / "table.csv")
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    assert '<tr><th>prior</th><th class="number">mean nll</th></tr>' in page
    assert '<tr><td>a|b</td><td class="number">0.867</td></tr>' in page
    assert '<tr><td>&lt;dwp&gt;</td><td class="number">–</td></tr>' in page
    assert "http" not in page
    assert (tmp_path / "table.md").exists()


def half_widths(container) -> list[float]:
    """The lengths of error bars, to one side."""
    (bars,) = container.lines[2]
    return [np.ptp(segment, axis=0).max() / 2 for segment in bars.get_segments()]


def test_error_bars_are_the_intervals():
    table = summary(priors=["dwp"])
    table["interval"] = [0.02, 0.05]
    (panel,) = fewshot(table, "ensemble_accuracy").axes
    assert half_widths(panel.containers[0]) == pytest.approx([0.02, 0.05])
    panels = factorial_figure(pd.concat([table.assign(metric=m) for m in METRICS])).axes
    for panel in panels:
        found = [half_widths(container) for container in panel.containers]
        assert found == [pytest.approx([0.02]), pytest.approx([0.05])]
