"""Damaged and hostile files by the hundred, and a process that tries them; started as ``python -m tests.hostile``."""

import copy
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any, NamedTuple

import yaml

from tests.test_fuzz_yaml import (
    ODD_KEYS,
    ODD_TEXT,
    ODD_VALUES,
    TEXT,
    Edit,
    PlainDumper,
    assert_printable,
    edit_tree,
    edited_text,
)

ROOT = Path(__file__).parent.parent
PATHS = """
name: paths
data: {name: folder, root: IMAGES, cache: CACHE, image_size: 8, cache_gb: 1}
stages:
  - {stage: teacher, model: resnet8, weights: "WEIGHTS", normalization: edgekd, epochs: 0}
  - {stage: export}
"""
ODD_PATHS = [
    "~nosuchuser/x", "a" * 300, "a/" * 3000, '"a\\0b"', '"\\ud800"', "/dev/zero", "/dev/null/x", "/proc/self/mem",
    '"\\e[2J"', "x\u202ey", "''", "-", "~", "COM1", "緑/葉.pt",
]  # fmt: skip
LENGTHS = [0, 1, 2**7, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]
LARGEST_SIZE = 64
"""Pixels a side up to which a plan is made of a pipeline that passes the check."""


class Case(NamedTuple):
    """A hostile file: how it came about, its ending, what is in it."""

    made: str
    ending: str
    content: bytes


class Outcome(NamedTuple):
    """What became of a case: fine, refused, or one of the failures: traceback, unprintable, crash, hang, code run."""

    kind: str
    words: str


FAILURES = ("traceback", "unprintable", "crash", "hang", "code run")


# ---- making


