"""A realistic report: MobileNetV2 on handwritten digits, through every stage."""

from edgekd.report.paired import drop_interval
from edgekd.report.schema import (
    Check,
    DataFacts,
    DeviceModel,
    DeviceReport,
    Kernels,
    Latency,
    ModelReport,
    Paired,
    Quantization,
    Ratio,
    Report,
    Rival,
    TargetFacts,
    Verdict,
    WeightBits,
)
from edgekd.report.stage_report import Epoch, LayerWidth, StageReport
from edgekd.training.significance import paired_interval

TEST_IMAGES = 360
TEACHER_BYTES, TEACHER_P50_MS = 8_908_862, 1.60
INTEGER_OPS = {
    "QLinearConv": 52,
    "QLinearAdd": 10,
    "QLinearGlobalAveragePool": 1,
    "QGemm": 1,
    "Reshape": 1,
    "Transpose": 1,
    "DequantizeLinear": 1,
}
SHA256 = "5f" * 32
"""Of every file of a sample."""
FLOAT_OPS = {
    "Conv": 52,
    "Add": 10,
    "GlobalAveragePool": 1,
    "Gemm": 1,
    "Flatten": 1,
    "Cast": 1,
    "Mul": 1,
    "Transpose": 1,
}


def sample_report() -> Report:
    """Five files: the teacher, two float students and two integer ones, of which 'qat' is recommended."""
    return Report(
        pipeline="mobilenet",
        seed=0,
        created="2025-03-14T09:26:53+00:00",
        verdict=_verdict(),
        recommended="qat",
        rivals=[_rival("distill", 0, 0, 1.0), _rival("ptq", 3, 2, 1.0), _rival("prune", 321, 0, 1e-90)],
        target=_target(),
        data=_data(),
        models=_models(),
        stages=_stages(),
        quantization=_quantization(),
        environment={
            "python": "3.11.2",
            "torch": "2.14.1",
            "onnxruntime": "1.32.0",
            "machine": "x86_64",
            "edgekd": "0.1.0",
        },
        budget={"accuracy_drop": 0.015, "size_ratio": 0.1, "latency_ratio": 0.5},
        notes=["With 360 test images a difference of 0.8 points is noise."],
    )


def _rival(id: str, only_recommended: int, only_rival: int, p_value: float) -> Rival:
    low, high = paired_interval(340 - only_recommended, only_recommended, only_rival, 20 - only_rival)
    return Rival(
        id=id,
        difference=(only_recommended - only_rival) / TEST_IMAGES,
        ci95=(low, high),
        only_recommended=only_recommended,
        only_rival=only_rival,
        p_value=p_value,
    )


def sample_failed_report() -> Report:
    """The teacher and one integer file that is no faster than the teacher, and so misses its budget."""
    report = sample_report()
    qat = sample_model("qat", p50=1.57).model_copy(
        update={
            "latency_ratio": Ratio(ratio=0.98, ci95=(0.94, 1.03)),
            "speedup": Ratio(ratio=1.02, ci95=(0.97, 1.06)),
        }
    )
    checks = [*report.verdict.checks[:2], Check(name="latency_ratio", limit=0.5, value=0.98, passed=False)]
    reason = "latency_ratio is 0.98, the limit 0.5."
    verdict = Verdict.model_validate({"pass": False, "checks": checks, "reason": reason})
    return report.model_copy(update={"verdict": verdict, "models": [report.models[0], qat], "rivals": []})


def sample_unjudged_report() -> Report:
    """The same files, of which nothing was asked: there is no budget."""
    verdict = Verdict.model_validate({"pass": None, "checks": [], "reason": "No budget was given."})
    nothing = {"accuracy_drop": None, "size_ratio": None, "latency_ratio": None}
    return sample_report().model_copy(update={"verdict": verdict, "budget": nothing})


def sample_alarming_report() -> Report:
    """A budget that allows it: the recommended file lies 39 points below its teacher."""
    report = sample_report()
    poor = sample_model("qat", 0.6)
    models = [poor if model.id == "qat" else model for model in report.models]
    check = Check(name="accuracy_drop", limit=0.5, value=poor.accuracy_drop, passed=True)
    verdict = report.verdict.model_copy(update={"checks": [check, *report.verdict.checks[1:]]})
    return report.model_copy(update={"models": models, "rivals": [], "verdict": verdict})


