"""A folder as people have them, from its odd files to the report."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from edgekd import Pipeline
from edgekd.report.schema import Report
from edgekd.report.terminal import render_table
from tests.brief import plots_as_users_have_them
from tests.chain import write_pipeline
from tests.data.pictures import noise

pytestmark = pytest.mark.slow

YAML = """
    name: messy
    data: {name: folder, root: ROOT, cache: CACHE, image_size: 16, on_bad_image: skip}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: resnet8, epochs: 2, batch_size: 16}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: distill, epochs: 1, batch_size: 16}
      - {stage: qat, epochs: 1, batch_size: 16}
      - {stage: export}
    budget: {accuracy_drop: 1.0, size_ratio: 1.0}
"""
HOSTILE = "<b>\x1b[31mrot\u202e"
CLASSES = {HOSTILE: (200, 40, 40), "緑 の 葉": (40, 200, 40), "blå": (40, 40, 200)}
MODES = ("RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "L")


def picture(colour: tuple[int, int, int], seed: int, mode: str) -> Image.Image:
    """Noise about a colour, of any size, in a mode."""
    pixels = noise(seed, 16 + seed % 9, 30 - seed % 11) // 6 + np.array(colour, np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def fill(root: Path) -> None:
    """24 training and 8 test images of each class in every mode and format, and everything else that lies about."""
    for name, colour in CLASSES.items():
        for part, count in (("train", 24), ("test", 8)):
            if (part, name) == ("test", "blå"):
                continue
            (root / part / name / "nested").mkdir(parents=True)
            for number in range(count):
                mode = MODES[number % len(MODES)]
                kind = {"CMYK": "jpg", "P": "gif", "I;16": "png", "1": "tiff", "L": "bmp"}.get(mode, "webp")
                seed = number + 1000 * (part == "test") + 100 * list(CLASSES).index(name)
                file = root / part / name / ("nested" if number % 2 else "") / f"{mode} {number}.{kind}"
                picture(colour, seed, "RGBA" if mode == "LA" else mode).save(file)
    copied = root / "train" / "緑 の 葉" / "RGB 0.webp"
    (root / "test" / "緑 の 葉" / "copy.webp").write_bytes(copied.read_bytes())
    (root / "train" / "blå" / "bad\x1b.png").write_bytes(b"")
    (root / "train" / "blå" / "cut.webp").write_bytes(copied.read_bytes()[:50])
    (root / "train" / "blå" / ".DS_Store").write_bytes(b"junk")
    (root / "train" / "blå" / "notes.txt").write_bytes(b"text")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("messy")
    fill(folder / "images")
    text = YAML.replace("ROOT", str(folder / "images")).replace("CACHE", str(folder / "cache"))
    with plots_as_users_have_them():
        report = Pipeline.from_yaml(write_pipeline(folder, text)).run(folder / "models", folder / "exports")
    assert report is not None
    return folder, report


def test_the_report_tells_what_was_odd(ran: tuple[Path, Report]) -> None:
    _, report = ran

    ignored, skipped, *others = report.notes
    assert ignored == "1 file that is not an image was ignored: train/blå/notes.txt"
    assert skipped.startswith("2 images could not be read and were skipped: train/blå/")
    assert "bad\\x1b.png" in skipped
    assert others[:2] == [
        "1 of 17 test images is also in train",
        "1 class has no test image: blå",
    ]
    assert report.data.test == 17
    assert report.data.train + report.data.val == 72
    assert report.models[0].per_class_accuracy[report.data.class_names.index("blå")] is None


def test_the_chain_ends_with_an_integer_file_that_learned_something(ran: tuple[Path, Report]) -> None:
    _, report = ran

    names = [model.id for model in report.models]
    assert names[:3] == ["teacher", "prune", "distill"]
    assert names[3:] in (["qat", "qat.ptq"], ["qat.ptq"])
    assert report.models[0].accuracy > 0.6


def test_names_do_no_harm_in_the_page_and_in_the_terminal(ran: tuple[Path, Report]) -> None:
    folder, report = ran
    page = (folder / "exports" / "messy" / "report.html").read_text(encoding="utf-8")
    out = io.StringIO()
    Console(file=out, width=200, markup=False).print(render_table(report))

    assert HOSTILE in report.data.class_names
    assert "緑 の 葉" in page
    for text in (page, out.getvalue()):
        assert "<b>\x1b" not in text
        assert not {"\x1b", "\u202e"} & set(text)


def test_a_second_run_finds_everything_up_to_date(ran: tuple[Path, Report]) -> None:
    folder, _ = ran

    plan = Pipeline.from_yaml(folder / "small.yaml").plan(folder / "models")

    assert all(planned.artifact is not None for planned in plan)
