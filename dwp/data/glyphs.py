"""Letters A to J drawn with the fonts that come with matplotlib: a source set without download."""

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dwp.data.images import ImageDataset
from dwp.seeds import generator

LETTERS = tuple("ABCDEFGHIJ")

# Those of matplotlib's fonts that hold the letters as plain letters.
FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmmi10", "cmss10", "cmti10", "cmtt10"),
)

_FINE = 3  # pictures are drawn this many times larger, then averaged: antialiasing
_FONT_SIZE = 96
_STROKES = 5  # widths 0 .. 4, in pixels of the fine glyph


class Glyphs(ImageDataset):
    """Letters in random font, size, proportion, position, slant and stroke, light on dark.

    4,000 train and 1,000 test images, the same as long as Pillow and matplotlib stay the same.
    Classes are equally frequent, up to one image.

    Args:
        root: not used; the letters are drawn.
        train: which part; the parts are drawn with unrelated seeds.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used.
    """

    image_shape = (1, 28, 28)
    classes = LETTERS

    def _read(self, train: bool, download: bool) -> None:
        part, size = ("train", 4000) if train else ("test", 1000)
        draw = generator("glyphs", part, 0)
        labels = torch.arange(size) % len(LETTERS)
        self.targets = labels[torch.randperm(size, generator=draw)]
        styles = torch.rand(size, 7, generator=draw, dtype=torch.float64).tolist()
        drawn = zip(self.targets.tolist(), styles, strict=True)
        self.data = [_picture(LETTERS[label], style) for label, style in drawn]


@functools.cache
def _glyph(letter: str, font: str, stroke: int) -> Image.Image:
    """Return the letter cropped to its ink, mode "L", at a fine size."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    # The basic layout engine, because the other one may or may not be there.
    face = ImageFont.truetype(path, _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    canvas = Image.new("L", (3 * _FONT_SIZE, 3 * _FONT_SIZE))
    inside = _FONT_SIZE, _FONT_SIZE
    ImageDraw.Draw(canvas).text(inside, letter, 255, face, stroke_width=stroke)
    return canvas.crop(canvas.getbbox())


def _picture(letter: str, style: Sequence[float]) -> np.ndarray:
    """Draw one letter, uint8 (28, 28); its style as numbers in [0, 1)."""
    font, stroke, size, proportion, slant, across, down = style
    glyph = _glyph(letter, FONTS[int(font * len(FONTS))], int(stroke * _STROKES))
    side = 28 * _FINE
    shear = 0.5 * slant - 0.25
    height = (0.82 + 0.18 * size) * side
    width = min(height * glyph.width / glyph.height * (0.8 + 0.6 * proportion), side)
    # A slanted box is wider than the letter: make both fit.
    fit = min(1.0, side / (width + abs(shear) * height))
    width, height = width * fit, height * fit
    left = across * (side - width - abs(shear) * height) + max(shear, 0) * height
    top = down * (side - height)
    scale_x, scale_y = glyph.width / width, glyph.height / height
    # Maps a point of the picture back to the glyph, whose rows move left as they go down.
    across_row = (scale_x, scale_x * shear, -scale_x * (left + shear * top))
    back = (*across_row, 0.0, scale_y, -scale_y * top)
    fine = glyph.transform((side, side), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    return np.asarray(fine.reduce(_FINE))