def sample_unlearned_report() -> Report:
    """A recommended file and a student that always answer the commonest class, and a pruned network that does too."""
    report = sample_report()
    nothing = {"warnings": ["never answers 9 of the 10 classes of test: 1, 2, 3 and 6 more"], "balanced_accuracy": 0.1}
    models = [model if model.id == "teacher" else model.model_copy(update=nothing) for model in report.models]
    data = report.data.model_copy(update={"test_counts": [315, *[5] * 9]})
    return report.model_copy(update={"models": models, "data": data})


def sample_device(name: str = "pi4", p50: float = 3.4, warnings: tuple[str, ...] = ()) -> DeviceReport:
    """A small ARM board that measured the teacher and the recommended file."""
    return DeviceReport(
        name=name,
        cpu="Cortex-A72",
        isa="arm64",
        machine="aarch64",
        onnxruntime="1.32.0",
        python="3.11.2",
        threads=1,
        batch=1,
        models=[_device_model("teacher", 12.0, 12.0), _device_model("qat", p50, 12.0)],
        temperature_c=61.4,
        throttled=False,
        selftest="Both files answer as they did here.",
        warnings=list(warnings),
    )


def _device_model(id: str, p50: float, teacher_p50: float) -> DeviceModel:
    latency, relative = Latency(p50=p50, p90=p50 * 1.05, p99=p50 * 1.4, runs=900), p50 / teacher_p50
    ratio = Ratio(ratio=relative, ci95=(relative * 0.97, relative * 1.03))
    return DeviceModel(id=id, latency_ms=latency, latency_ratio=ratio, sha256=SHA256, peak_rss_bytes=81_000_000)


def sample_model(
    id: str = "qat", accuracy: float = 0.989, size_bytes: int = 683_529, p50: float = 0.53, precision: str = "int8"
) -> ModelReport:
    """One exported file; whatever is not given follows from what is."""
    correct, integer = round(accuracy * TEST_IMAGES), precision == "int8"
    share, relative = correct / TEST_IMAGES, p50 / TEACHER_P50_MS
    big = size_bytes == TEACHER_BYTES
    return ModelReport(
        id=id,
        stage=id,
        precision=precision,
        file="model.onnx" if id == "qat" else f"{id}.onnx",
        sha256=SHA256,
        params=2_236_682 if big else 595_210,
        macs=94_300_000 if big else 25_400_000,
        size_bytes=size_bytes,
        accuracy=share,
        correct=correct,
        total=TEST_IMAGES,
        accuracy_ci95=(share - 0.018, min(share + 0.008, 1.0)),
        accuracy_drop=355 / TEST_IMAGES - share,
        accuracy_drop_ci95=drop_interval(_paired(correct)),
        paired=_paired(correct),
        val_accuracy=_paired(correct).accuracy,
        val_paired=_paired(correct),
        latency_ms=Latency(p50=p50, p90=p50 * 1.04, p99=p50 * 1.2, runs=2000),
        latency_ratio=Ratio(ratio=relative, ci95=(relative * 0.98, relative * 1.02)),
        speedup=Ratio(ratio=1 / relative, ci95=(0.98 / relative, 1.02 / relative)),
        size_ratio=size_bytes / TEACHER_BYTES,
        agreement=0.9972 if integer else 1.0,
        kernels=_kernels(integer),
        per_class_accuracy=_per_class(id),
        weight_bits=7 if integer else None,
        max_abs_weight=63 if integer else None,
    )


def _per_class(id: str) -> list[float | None]:
    if id == "teacher":
        return [1.0, 0.972, 1.0, 0.946, 1.0, 1.0, 1.0, 1.0, 0.914, 0.972]
    return [1.0, 1.0, 1.0, 0.973, 1.0, 1.0, 0.972, 1.0, 0.943, 1.0]


def _paired(correct: int) -> Paired:
    both = correct - min(correct, 4)
    return Paired(
        both=both,
        only_teacher=355 - both,
        only_model=correct - both,
        neither=TEST_IMAGES - 355 - (correct - both),
        p_value=1.0 if correct > 350 else 1e-9,
    )


def _kernels(integer: bool) -> Kernels:
    if integer:
        return Kernels(integer=64, float=0, float_ops=[], ops=INTEGER_OPS)
    return Kernels(integer=0, float=65, float_ops=[f"Conv features.{i}" for i in range(52)], ops=FLOAT_OPS)


def _models() -> list[ModelReport]:
    return [
        sample_model("teacher", 0.986, TEACHER_BYTES, TEACHER_P50_MS, "float32"),
        sample_model("prune", 0.097, 2_345_312, 0.56, "float32"),
        sample_model("distill", 0.989, 2_345_312, 0.56, "float32"),
        sample_model("qat", 0.989, 683_529, 0.53),
        sample_model("ptq", 0.986, 683_898, 0.52),
    ]


