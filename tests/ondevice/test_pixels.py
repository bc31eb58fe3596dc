"""Image files of every kind, and the size a model takes."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from edgekd.ondevice import pixels as decode
from edgekd.ondevice.pixels import BadImage, Pixels, fit_image, middle_of, middle_part, quiet, read_image, with_margin
from edgekd.ondevice.sizes import Size
from tests.data.pictures import BLUE, RED, noise, raw_png

SIDEWAYS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that writes this orientation stores an upright picture."""


def as_file(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def colour_of(file: io.BytesIO) -> tuple[int, ...]:
    """The colour of a picture that has only one."""
    pixels = read_image(file, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[0, 0]).all()
    return tuple(pixels[0, 0].tolist())


def one_colour(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (4, 4), colour)  # type: ignore[arg-type]


def test_a_picture_comes_back_as_it_was_stored() -> None:
    pixels = noise(0)

    assert np.array_equal(read_image(as_file(Image.fromarray(pixels), "PNG"), 3), pixels)


def test_grey_is_brightness_by_itu_r_601() -> None:
    pixels = noise(0)

    found = read_image(as_file(Image.fromarray(pixels), "PNG"), 1)

    assert found.shape == (20, 24, 1)
    assert np.abs(found[..., 0] - pixels @ np.array([0.299, 0.587, 0.114])).max() <= 1


@pytest.mark.parametrize(
    ("image", "kind", "wanted"),
    [
        (one_colour("L", 90), "PNG", (90, 90, 90)),
        (one_colour("1", 1), "PNG", (255, 255, 255)),
        (one_colour("RGBA", (*RED, 0)), "PNG", (255, 255, 255)),
        (one_colour("RGBA", (*RED, 255)), "WEBP", RED),
        (one_colour("RGBA", (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (one_colour("LA", (0, 51)), "PNG", (204, 204, 204)),
        (one_colour("CMYK", (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (one_colour("RGB", BLUE).quantize(4), "GIF", BLUE),
        (one_colour("I;16", 257 * 100), "PNG", (100, 100, 100)),
        (one_colour("I;16", 65_535), "TIFF", (255, 255, 255)),
        (one_colour("I;16B", 257 * 100), "TIFF", (100, 100, 100)),
        (one_colour("I", 257 * 100), "PPM", (100, 100, 100)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_kind_of_pixel_becomes_rgb(image: Image.Image, kind: str, wanted: tuple[int, ...]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}

    assert colour_of(as_file(image, kind, **options)) == wanted


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    file = as_file(one_colour("CMYK", (0, 255, 255, 0)), "JPEG", quality=100)

    assert np.abs(np.array(colour_of(file)) - (255, 0, 0)).max() < 8


def test_sixteen_bits_of_colour_are_scaled_not_clipped() -> None:
    samples = np.array([[1, 100, 255]], ">u2") * np.array(257, ">u2")

    file = io.BytesIO(raw_png(1, 1, 16, 2, b"\0" + samples.astype(">u2").tobytes()))

    assert colour_of(file) == (1, 100, 255)


def test_sixteen_bits_of_grey_keep_their_order() -> None:
    ramp = np.arange(0, 65_536, 256, dtype=np.uint16).reshape(16, 16)

    found = read_image(as_file(Image.fromarray(ramp), "PNG"), 1)

    assert found.ravel().tolist() == list(range(256))


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one colour", "by colour"])
def test_transparent_colours_of_a_palette_lie_over_white(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 1), 1)

    found = read_image(as_file(image, "PNG", transparency=transparency), 3)

    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == list(BLUE)


def test_a_transparent_colour_of_an_rgb_picture_lies_over_white() -> None:
    assert colour_of(as_file(one_colour("RGB", RED), "PNG", transparency=RED)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", SIDEWAYS)
def test_a_picture_stands_upright_as_its_camera_says(orientation: int, kind: str) -> None:
    upright = Image.fromarray(noise(0))
    turn, exif = SIDEWAYS[orientation], Image.Exif()
    exif[0x0112] = orientation
    stored = upright if turn is None else upright.transpose(turn)
    options = {"lossless": True} if kind == "WEBP" else {}

    found = read_image(as_file(stored, kind, exif=exif, **options), 3)

    assert np.array_equal(found, np.asarray(upright))


def test_damaged_exif_data_do_not_cost_the_picture() -> None:
    file = as_file(Image.fromarray(noise(0)), "PNG", exif=b"Exif\0\0no TIFF header at all")

    assert read_image(file, 3).shape == (20, 24, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_read(kind: str) -> None:
    first, second = (one_colour("RGB", colour) for colour in (RED, BLUE))
    options = {"lossless": True} if kind == "WEBP" else {}

    assert colour_of(as_file(first, kind, save_all=True, append_images=[second], **options)) == RED


def whole(kind: str = "JPEG") -> bytes:
    return as_file(Image.fromarray(noise(0, 64, 64)), kind).getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a known image format"),
        (b"not an image", "not a known image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a known image format"),
        (whole()[: len(whole()) // 2], "truncated"),
        (whole("PNG")[:200], "truncated"),
        (whole("BMP")[:200], "truncated"),
        (raw_png(10_000, 10_000, 8, 0, b""), "10000 x 10000 pixels are too many"),
        (raw_png(60_000, 60_000, 8, 0, b""), "exceeds limit"),
        (as_file(one_colour("F", 0.5), "TIFF").getvalue(), "fractions"),
        (as_file(one_colour("I", 70_000), "TIFF").getvalue(), "more than 16 bits"),
        (as_file(one_colour("I", -1), "TIFF").getvalue(), "more than 16 bits"),
    ],
)
def test_what_is_no_image_is_told_in_one_line(content: bytes, reason: str) -> None:
    with quiet(), pytest.raises(BadImage, match=reason) as caught:
        read_image(io.BytesIO(content), 3)

    assert "\n" not in str(caught.value)


SHORT = """
import io, resource, sys
from PIL import Image
from edgekd.ondevice.pixels import BadImage, read_image
Image.init()
content = io.BytesIO(sys.stdin.buffer.read())
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    print(read_image(content, 3).shape)
except (BadImage, MemoryError) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "PPM"])
def test_an_image_that_is_good_but_larger_than_the_memory_is_not_called_bad(kind: str) -> None:
    content = as_file(Image.new("L", (6000, 6000)), kind).getvalue()

    said = [
        subprocess.run([sys.executable, "-c", SHORT, str(room)], input=content, capture_output=True, check=True).stdout
        for room in (1_000_000_000, 150_000_000, 60_000_000, 10_000_000)
    ]

    assert said[0] == b"(6000, 6000, 3)\n"
    assert said[-1] == b"MemoryError\n"
    assert set(said) == {said[0], said[-1]}


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory when reading image file"), OSError(24, "Too many open files")]
)
def test_what_the_machine_lacks_says_nothing_about_an_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(image: ImageFile.ImageFile) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", failing)

    with pytest.raises(MemoryError):
        read_image(io.BytesIO(whole("BMP")), 3)


def test_an_orientation_that_cannot_be_read_for_lack_of_memory_is_not_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "getexif", failing)

    with pytest.raises(MemoryError):
        read_image(io.BytesIO(whole("BMP")), 3)


def test_random_damage_never_escapes_as_another_error() -> None:
    random = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        for _ in range(60):
            content = bytearray(whole(kind))
            for place in random.integers(0, len(content), 12):
                content[place] = random.integers(0, 256)
            with quiet():
                try:
                    assert read_image(io.BytesIO(bytes(content)), 3).shape[2] == 3
                except BadImage as error:
                    assert str(error)  # noqa: PT017  (either outcome is right)


def test_a_square_of_seven_eighths_of_the_shorter_side_is_kept() -> None:
    pixels = np.zeros((80, 160, 3), np.uint8)
    pixels[5:75, 45:115] = 255

    assert fit_image(pixels, 70, "crop").min() == 255
    assert fit_image(pixels[:, 40:120], 70, "crop").min() == 255
    assert fit_image(pixels, 75, "crop").min() < 255


def test_what_lies_beside_the_middle_square_makes_no_difference() -> None:
    one, other = noise(0, 40, 90), noise(1, 40, 90)
    other[:, 25:65] = one[:, 25:65]

    assert np.array_equal(fit_image(one, 14, "crop"), fit_image(other, 14, "crop"))


def test_a_training_image_s_middle_is_what_a_device_sees() -> None:
    sizes: list[tuple[Size, tuple[int, int]]] = [
        (8, (33, 50)), (13, (50, 33)), (32, (31, 31)), (224, (300, 301)), ((12, 20), (50, 33)), ((49, 10), (60, 60)),
    ]  # fmt: skip
    for number, (size, shape) in enumerate(sizes):
        pixels = noise(number, *shape)

        kept = middle_of(middle_part(pixels, with_margin(size))[None], size)[0]

        assert np.array_equal(fit_image(pixels, size, "crop"), kept)


def test_seven_eighths_of_the_largest_part_of_the_wanted_shape_are_kept() -> None:
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[45:115, 10:150] = 255  # 7/8 of the middle 80 x 160

    assert fit_image(pixels, (70, 140), "crop").min() == 255
    assert fit_image(pixels[40:120], (70, 140), "crop").min() == 255
    assert fit_image(pixels.transpose(1, 0, 2), (140, 70), "crop").min() == 255
    assert fit_image(pixels, (70, 130), "crop").min() < 255


def test_a_picture_of_the_wanted_shape_is_kept_to_its_borders() -> None:
    pixels = noise(0, 110, 183)

    assert np.array_equal(middle_part(pixels, (110, 183)), pixels)


def test_stretching_uses_the_whole_picture() -> None:
    pixels = np.zeros((10, 40, 1), np.uint8)
    pixels[:, 20:] = 200

    found = fit_image(pixels, 10, "stretch")[0, :, 0].tolist()

    assert found[:4] + found[6:] == [0] * 4 + [200] * 4
    assert 0 < found[4] < 100 < found[5] < 200  # the bilinear kernel reaches over the edge


def test_shrinking_averages_so_that_fine_patterns_become_grey() -> None:
    stripes = np.zeros((128, 128, 1), np.uint8)
    stripes[:, ::2] = 255

    found = fit_image(stripes, 8, "crop").astype(int)

    assert np.abs(found - 127).max() <= 4  # the kernel is cut at the picture's edge


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 9)])
@pytest.mark.parametrize("rule", ["crop", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_shape_are_brought_to_size(shape: tuple[int, int], rule: decode.Rule, channels: int) -> None:
    found = fit_image(noise(0, *shape, channels), (16, 24), rule)

    assert fit_image(noise(0, *shape, channels), 16, rule).shape == (16, 16, channels)
    assert found.shape == (16, 24, channels)
    assert found.dtype == np.uint8


def test_a_path_is_read_as_well_as_an_open_file(tmp_path: Path) -> None:
    pixels: Pixels = noise(3)
    Image.fromarray(pixels).save(tmp_path / "a b.png")

    assert np.array_equal(read_image(tmp_path / "a b.png", 3), pixels)
    assert np.array_equal(read_image(str(tmp_path / "a b.png"), 3), pixels)
