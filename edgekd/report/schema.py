"""The schema of report.json: frozen records with the names of the file."""

from typing import Literal

from pydantic import Field

from edgekd.config.schemes import bits_of
from edgekd.ondevice.sizes import Size
from edgekd.report.record import Count, Milliseconds, Record, Share
from edgekd.report.stage_report import StageReport

SCHEMA_VERSION = 1
"""Increased when older readers can no longer read a report; a new field with a default is no reason."""

Outcome = Literal["pass", "fail", "no budget"]


class Check(Record):
    """One limit of the budget, checked for one file."""

    name: str = Field(description="of the budget: accuracy_drop, size_ratio, latency_ratio, size_kb or latency_ms")
    limit: float
    value: float
    passed: bool


class Verdict(Record):
    """Does the recommended file, which was chosen on val, keep the whole budget on test?"""

    passed: bool | None = Field(
        serialization_alias="pass", validation_alias="pass", description="None: no budget was given, none was missed"
    )
    checks: list[Check]
    checked: str | None = Field(
        None, description="id of the file that the checks are of, where only the teacher is left: the nearest miss"
    )
    reason: str = Field(description="why this file, or what was missed most narrowly")

    @property
    def outcome(self) -> Outcome:
        """The verdict in a word."""
        return "no budget" if self.passed is None else "pass" if self.passed else "fail"


class TargetFacts(Record):
    """Where and how latency was measured."""

    isa: str
    declared_isa: str = Field(description="as the pipeline says it; 'host' where it was detected")
    cpu: str
    threads: int
    batch: int
    processes: int = Field(1, description="that latency was measured in, one after the other")
    onnxruntime: str
    saturates: bool = Field(description="this CPU's integer multiply saturates with 8-bit weights (probed)")


class DataFacts(Record):
    """The dataset and its three splits (numbers of images)."""

    name: str
    classes: int
    train: int
    unlabelled: int = 0
    val: int
    test: int
    class_names: list[str]
    image_size: Size = Field(description="pixels a side, or height and width")
    channels: int | None = Field(None, description="of an image; not recorded by older versions")
    fingerprint: str
    test_fingerprint: str = Field("", description="SHA-256 over the test images and their labels; empty: not recorded")
    test_counts: list[Count] = Field([], description="test images of each class; empty: not recorded")
    settings: dict[str, object] = Field({}, description="the pipeline's data settings, without paths")


class Latency(Record):
    """Milliseconds for one batch, over all rounds."""

    p50: Milliseconds
    p90: Milliseconds
    p99: Milliseconds
    runs: Count


class Ratio(Record):
    """Latency of this file divided by the teacher's, with a 95 % interval; below 1 is faster."""

    ratio: float
    ci95: tuple[float, float]

    @property
    def measured(self) -> bool:
        """True where the interval leaves out 1: there is a difference."""
        return not self.ci95[0] <= 1.0 <= self.ci95[1]


class Kernels(Record):
    """Kernels in ONNX Runtime's own optimised graph."""

    integer: int
    float: int
    float_ops: list[str] = Field(description="float kernels as 'OpType layer'")
    ops: dict[str, int] = Field(description="every operator of the optimised graph, with its count")


class Drift(Record):
    """Why a file often chooses another class than the torch model that it was made of."""

    kind: Literal["rounding", "saturation", "graph"] = Field(
        description="rounding: every tensor is right; saturation: wrong as this CPU runs it; graph: wrong at all"
    )
    images: Count = Field(description="of val, on which they choose another class")
    total: Count = Field(description="images of val")
    largest: float = Field(description="largest difference of a logit")
    layers: list[str] = Field(description="tensors that rounding does not explain, the worst first")
    remedy: str


class Paired(Record):
    """McNemar's exact test against the teacher on the same images."""

    both: int
    only_teacher: int = Field(description="images that only the teacher gets right")
    only_model: int = Field(description="images that only this model gets right")
    neither: int
    p_value: float

    @property
    def accuracy(self) -> float:
        """This model's, 0..1."""
        return (self.both + self.only_model) / self.total

    @property
    def drop(self) -> float:
        """The teacher's accuracy minus this one's."""
        return (self.only_teacher - self.only_model) / self.total

    @property
    def total(self) -> int:
        """Images."""
        return self.both + self.only_teacher + self.only_model + self.neither