class Bomb:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def yaml_cases(count: int, seed: int, folder: Path) -> Iterator[Case]:
    """Mutated pipeline files; some carry code that would make ``folder / "canary"``."""
    draw = random.Random(seed)
    paths = PATHS.replace("IMAGES", str(folder / "images")).replace("CACHE", str(folder / "cache"))
    paths = paths.replace("WEIGHTS", str(folder / "seed.pt"))
    fixed = list(_large_and_coded(folder / "canary"))[: count // 6]  # a short run leaves out the slowest, at the end
    for number in range(count):
        if number < len(fixed):
            yield Case("made by hand", ".yaml", fixed[number].encode())
            continue
        made = draw.choice([_text_edited, _tree_edited, _path_edited])
        text = made(draw, draw.choice([TEXT, paths]))
        yield Case(made.__name__.strip("_"), ".yaml", text.encode("utf-8", "surrogatepass"))


def _large_and_coded(canary: Path) -> Iterator[str]:
    for tag in ("!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir"):
        yield f"{tag} ['{canary}']"
        yield TEXT.replace("name: small", f"name: {tag} ['{canary}']")
        yield TEXT.replace("small", f"small\n{tag} ['{canary}']: 1")
    yield "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{f'*{chr(97 + i)},' * 9}]\n" for i in range(9))
    for text in ("[", "{a: ", "- ", "? ", "{", "[[],"):
        yield text * (10_000_000 // len(text))
        yield text * (99_000 // len(text))
    yield "name: [" + "1," * 49_000 + "]"
    yield "name: a\nstages: [" + "{}," * 33_000 + "]"
    yield "".join(f"k{i}: 1\n" for i in range(9_000))
    yield '"' + "\\u0041" * 16_000 + '": 1'


def _text_edited(draw: random.Random, text: str) -> str:
    kinds = ["delete", "insert", "replace", "value", "swap lines", "double line"]
    for _ in range(draw.randint(1, 4)):
        odd = draw.choice(ODD_TEXT) if draw.random() < 0.7 else chr(draw.randrange(0x110000))
        text = edited_text(text, Edit(draw.choice(kinds), draw.randrange(len(text) + 1), draw.randint(0, 20), odd))
    return text


def _tree_edited(draw: random.Random, text: str) -> str:
    tree = copy.deepcopy(yaml.safe_load(text))
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(["replace", "append", "delete", "rename"])
        odd = draw.choice(ODD_KEYS if kind == "rename" else ODD_VALUES)
        edit_tree(tree, Edit(kind, draw.randrange(100), draw.randrange(100), odd))
    found: str = yaml.dump(tree, Dumper=PlainDumper)
    return found


def _path_edited(draw: random.Random, text: str) -> str:
    key = draw.choice(["root: ", "cache: ", "weights: ", "name: ", "model: "])
    at = text.find(key)
    if at < 0:
        return text
    return edited_text(text, Edit("value", at, 0, draw.choice(ODD_PATHS)))


def file_cases(count: int, seed: int, folder: Path) -> Iterator[Case]:
    """Mutated weights, ONNX files and images in turn; some carry code or name files elsewhere."""
    draw = random.Random(seed)
    seeds = [*_weights(), *_onnx(folder), *_images()]
    fixed = [*_bombs(folder / "canary"), *_lying_safetensors(), *_elsewhere(folder)]
    for number in range(count):
        if number < len(fixed):
            yield fixed[number]
            continue
        ending, content = seeds[number % len(seeds)]
        made = draw.choice([_flipped, _cut, _lengths, _spliced, *([_inner] if content[:2] == b"PK" else [])])
        yield Case(made.__name__.strip("_"), ending, made(draw, content))


def _weights() -> Iterator[tuple[str, bytes]]:
    import torch
    from safetensors.torch import save

    state = network().state_dict()
    for wrapped, new in ((state, True), ({"epoch": 3, "state_dict": state}, True), (state, False)):
        file = io.BytesIO()
        torch.save(wrapped, file, _use_new_zipfile_serialization=new)
        yield ".pt", file.getvalue()
    yield ".safetensors", save(state)


def _onnx(folder: Path) -> Iterator[tuple[str, bytes]]:
    from edgekd.onnx_export import export_onnx
    from edgekd.quantization import float_graph
    from tests.tiny import SPEC, tiny_convnet

    export_onnx(float_graph(tiny_convnet(8), SPEC), SPEC, folder / "seed.onnx")
    yield ".onnx", (folder / "seed.onnx").read_bytes()


def _images() -> Iterator[tuple[str, bytes]]:
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    for kind, ending in (("PNG", ".png"), ("JPEG", ".jpg"), ("GIF", ".gif"), ("WEBP", ".webp"), ("TIFF", ".tif")):
        file = io.BytesIO()
        picture.save(file, kind)
        yield ending, file.getvalue()


def _bombs(canary: Path) -> Iterator[Case]:
    import torch

    bomb = Bomb(canary)
    for form in ({"weight": bomb}, bomb, {"state_dict": {"weight": bomb}}, [bomb]):
        for new in (True, False):
            file = io.BytesIO()
            torch.save(form, file, _use_new_zipfile_serialization=new)
            yield Case("a bomb", ".pt", file.getvalue())
            yield Case("a bomb under another ending", ".safetensors", file.getvalue())
        yield Case("a plain pickle", ".pt", pickle.dumps(form))
    yield Case("code as text", ".pt", f"cos\nmkdir\n(S'{canary}'\ntR.".encode())


def _lying_safetensors() -> Iterator[Case]:
    whole = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    headers: list[Any] = [
        {"a": whole, "b": {**whole, "data_offsets": [4, 12]}},
        {"a": {**whole, "data_offsets": [0, 2**40]}},
        {"a": {**whole, "data_offsets": [8, 0]}},
        {"a": {**whole, "shape": [2**62, 2**62]}},
        {"a": {**whole, "shape": [-2]}},
        {"a": {**whole, "dtype": "F64"}},
        {"a": {**whole, "dtype": "PICKLE"}},
        {"a": {**whole, "dtype": "F8_E8M0", "shape": [8]}},
        {"a": 3}, [], "x", None, {"__metadata__": {"x": 1}},
    ]  # fmt: skip
    for header in headers:
        yield Case("a lying header", ".safetensors", safetensors_file(json.dumps(header).encode()))
    yield Case("a deep header", ".safetensors", safetensors_file(b'{"a":' * 9000))
    for length in LENGTHS:
        yield Case("a lying length", ".safetensors", struct.pack("<Q", length) + b"{}" + bytes(16))


def safetensors_file(header: bytes, data: bytes = bytes(12)) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _elsewhere(folder: Path) -> Iterator[Case]:
    """ONNX files whose weights lie in other files."""
    (folder / "secret").write_bytes(bytes(4096))
    for place in ("secret", "../secret", str(folder / "secret"), "/etc/passwd", "", "/dev/zero"):
        for hidden in (False, True):
            yield Case(f"weights in {place!r}", ".onnx", external_onnx(place, hidden))


def external_onnx(place: str, hidden: bool) -> bytes:
    """A model with a weight in another file; ``hidden``: in the branch of a condition."""
    from onnx import TensorProto, helper

    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=place)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    flag = helper.make_tensor_value_info("x", TensorProto.BOOL, [])
    same = helper.make_node("Identity", ["w"], ["y"])
    inner = helper.make_graph([same], "g", [], [result], [weight])
    choice = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([choice], "g", [flag], [result]) if hidden else None
    graph = graph or helper.make_graph([same], "g", [], [result], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def _flipped(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 3, 30])):
        changed[draw.randrange(min(len(changed), draw.choice([100, 10**9])))] = draw.randrange(256)
    return bytes(changed)


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def _lengths(draw: random.Random, content: bytes) -> bytes:
    """A number of the file replaced by one that is too large, or by none."""
    size, at = draw.choice([1, 2, 4, 8]), draw.randrange(min(len(content), draw.choice([64, 4096])))
    number = struct.pack(f"{draw.choice('<>')}{'.BH.I...Q'[size]}", draw.choice(LENGTHS) % 256**size)
    return content[:at] + number + content[at + size :]


