"""A tiny stand-in for a bundle: its program passes its self-test unless ``broken.txt`` lies beside it."""

import hashlib
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto

from edgekd.ondevice.contents import sealed

RUNNER = """
import json, os, sys, time
if "--bench" in sys.argv:
    print(json.dumps({"arguments": sys.argv[1:], "files": sorted(os.listdir()), "folder": os.getcwd(), "p50_ms": 1.5}))
elif os.path.exists("slow.txt"):
    print(os.getpid(), file=open(open("slow.txt").read(), "w"))
    time.sleep(60)
elif os.path.exists("broken.txt"):
    print(json.dumps({"ok": False, "problems": ["the top-1 of 3 images differs", open("broken.txt").read()]}))
    sys.exit(1)
else:
    print(json.dumps({"ok": True, "problems": [], "words": sys.argv[1:]}))
"""


def write_bundle(
    folder: Path, model: bytes = b"first model", isa: str = "x86-avx2", bits: int = 7, **more: bytes
) -> Path:
    """A bundle around any bytes; further files go to the device too, the report does not."""
    files = {
        "model.onnx": model_of(model),
        "edgekd_run.py": RUNNER.encode(),
        "labels/labels.txt": b"a\nb\n",
        "golden.npz": b"",
    }
    files |= {f"{name}.txt": content for name, content in more.items() if name != "elsewhere"}
    if "elsewhere" in more:
        files["model.onnx"] = model_of(b"", more["elsewhere"].decode())
    entries = {path: _entry(folder, path, content, device=True) for path, content in files.items()}
    entries["report.html"] = _entry(folder, "report.html", b"<html>", device=False)
    body = {
        "format": 1,
        "name": "tiny",
        "recommended": "qat",
        "classes": ["a", "b"],
        "input": {"height": 8, "width": 8, "channels": 1, "dtype": "uint8", "resize": "stretch"},
        "golden": {"tolerance": 0.01},
        "models": [{"id": "qat", "file": "model.onnx"}],
        "onnxruntime_min": "1.18",
        "target": {"isa": isa, "weight_bits": bits, "threads": 1, "batch": 1},
        "files": entries,
    }
    (folder / "manifest.json").write_text(sealed(body))
    return folder


def model_of(content: bytes, elsewhere: str = "") -> bytes:
    """An ONNX file that holds bytes as its one weight; or says that the weight lies in a file elsewhere."""
    weight = TensorProto(name="weight", raw_data=content)
    if elsewhere:
        weight = TensorProto(name="weight", data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=elsewhere)
    return bytes(ModelProto(graph=GraphProto(initializer=[weight])).SerializeToString())


def content_of(model: bytes) -> bytes:
    """The bytes that ``model_of`` was given."""
    content: bytes = bytes(ModelProto.FromString(model).graph.initializer[0].raw_data)
    return content


def _entry(folder: Path, path: str, content: bytes, *, device: bool) -> dict[str, object]:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "device": device}
