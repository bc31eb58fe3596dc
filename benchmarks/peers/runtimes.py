"""What edgekd and other tools make of a network, and how their files are run with one thread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.config.target import Target
from edgekd.data import as_input
from edgekd.onnx_export import export_onnx
from edgekd.quantization import QuantizedModel, float_graph
from edgekd.zoo import ModelSpec

Answer = Callable[[Any], Any]
"""Logits, shape ``(classes,)``, of one image as a file takes it."""
Feed = Callable[[Any], Any]
"""Turns an image, uint8, shape ``(height, width, channels)``, into what a file takes; not timed."""


@dataclass(frozen=True)
class Given:
    """What every tool gets.

    Args:
        model: a float network, in eval mode.
        spec: how it was built.
        pixels: calibration images, uint8, shape ``(count, height, width, channels)``.
        folder: for what it writes.
    """

    model: nn.Module
    spec: ModelSpec
    pixels: Any
    folder: Path

    @property
    def image(self) -> Tensor:
        """One image as the network sees it."""
        return torch.from_numpy(planes(self.pixels[0]))


@dataclass(frozen=True)
class Runtime:
    """A way to make a file of a network and to run it.

    Args:
        make: writes the file; gives its path.
        open: what turns an image into what the file takes, and what answers that.
        extra: further files that belong to the file, by their suffix.
    """

    make: Callable[[Given], Path]
    open: Callable[[Path], tuple[Feed, Answer]]
    extra: tuple[str, ...] = ()

    def size_bytes(self, path: Path) -> int:
        return sum(file.stat().st_size for file in (path, *(path.with_suffix(end) for end in self.extra)))


def planes(image: Any) -> Any:
    """Float, shape ``(1, channels, height, width)``, normalised beforehand: the others' files do not do that."""
    return np.ascontiguousarray(as_input(torch.from_numpy(image[None])).numpy())


def _pixels_last(image: Any) -> Any:
    return np.ascontiguousarray(planes(image).transpose(0, 2, 3, 1))


def _ort_float(given: Given) -> Path:
    path = given.folder / "plain.onnx"
    torch.onnx.export(given.model, (given.image,), path, dynamo=True, external_data=False, input_names=["images"])
    return path


def _ort_ptq(given: Given) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(given.pixels)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else {"images": planes(image)}

    prepared, path = given.folder / "prepared.onnx", given.folder / "ptq.onnx"
    quant_pre_process(str(_ort_float(given)), str(prepared))
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(prepared), str(path), Reader(), per_channel=True, **types)
    return path


def _open_ort(path: Path) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0][0]


def _openvino_float(given: Given) -> Path:
    import openvino

    path = given.folder / "openvino.xml"
    openvino.save_model(_converted(given), path, compress_to_fp16=False)
    return path


def _openvino_int8(given: Given) -> Path:
    import nncf
    import openvino

    found = nncf.quantize(_converted(given), nncf.Dataset([planes(image) for image in given.pixels]))
    path = given.folder / "nncf.xml"
    openvino.save_model(found, path, compress_to_fp16=False)
    return path


def _converted(given: Given) -> Any:
    import openvino

    image = given.image
    return openvino.convert_model(given.model, example_input=image, input=[tuple(image.shape)])


def _open_openvino(path: Path) -> tuple[Feed, Answer]:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return planes, lambda image: request.infer([image], share_inputs=True)[0][0]


def _litert_float(given: Given) -> Path:
    import litert_torch

    path = given.folder / "float.tflite"
    last = torch.from_numpy(_pixels_last(given.pixels[0]))
    litert_torch.convert(litert_torch.to_channel_last_io(given.model, args=[0]).eval(), (last,)).export(str(path))
    return path


def _litert_int8(given: Given) -> Path:
    from ai_edge_quantizer import quantizer, recipe

    path = given.folder / "int8.tflite"
    found = quantizer.Quantizer(str(_litert_float(given)), recipe.static_wi8_ai8())
    images: Iterator[dict[str, Any]] = ({"args_0": _pixels_last(image)} for image in given.pixels)
    found.quantize(found.calibrate({"serving_default": list(images)})).export_model(str(path), overwrite=True)
    return path


def _open_litert(path: Path) -> tuple[Feed, Answer]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (reads,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    inside, outside = reads["index"], gives["index"]

    def answer(image: Any) -> Any:
        interpreter.set_tensor(inside, image)
        interpreter.invoke()
        return interpreter.get_tensor(outside)[0]

    def feed(image: Any) -> Any:
        found, (scale, zero_point) = _pixels_last(image), reads["quantization"]
        return found if not scale else np.clip(np.round(found / scale) + zero_point, -128, 127).astype(reads["dtype"])

    return feed, answer


def _ncnn_float(given: Given) -> Path:
    import pnnx

    pnnx.export(given.model, str(given.folder / "ncnn.pt"), (given.image,))
    return given.folder / "ncnn.ncnn.bin"


def _open_ncnn(path: Path) -> tuple[Feed, Answer]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(path.with_suffix(".param")))
    net.load_model(str(path))

    def answer(image: Any) -> Any:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image[0]))
        return np.array(extractor.extract("out0")[1])

    return planes, answer


def _own_int8(given: Given) -> Path:
    path = given.folder / "edgekd_int8.onnx"
    quantized = QuantizedModel(given.model, given.spec, Target().scheme)
    images = [as_input(part) for part in torch.split(torch.from_numpy(given.pixels), 64)]
    quantized.correct_batchnorm(lambda: images)
    quantized.calibrate(images)
    export_onnx(quantized.integers(), given.spec, path)
    return path


def _own_float(given: Given) -> Path:
    path = given.folder / "edgekd_float.onnx"
    export_onnx(float_graph(given.model, given.spec), given.spec, path)
    return path


def _open_own(path: Path) -> tuple[Feed, Answer]:
    return lambda image: image[None], _open_ort(path)


def _open_theirs(path: Path) -> tuple[Feed, Answer]:
    return planes, _open_ort(path)


OWN = "edgekd, int8"
RUNTIMES = {
    OWN: Runtime(_own_int8, _open_own),
    "edgekd, float": Runtime(_own_float, _open_own),
    "ONNX Runtime, static PTQ": Runtime(_ort_ptq, _open_theirs),
    "ONNX Runtime, float": Runtime(_ort_float, _open_theirs),
    "OpenVINO, NNCF int8": Runtime(_openvino_int8, _open_openvino, (".bin",)),
    "OpenVINO, float": Runtime(_openvino_float, _open_openvino, (".bin",)),
    "LiteRT, int8": Runtime(_litert_int8, _open_litert),
    "LiteRT, float": Runtime(_litert_float, _open_litert),
    "ncnn, float": Runtime(_ncnn_float, _open_ncnn, (".param",)),
}
