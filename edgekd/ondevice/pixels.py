"""From an image file to a model's input pixels.

Training and device both decode here, so that their pixels are exactly the same.
"""

import contextlib
import errno
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Iterator, Literal, Optional, Tuple, Union

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Pixels = np.ndarray[Any, Any]
Rule = Literal["crop", "stretch"]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Formats that every Pillow opens without running another program, as EPS would. MPO, from phones, opens as JPEG."""
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
MAX_PIXELS = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of RGB."""
_LACKS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of the system that are about the machine, not the file."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


# A finding about a file: re-raised as a DataError, or counted as skipped.
class BadImage(ValueError):  # noqa: N818
    """A file that is not an image, is damaged or too large; says why in a few words."""


def read_image(file: Union[str, Path, IO[bytes]], channels: Literal[1, 3]) -> Pixels:
    """The first frame of an image file, rotated as its EXIF data say.

    Transparent pixels are blended over white. 16 bits become 8 by their high byte, so that nothing is clipped. CMYK,
    palettes and 1-bit images become RGB; colour becomes grey by ITU-R 601. Colour profiles are not applied.

    Args:
        file: a path, or a file opened for reading bytes.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8, shape ``(height, width, channels)``.

    Raises:
        BadImage: it cannot be decoded, or has more than ``MAX_PIXELS``.
        MemoryError: this machine lacks the memory, or the open files, to tell.
        ImportError: Pillow is missing.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            # A decompression bomb: the header is read before anything is unpacked. Pillow itself only warns up to twice
            # this limit.
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(f"{image.width} x {image.height} pixels are too many")
            _load(image)
            return _pixels(_in_8_bits(_upright(image)), "RGB" if channels == 3 else "L")
    # A lack of memory says nothing about the file: a good one must not be left out for it.
    except (BadImage, MemoryError):
        raise
    # Pillow's decoders raise every kind of error on damaged files.
    except Exception as error:
        if getattr(error, "errno", None) in _LACKS:
            raise MemoryError(_reason(error)) from None
        raise BadImage(_reason(error)) from None


def fit_image(pixels: Pixels, size: int, rule: Rule) -> Pixels:
    """Make an image the square that a model takes; bilinear, antialiased.

    ``crop``: the middle square is resized to ``with_margin(size)``, and its middle is kept: 7/8 of the shorter side.
    ``stretch``: the whole image becomes the square.

    Args:
        pixels: uint8, shape ``(height, width, channels)``, 1 or 3 channels.
        size: pixels a side.
        rule: ``crop`` or ``stretch``.

    Returns:
        uint8, shape ``(size, size, channels)``.
    """
    if rule == "stretch":
        return stretched(pixels, size)
    larger = square(pixels, with_margin(size))
    start = (len(larger) - size) // 2
    return larger[start : start + size, start : start + size]


def with_margin(size: int) -> int:
    """Side, in pixels, of the square from whose middle the crop is taken.

    >>> with_margin(224)
    256
    """
    # As ImageNet networks are evaluated: on the middle 224 of 256 pixels.
    return round(size * 8 / 7)


def square(pixels: Pixels, size: int) -> Pixels:
    """The middle square of an image, resized to ``size`` by ``size``."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _resized(pixels, size, (left, top, left + side, top + side))


def stretched(pixels: Pixels, size: int) -> Pixels:
    """The whole image, resized to ``size`` by ``size``."""
    return _resized(pixels, size, None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about odd files; the filter is global, so enter this once around all reading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(image: "Picture") -> None:
    try:
        image.load()
    except OSError as error:
        # Pillow 13's decoders report memory that they do not get as an OSError without a number. That for TIFF says the
        # same of sizes that do not fit together, as in a damaged file: there nothing tells the two apart.
        if str(error).startswith("out of memory") and image.format != "TIFF":
            raise MemoryError(str(error)) from None
        raise


def _upright(image: "Picture") -> "Picture":
    from PIL import Image

    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    # With damaged EXIF data the picture itself may be whole.
    except Exception:
        turn = None
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _in_8_bits(image: "Picture") -> "Picture":
    """Reduce 16-bit grey to 8 bits; 16-bit colour Pillow has already reduced to the high byte."""
    from PIL import Image

    if image.mode == "F":
        raise BadImage("its pixels are fractions of an unknown range")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65_535:
        raise BadImage("its pixels have more than 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _pixels(image: "Picture", mode: str) -> Pixels:
    from PIL import Image

    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    found = np.asarray(image.convert(mode))
    return found if found.ndim == 3 else found[..., None]


def _resized(pixels: Pixels, size: int, box: Optional[Tuple[float, float, float, float]]) -> Pixels:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    found = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
    return found if found.ndim == 3 else found[..., None]


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a known image format"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]
