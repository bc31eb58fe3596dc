"""The bundle's README.md."""

from edgekd.bundle.input import Input
from edgekd.bundle.runner import RUNNER
from edgekd.ondevice.contents import MODEL
from edgekd.ondevice.sizes import sides
from edgekd.report import wording as w
from edgekd.report.roles import recommended_of
from edgekd.report.schema import Report

TEXT = """# {name}

`{model}` tells {classes} classes apart: {precision}, {size} kB, {accuracy} right on {total} test images.
It takes {shape} and gives one number for each line of `labels.txt`; the largest is the answer.
It was made for {isa} and measured with ONNX Runtime {onnxruntime}.

    python3 -m pip install onnxruntime numpy        # Pillow too, for image files
    python3 {runner} --selftest                # is everything here whole, does the model answer as it did?
    python3 {runner} {example}                 # the likeliest classes
    python3 {runner} --bench                   # how fast it is here

In a program of your own:

    import numpy, onnxruntime
    session = onnxruntime.InferenceSession("{model}")
    logits = session.run(None, {{"pixels": pixels}})[0]      # pixels: {kind}, {shape_code}
"""


def readme(report: Report, pixels: Input) -> str:
    """The README of a bundle."""
    model = recommended_of(report)
    assert model is not None
    height, width = sides(pixels.image_size)
    return TEXT.format(
        name=w.plain(report.pipeline),
        model=MODEL,
        runner=RUNNER,
        classes=report.data.classes,
        precision=model.precision,
        size=w.kilobytes(model.size_bytes),
        accuracy=w.percent(model.accuracy),
        total=f"{model.total:,}",
        shape=_shape(pixels),
        kind="uint8" if pixels.unit is None else "float32",
        example="photo.jpg" if pixels.takes_pictures else "array.npy",
        shape_code=f"shape (images, {height}, {width}, {pixels.channels})",
        isa=report.target.isa,
        onnxruntime=report.target.onnxruntime,
    )


def _shape(pixels: Input) -> str:
    """What the files take, in words."""
    height, width = sides(pixels.image_size)
    if pixels.unit is not None:
        low, high = pixels.unit
        return f"arrays of {height} x {width} x {pixels.channels} numbers from {low:g} to {high:g}"
    colours = {1: "grey ", 3: "RGB "}.get(pixels.channels, "")
    channels = "" if colours else f" and {pixels.channels} channels"
    return f"8-bit {colours}images of {height} x {width} pixels (height, width){channels}"
