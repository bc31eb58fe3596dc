"""From an image file to a model's input pixels.

Training and device both decode here, so that their pixels are exactly the same.
"""

import contextlib
import errno
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Iterator, Literal, Optional, Tuple, Union

import numpy as np

from edgekd.ondevice.sizes import Size, sides, size_of

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


def fit_image(pixels: Pixels, size: Size, rule: Rule) -> Pixels:
    """Make an image the size that a model takes; bilinear, antialiased.

    ``crop``: the largest part in the middle that has the wanted shape is resized to ``with_margin(size)``, and its
    middle is kept: 7/8 of its height and of its width.
    ``stretch``: the whole image is resized, whatever its shape.

    Args:
        pixels: uint8, shape ``(height, width, channels)``, 1 or 3 channels.
        size: of the result.
        rule: ``crop`` or ``stretch``.

    Returns:
        uint8, shape ``(height, width, channels)`` of that size.
    """
    if rule == "stretch":
        return _resized(pixels, size, None)
    found: Pixels = middle_of(middle_part(pixels, with_margin(size))[None], size)[0]
    return found


def with_margin(size: Size) -> Size:
    """Size of the picture from whose middle the crop is taken.

    >>> with_margin(224), with_margin((96, 160))
    (256, (110, 183))
    """
    # As ImageNet networks are evaluated: on the middle 224 of 256 pixels.
    height, width = (round(side * 8 / 7) for side in sides(size))
    return size_of(height, width)


def middle_part(pixels: Pixels, size: Size) -> Pixels:
    """The largest part in the middle of an image that has the shape of ``size``, resized to it."""
    height, width = pixels.shape[:2]
    high, wide = sides(size)
    # Whole numbers are compared, so that an image of exactly this shape is kept to its borders.
    narrow = height * wide > width * high
    high, wide = (width * high / wide, width) if narrow else (height, height * wide / high)
    left, top = (width - wide) / 2, (height - high) / 2
    return _resized(pixels, size, (left, top, left + wide, top + high))


def middle_of(images: Pixels, size: Size) -> Pixels:
    """The middle of images, shape ``(count, height, width, channels)``, of a size that is no larger."""
    high, wide = sides(size)
    top, left = (images.shape[1] - high) // 2, (images.shape[2] - wide) // 2
    return images[:, top : top + high, left : left + wide]


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


def _resized(pixels: Pixels, size: Size, box: Optional[Tuple[float, float, float, float]]) -> Pixels:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    height, width = sides(size)
    found = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box))
    return found if found.ndim == 3 else found[..., None]


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a known image format"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]