def _spliced(draw: random.Random, content: bytes) -> bytes:
    start, end = sorted(draw.randrange(len(content)) for _ in range(2))
    at = draw.randrange(len(content))
    return content[:at] + content[start:end] + content[at + draw.randrange(100) :]


def _inner(draw: random.Random, content: bytes) -> bytes:
    """A part of the archive damaged, and the archive put together again so that its checksums hold."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w") as new:
        chosen = draw.choice([item.filename for item in old.infolist() if item.file_size])
        for item in old.infolist():
            part = old.read(item)
            damage = draw.choice([_flipped, _lengths, _spliced])
            new.writestr(item.filename, damage(draw, part) if item.filename == chosen else part)
    return changed.getvalue()


# ---- trying


def network() -> Any:
    import torch

    from edgekd.zoo import ModelSpec, build

    torch.manual_seed(0)
    return build(ModelSpec(name="resnet8", num_classes=3, in_channels=3, image_size=16, width_mult=0.25)).eval()


def try_yaml(path: Path) -> None:
    from edgekd import Pipeline
    from edgekd.data import Digits, Folder
    from edgekd.ondevice.sizes import sides

    pipeline = Pipeline.from_yaml(path)
    data = pipeline.data
    if max(sides(data.image_size)) > LARGEST_SIZE or not isinstance(data, Digits | Folder):
        return
    cache = Path(data.cache or "").expanduser() if isinstance(data, Folder) else path.parent
    if cache.resolve().is_relative_to(path.parent.resolve()):  # a damaged path may lie anywhere
        pipeline.plan(path.parent / "models")


def try_weights(path: Path) -> None:
    from edgekd.zoo import ModelSpec
    from edgekd.zoo.weights import EDGEKD_PIXELS, give_weights, read_weights

    spec = ModelSpec(name="resnet8", num_classes=3, in_channels=3, image_size=16, width_mult=0.25)
    give_weights(network(), spec, read_weights(path), EDGEKD_PIXELS)


def try_onnx(path: Path) -> None:
    import numpy as np

    from edgekd.bundle.untrusted import check_untrusted
    from edgekd.onnx_export import ort

    ort.predict(ort.session(check_untrusted(path)), np.zeros((2, 8, 8, 1), np.uint8))


def try_image(path: Path) -> None:
    from edgekd.errors import DataError
    from edgekd.ondevice.pixels import BadImage, fit_image, quiet, read_image

    with quiet():
        try:
            fit_image(read_image(path, 3), 16, "crop")
        except BadImage as error:
            raise DataError(str(path), str(error)) from None


TRIED: dict[str, Callable[[Path], None]] = {
    ".yaml": try_yaml,
    ".pt": try_weights,
    ".safetensors": try_weights,
    ".onnx": try_onnx,
}


def try_file(path: Path) -> Outcome:
    """Use a file as edgekd would."""
    from edgekd.errors import ConfigError, EdgekdError

    try:
        TRIED.get(path.suffix, try_image)(path)
    except EdgekdError as error:
        lines = error.lines if isinstance(error, ConfigError) else [str(error)]
        try:
            assert_printable(lines)
        except AssertionError:
            return Outcome("unprintable", repr(lines))
        return Outcome("refused", lines[0])
    except BaseException as error:
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    return Outcome("fine", "")


class Trier:
    """A process that tries one file after another; one that crashes or hangs is replaced.

    Args:
        seconds: that one file may take.
        canary: what exists only if code was run.
    """

    def __init__(self, seconds: float, canary: Path) -> None:
        self._seconds, self._canary, self._folder = seconds, canary, canary.parent
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[str] = Queue()
        self._start()

    def __call__(self, path: Path) -> Outcome:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        try:
            answer = self._answers.get(timeout=self._seconds)
        except Empty:
            self.close()
            return Outcome("hang", f"not done after {self._seconds:.0f} s")
        if not answer:
            self.close()
            return Outcome("crash", f"the process ended with {process.returncode}")
        return Outcome("code run", "") if self._canary.exists() else Outcome(*json.loads(answer))

    def close(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.hostile"]
        here = str(self._folder)  # relative paths, the home folder and the cache of the files all lie in it
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": here, "XDG_CACHE_HOME": here}
        process = subprocess.Popen(
            command, cwd=here, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        self._process, self._answers = process, Queue()
        self._reader = Thread(target=_pass_on, args=(process.stdout, self._answers), daemon=True)
        self._reader.start()
        assert self._answers.get(timeout=120) == "ready\n"
        return process


def _pass_on(lines: IO[str], answers: "Queue[str]") -> None:
    """Every line, and an empty one at the end."""
    for line in lines:
        answers.put(line)
    answers.put("")


def tried(cases: Iterator[Case], folder: Path, seconds: float) -> Iterator[tuple[Case, Outcome, float]]:
    """Every case written to a file in ``folder`` and tried: what became of it and how many seconds it took."""
    trier = Trier(seconds, folder / "canary")
    try:
        for number, case in enumerate(cases):
            path = folder / f"{number:05d}{case.ending}"
            path.write_bytes(case.content)
            begun = time.monotonic()
            yield case, trier(path), time.monotonic() - begun
            path.unlink()
    finally:
        trier.close()


def fill(folder: Path) -> None:
    """Weights and images that the pipeline files name."""
    from PIL import Image

    for label in ("a", "b"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(8):
            Image.effect_noise((12, 12), 99).save(folder / "images" / label / f"{number}.png")
    (folder / "seed.pt").write_bytes(next(_weights())[1])


def _answer() -> None:
    """Try the files that are named on standard input, and say what became of them."""
    import edgekd.onnx_export
    import edgekd.onnx_export.ort
    import edgekd.zoo.weights  # noqa: F401  (all of it now, not while a time limit runs)

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(try_file(Path(line.rstrip("\n")))), file=out, flush=True)


if __name__ == "__main__":
    _answer()
