"""report.json read back: old ones are welcome, newer and damaged ones are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ReportError
from edgekd.report.ablation.load import load_ablation
from edgekd.report.load import MOST_BYTES, load_report, report_path
from edgekd.report.schema import DeviceModel, DeviceReport, Latency, Ratio, Report
from tests.report.samples import sample_report, sample_unjudged_report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ABLATIONS = sorted(BENCHMARKS.glob("*/ablation*.json"))
COMMITTED = sorted(
    path
    for path in BENCHMARKS.glob("*/*.json")
    if path not in ABLATIONS and "schema" in json.loads(path.read_text(encoding="utf-8"))
)
assert COMMITTED, "there are reports"

Body = dict[str, Any]


def body_of(report: Report) -> Body:
    body: Body = json.loads(report.model_dump_json(by_alias=True))
    return body


def written(folder: Path, body: object) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(ReportError) as error:
        load_report(path)
    (line,) = str(error.value).splitlines()
    return line


def test_a_report_reads_back_as_it_was(tmp_path: Path) -> None:
    report = sample_report()

    assert load_report(written(tmp_path, body_of(report))) == report


def test_a_report_with_devices_reads_back_as_it_was(tmp_path: Path) -> None:
    latency = Latency(p50=3.0, p90=3.1, p99=4.0, runs=900)
    device = DeviceReport(
        name="pi",
        cpu="Cortex-A76",
        isa="arm64",
        machine="aarch64",
        onnxruntime="1.32.0",
        python="3.11.2",
        threads=1,
        batch=1,
        models=[DeviceModel(id="qat", latency_ms=latency, latency_ratio=Ratio(ratio=0.3, ci95=(0.29, 0.31)))],
        selftest="All files answer as they did here.",
    )
    report = sample_report().model_copy(update={"devices": [device]})

    assert load_report(written(tmp_path, body_of(report))) == report


def test_a_report_from_before_devices_and_test_fingerprints_still_reads(tmp_path: Path) -> None:
    body = body_of(sample_report())
    del body["devices"], body["data"]["test_fingerprint"], body["data"]["settings"]

    report = load_report(written(tmp_path, body))

    assert (report.devices, report.data.test_fingerprint, report.data.settings) == ([], "", {})


def test_a_report_from_before_val_decided_still_reads(tmp_path: Path) -> None:
    body = body_of(sample_report())
    del body["rivals"], body["verdict"]["checked"]
    for model in body["models"]:
        del model["val_paired"], model["accuracy_drop_ci95"]

    report = load_report(written(tmp_path, body))

    assert (report.verdict.outcome, report.verdict.checked, report.rivals) == ("pass", None, [])
    assert {(model.val_paired, model.accuracy_drop_ci95) for model in report.models} == {(None, None)}


def test_a_report_without_a_budget_says_null_and_reads_back(tmp_path: Path) -> None:
    body = body_of(sample_unjudged_report())

    assert body["verdict"]["pass"] is None
    assert load_report(written(tmp_path, body)).verdict.outcome == "no budget"


@pytest.mark.parametrize("path", COMMITTED, ids=[f"{path.parent.name}/{path.name}" for path in COMMITTED])
def test_every_committed_report_reads(path: Path) -> None:
    assert load_report(path).verdict.outcome in ("pass", "fail")


@pytest.mark.parametrize("path", ABLATIONS, ids=[f"{path.parent.name}/{path.name}" for path in ABLATIONS])
def test_every_committed_ablation_reads(path: Path) -> None:
    found = load_ablation(path)

    assert found is not None
    assert found.runs


def test_a_newer_schema_is_named_before_anything_else(tmp_path: Path) -> None:
    line = refused(written(tmp_path, {"schema": 2, "everything": "else"}))

    assert line.endswith("report.json: has schema 2, this edgekd reads up to 1; use a newer edgekd")


def test_a_folder_means_the_report_in_it(tmp_path: Path) -> None:
    assert report_path(tmp_path) == tmp_path / "report.json"
    assert report_path(tmp_path / "report.json") == tmp_path / "report.json"


def with_model(**fields: object) -> Callable[[Body], None]:
    return lambda body: body["models"][0].update(fields)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (with_model(accuracy=float("nan")), "models[0].accuracy"),
        (with_model(accuracy=1.5), "models[0].accuracy"),
        (with_model(size_bytes=-1), "models[0].size_bytes"),
        (with_model(size_bytes=10**30), "models[0].size_bytes"),
        (with_model(size_bytes="12"), "models[0].size_bytes"),
        (with_model(macs=1.5), "models[0].macs"),
        (with_model(latency_ms={"p50": float("inf"), "p90": 1.0, "p99": 1.0, "runs": 1}), "models[0].latency_ms.p50"),
        (with_model(surprise=1), "models[0].surprise"),
        (lambda body: body.update(models="none"), "models"),
        (lambda body: body.update(models=[]), "recommends 'qat', which is not one of its files"),
        (lambda body: body.pop("target"), "target"),
        (lambda body: body.pop("schema"), "no schema number"),
        (lambda body: body.update(schema=True), "no schema number"),
        (lambda body: body.update(pipeline=["\x1b[2J"]), "pipeline"),
    ],
)
def test_a_damaged_report_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Body], None], told: str) -> None:
    body = body_of(sample_report())
    damage(body)

    line = refused(written(tmp_path, body))

    assert told in line
    assert "run the pipeline again" in line


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1, "seed": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_report_at_all_is_refused_in_one_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "report.json").write_bytes(raw)

    assert "report.json" in refused(tmp_path / "report.json")


def test_a_file_beyond_the_limit_is_not_parsed(tmp_path: Path) -> None:
    with (tmp_path / "report.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)

    assert "is larger than" in refused(tmp_path / "report.json")


def test_a_path_that_is_not_there_says_what_to_name(tmp_path: Path) -> None:
    assert "name a folder exports/<name>/" in refused(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda body: body["models"][3]["per_class_accuracy"].pop(), "models.qat.per_class_accuracy: is of 9 classes"),
        (
            lambda body: body["models"][0]["per_class_accuracy"].append(1.0),
            "models.teacher.per_class_accuracy: is of 11 classes",
        ),
        (lambda body: body["data"].update(test_counts=[36] * 9), "data.test_counts: is of 9 classes"),
        (lambda body: body["data"].update(classes=11), "data.classes: is of 11 classes"),
    ],
)
def test_numbers_by_class_are_one_for_each_class(tmp_path: Path, change: Callable[[Body], None], told: str) -> None:
    body = body_of(sample_report())
    change(body)

    assert f"{told}, class_names are 10; run the pipeline again" in refused(written(tmp_path, body))
