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
    python3 {runner} photo.jpg                 # the likeliest classes
    python3 {runner} --bench                   # how fast it is here

In a program of your own:

    import numpy, onnxruntime
    session = onnxruntime.InferenceSession("{model}")
    logits = session.run(None, {{"pixels": pixels}})[0]      # pixels: uint8, {shape_code}
"""


def readme(report: Report, pixels: Input) -> str:
    """The README of a bundle."""
    model = recommended_of(report)
    assert model is not None
    height, width = sides(pixels.image_size)
    colours = "grey" if pixels.channels == 1 else "RGB"
    return TEXT.format(
        name=w.plain(report.pipeline),
        model=MODEL,
        runner=RUNNER,
        classes=report.data.classes,
        precision=model.precision,
        size=w.kilobytes(model.size_bytes),
        accuracy=w.percent(model.accuracy),
        total=f"{model.total:,}",
        shape=f"8-bit {colours} images of {height} x {width} pixels (height, width)",
        shape_code=f"shape (images, {height}, {width}, {pixels.channels})",
        isa=report.target.isa,
        onnxruntime=report.target.onnxruntime,
    )
