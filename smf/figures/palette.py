"""Pictures in 256 colours: as many pixels in a fraction of the bytes."""

import io

from PIL import Image


def with_a_palette(png: bytes) -> bytes:
    """A PNG with at most 256 colours; what is drawn here has few, but for the edges of letters."""
    with Image.open(io.BytesIO(png)) as figure:
        small = figure.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    found = io.BytesIO()
    small.save(found, "PNG", optimize=True)
    return found.getvalue()
