"""Readers of compressed data that stop before it fills the memory."""

import gzip
import io
from pathlib import Path

import numpy as np
from PIL import Image

from dwp.errors import UserError

MOST_BYTES = 2**29
"""The most decompressed content that is read of one file: more than any known data set has."""


class Bounded(io.RawIOBase):
    """A gzipped file as a stream of its content, up to `MOST_BYTES`.

    A few megabytes of gzip can hold terabytes: what asks for more than the limit, at once or in
    parts, is refused before it is decompressed.

    Args:
        path: the file.

    Raises:
        UserError: from `read`, when there is more.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = path
        self.file = gzip.GzipFile(path)
        self.left = MOST_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise UserError(
                f"{self.path}: expected at most {MOST_BYTES} bytes when decompressed, found more; "
                "get it again"
            )
        return content

    def close(self) -> None:
        self.file.close()
        super().close()


def decode(content: bytes, form: str, size: tuple[int, int], mode: str | None) -> np.ndarray:
    """Return the pixels, uint8 (height, width) or (height, width, 3), of an image.

    Its size is looked at before its pixels are decompressed.

    Args:
        content: of the image's file.
        form: "PNG" or "JPEG"; no other reader of Pillow is tried.
        size: the width and height that it must have.
        mode: Pillow's mode that it must have; None: any, turned into grey.

    Raises:
        ValueError: it cannot be read; the message says what was found.
        LookupError: another size or mode; the message says which.
    """
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the size is checked right here
    try:
        with Image.open(io.BytesIO(content), formats=[form]) as image:
            if image.size != size or mode not in (None, image.mode):
                raise LookupError(f"{image.width}x{image.height} {image.mode}")
            return np.array(image if mode else image.convert("L"))
    except LookupError:
        raise
    except Exception as error:  # a damaged image can make its reader raise almost anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    finally:
        Image.MAX_IMAGE_PIXELS = most