def _verdict() -> Verdict:
    checks = [
        Check(name="accuracy_drop", limit=0.015, value=-0.0028, passed=True),
        Check(name="size_ratio", limit=0.1, value=0.0767, passed=True),
        Check(name="latency_ratio", limit=0.5, value=0.331, passed=True),
    ]
    reason = "The smallest of the files that keep the whole budget; none was measured to be faster."
    return Verdict.model_validate({"pass": True, "checks": checks, "reason": reason})


def _target() -> TargetFacts:
    return TargetFacts(
        isa="x86-avx2",
        declared_isa="host",
        cpu="AMD EPYC 7763 64-Core Processor",
        threads=1,
        batch=1,
        onnxruntime="1.32.0",
        saturates=True,
    )


def _data() -> DataFacts:
    return DataFacts(
        name="digits",
        classes=10,
        train=1150,
        val=287,
        test=TEST_IMAGES,
        class_names=[str(digit) for digit in range(10)],
        image_size=32,
        fingerprint="9c1e" * 16,
    )


def _quantization() -> Quantization:
    return Quantization(
        source="distill",
        declared_bits=7,
        calibrated=[
            WeightBits(bits=7, as_shipped=0.986, exact=0.989, total=287),
            WeightBits(
                bits=8,
                as_shipped=0.897,
                exact=0.989,
                total=287,
                against_used=Paired(both=256, only_teacher=27, only_model=1, neither=3, p_value=1e-7),
            ),
        ],
        kept="qat",
        ptq_val_accuracy=0.986,
        qat_val_accuracy=0.993,
    )


def _stages() -> list[StageReport]:
    return [
        _stage("teacher", {"model": "mobilenet_v2", "width": 1.0, "lr": 0.1}, 76.4, _epochs(12, ("ce",)), 12),
        _stage("prune", {"pruning_ratio": 0.5, "importance": "group_l2", "round_to": 16}, 4.1, widths=_widths()),
        _stage(
            "distill",
            {"temperature": 4.0, "alpha": 0.1, "beta": 0.9, "losses": ["kd"]},
            69.0,
            _epochs(12, ("ce", "kd")),
            10,
        ),
        _stage("qat", {"temperature": 2.0, "alpha": 0.1, "beta": 0.9, "lr": 0.005}, 101.8, _epochs(5, ("ce", "kd")), 4),
        _stage("export", {"opset": 21, "input": {"dtype": "uint8", "layout": "NHWC"}}, 48.3),
    ]


def _stage(
    id: str,
    settings: dict[str, object],
    seconds: float,
    epochs: list[Epoch] | None = None,
    best_epoch: int | None = None,
    widths: list[LayerWidth] | None = None,
) -> StageReport:
    return StageReport(
        id=id,
        stage=id,
        settings={"stage": id, **settings},
        digest=f"{abs(sum(map(ord, id))):04x}" * 16,
        seconds=seconds,
        val_accuracy=max((epoch.val_accuracy for epoch in epochs), default=None) if epochs else None,
        epochs=epochs or [],
        best_epoch=best_epoch,
        widths=widths or [],
        notes=["2 layers of 16 channels were left as they are."] if widths else [],
        facts={"macs_before": 94_300_000, "macs_after": 25_400_000} if widths else {},
    )


def _epochs(number: int, parts: tuple[str, ...]) -> list[Epoch]:
    return [
        Epoch(
            epoch=epoch,
            losses={part: (2.2 + index) * 0.62**epoch + 0.02 for index, part in enumerate(("loss", *parts))},
            val_accuracy=0.993 - 0.55 * 0.5**epoch - 0.003 * (epoch % 2),
            lr=0.1 * (1 - epoch / number),
            seconds=6.3,
        )
        for epoch in range(1, number + 1)
    ]


def _widths() -> list[LayerWidth]:
    """MobileNetV2: (expansion, channels, repeats) of each block."""
    blocks = [(6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    widths, inner, index = [LayerWidth(layer="features.0.0", before=32, after=16)], 16, 2
    widths.append(LayerWidth(layer="features.1.conv.1", before=16, after=16, note="kept: at the narrowest fast width"))
    for expansion, channels, repeats in blocks:
        for _ in range(repeats):
            widths.append(_halved(f"features.{index}.conv.0.0", inner * expansion))
            widths.append(_halved(f"features.{index}.conv.2", channels))
            inner, index = channels, index + 1
    return [*widths, _halved("features.18.0", 1280)]


def _halved(layer: str, before: int) -> LayerWidth:
    return LayerWidth(layer=layer, before=before, after=max(16, before // 32 * 16))
