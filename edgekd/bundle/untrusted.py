"""Refuses untrusted ONNX files that would make ONNX Runtime open other files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import ExportError
from edgekd.store.disk import reading

MAX_ONNX_BYTES = 2**31 - 1
"""protobuf's limit."""


def check_untrusted(path: Path) -> bytes:
    """The bytes of an untrusted ONNX file, after checking that it does not reference other files.

    Open a session with these bytes rather than with the path, where another file may lie by then.

    Raises:
        ExportError: the file cannot be read, is not an ONNX file, or keeps weights in other files.
    """
    from google.protobuf.message import DecodeError
    from onnx import ModelProto, TensorProto

    # Not onnx.load, which opens the external files that a model names.
    with reading(path, ExportError, "check it"), path.open("rb") as file:
        raw = file.read(MAX_ONNX_BYTES + 1)
    if len(raw) > MAX_ONNX_BYTES:
        raise ExportError(str(path), f"is larger than {MAX_ONNX_BYTES} bytes", "no ONNX file is")
    try:
        model = ModelProto.FromString(raw)
    except DecodeError:
        raise ExportError(str(path), "is not an ONNX file", "export the network again") from None
    for part in _messages(model):
        if isinstance(part, TensorProto) and (part.external_data or part.data_location == TensorProto.EXTERNAL):
            place = next((entry.value for entry in part.external_data if entry.key == "location"), "")
            found = f"keeps the weight {part.name[:60]!r} in another file ({place[:100]!r})"
            raise ExportError(str(path), found, "put all weights into one file: onnx.save(onnx.load(FILE), ONE_FILE)")
    return raw


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages inside it: subgraphs, functions and attributes included."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(part)