class ModelReport(Record):
    """One exported file, measured."""

    id: str
    stage: str = Field(description="kind of the stage that made it")
    source: str | None = Field(None, description="id of the float file that an integer file was made from")
    precision: str = Field(description="float32 or int8")
    file: str
    sha256: str
    params: Count
    macs: Count = Field(description="multiply-accumulates for one image, from the exported graph")
    size_bytes: Count
    accuracy: Share
    correct: Count
    total: Count
    val_accuracy: Share | None = Field(None, description="of this file; in older reports of the weights before export")
    accuracy_ci95: tuple[Share, Share]
    accuracy_drop: float = Field(description="teacher's accuracy minus this one's; negative is better than the teacher")
    accuracy_drop_ci95: tuple[float, float] | None = Field(None, description="None: an older report does not say")
    paired: Paired
    val_paired: Paired | None = Field(
        None, description="the same on val: decides which file is recommended; None: in an older report test did"
    )
    latency_ms: Latency
    latency_ratio: Ratio
    source_ratio: Ratio | None = Field(None, description="latency of an integer file divided by its float source's")
    speedup: Ratio = Field(description="the teacher's latency divided by this file's; above 1 is faster")
    size_ratio: float
    agreement: float = Field(description="share of validation images on which torch and ONNX Runtime choose one class")
    drift: Drift | None = Field(None, description="what parts them, where they agree too seldom")
    kernels: Kernels
    per_class_accuracy: list[float | None] = Field(description="recall: share of a class's images that are right")
    balanced_accuracy: Share | None = Field(None, description="mean over the classes; None: not recorded")
    warnings: list[str] = Field([], description="what it has not learned, on test: classes that it never answers")
    weight_bits: int | None = None
    max_abs_weight: int | None = Field(None, description="largest |q| of any int8 weight")
    load_ms: Milliseconds | None = Field(
        None, description="time in which ONNX Runtime opens the file, unpacking included; None: not measured"
    )
    peak_rss_bytes: Count | None = Field(
        None, description="largest memory of a process that ran this file alone; None: not known"
    )
    weights_by_bits: dict[int, int] = Field(
        {}, description="weights by the bits that they take in the file; empty: floats, or an older report"
    )
    kept: Literal["qat", "ptq"] | None = Field(
        None, description="trained or calibrated integers: what its ptq or qat stage kept; None: in an older report"
    )

    @property
    def widest_bits(self) -> int:
        """Bits of its widest weights, off the file: they decide where it is multiplied exactly; 0 where it is float."""
        return bits_of(self.max_abs_weight) if self.max_abs_weight is not None else 0

    @property
    def trained_in_vain(self) -> bool:
        """Does a qat stage ship calibrated integers because its training did not beat them?"""
        return self.stage == "qat" and self.kept == "ptq"


class DeviceModel(Record):
    """One file's latency on a device."""

    id: str = Field(description="of the exported file")
    latency_ms: Latency
    latency_ratio: Ratio = Field(description="to the file that the report's other ratios refer to, on this device")
    sha256: str = Field("", description="of the file that was measured; empty: not recorded")
    load_ms: Milliseconds | None = Field(None, description="time to open the file; None: not measured")
    peak_rss_bytes: Count | None = Field(
        None, description="largest memory of a process that ran this file alone; None: not known"
    )


class DeviceReport(Record):
    """The same files, measured on another machine."""

    name: str
    cpu: str
    isa: str
    machine: str = Field(description="as the device's own Python calls it: aarch64, x86_64")
    onnxruntime: str
    python: str
    threads: int
    batch: int
    models: list[DeviceModel]
    peak_rss_bytes: Count | None = Field(
        None, description="read in older reports alone: memory of the process that ran all files"
    )
    temperature_c: float | None = Field(None, description="highest temperature seen; None: the device does not say")
    throttled: bool | None = Field(None, description="the clock was lowered meanwhile; None: the device does not say")
    selftest: str = Field(description="one sentence: do the files answer there as they did here?")
    warnings: list[str] = []


class WeightBits(Record):
    """The student in one width: its accuracy on test as ONNX Runtime runs it on this CPU."""

    bits: int
    name: str = Field("", description="of a mix of bits; empty: every layer but the wide ones has these")
    as_shipped: float = Field(description="calibrated only")
    exact: float = Field(description="the same file, run operator by operator")
    total: int
    size_bytes: Count | None = Field(None, description="None: in an older report")
    with_labels: Share | None = Field(None, description="trained with labels alone, as shipped; None: not trained so")
    with_teacher: Share | None = Field(None, description="trained with a teacher, as shipped; None: not trained so")

    against_used: Paired | None = Field(
        None, description="calibrated, paired with the calibrated file of the width that is used ('teacher' here)"
    )


class LayerLoss(Record):
    """One layer's sensitivity to few bits."""

    layer: str
    weights: Count
    bits: int = Field(description="that the mix gave it")
    loss: dict[int, float] = Field(
        description="by bits, how much the cross-entropy on val rises when this layer alone has so few; nats"
    )


class Quantization(Record):
    """What the declared target's weight range saved or would have cost."""

    source: str = Field(description="the float model that was calibrated")
    declared_bits: int
    declared_name: str = Field("", description="of the mix of bits that is used; empty: no mix")
    calibrated: list[WeightBits]
    kept: str = Field(description="qat or ptq: the better on validation")
    ptq_val_accuracy: float
    qat_val_accuracy: float | None
    layers: list[LayerLoss] = Field([], description="where weight_bits is auto: what each layer loses with few bits")


class Rival(Record):
    """Another student than the recommended one, on the same test images, by McNemar's exact test."""

    id: str
    difference: float = Field(description="accuracy of the recommended file minus this one's")
    ci95: tuple[float, float]
    only_recommended: Count = Field(description="images that only the recommended file gets right")
    only_rival: Count
    p_value: float


class Report(Record):
    """Everything that report.json says."""

    schema_version: int = Field(SCHEMA_VERSION, serialization_alias="schema", validation_alias="schema")
    pipeline: str
    seed: int
    created: str
    verdict: Verdict
    recommended: str
    rivals: list[Rival] = Field([], description="the other students against the recommended one")
    target: TargetFacts
    data: DataFacts
    models: list[ModelReport]
    stages: list[StageReport]
    quantization: Quantization | None
    environment: dict[str, str]
    budget: dict[str, float | None]
    notes: list[str] = []
    devices: list[DeviceReport] = []
