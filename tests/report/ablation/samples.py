"""A realistic ablation: MobileNetV2 on digits, three seeds; some choices pay, some do not, one cannot be tried."""

from edgekd.report.ablation.schema import Ablation, ArmPaid, Change, Points, RunFigures, StagePaid
from edgekd.report.schema import Ratio
from tests.report.samples import TEST_IMAGES, sample_report

SEEDS = [0, 1, 2]


def points(difference: float, half: float) -> Points:
    return Points(difference=difference, ci95=(difference - half, difference + half))


def times(ratio: float, half: float = 0.0) -> Ratio:
    return Ratio(ratio=ratio, ci95=(ratio * (1 - half), ratio * (1 + half)))


def change(difference: float, half: float, size: float = 1.0, latency: float = 1.0, macs: float = 1.0) -> Change:
    return Change(
        seeds=SEEDS,
        test=points(difference, half),
        val=points(difference / 2, half),
        size_ratio=times(size),
        macs_ratio=times(macs),
        latency_ratio=times(latency, 0.05),
    )


def arm(name: str, sentence: str, paid: Change | None, *settings: str, steps: int = 360, error: str = "") -> ArmPaid:
    return ArmPaid(name=name, sentence=sentence, settings=list(settings), steps=steps, change=paid, error=error)


def run(name: str, seed: int, correct: int) -> RunFigures:
    return RunFigures(
        arm=name,
        seed=seed,
        file="qat.ptq" if seed == 1 else "qat",
        kept="ptq" if seed == 1 else "qat",
        correct=correct,
        total=TEST_IMAGES,
        accuracy=correct / TEST_IMAGES,
        val_accuracy=0.98,
        size_bytes=659_000,
        macs=6_870_000,
        params=580_000,
        latency_p50_ms=0.27,
        latency_ratio=times(0.25, 0.1),
        digests=["ab" * 32],
    )


def sample_ablation() -> Ablation:
    report = sample_report()
    arms = [
        arm("labels", "no teacher: the labels alone", change(-0.012, 0.008), "distill.beta: 0.0 (file: 0.9)"),
        arm("scratch", "the pruned widths with fresh weights", change(-0.002, 0.011), "distill.fresh: True"),
        arm("by-width", "no pruning", change(0.006, 0.004, 0.9, 0.8, macs=0.81), "no prune"),
        arm("ptq", "calibration alone", change(-0.001, 0.003), "qat.stage: ptq (file: qat)", steps=252),
        arm("early-stop", "the teacher's term stops", None, error="stages[2] (distill): the loss is nan; lower lr"),
    ]
    return Ablation(
        pipeline="mobilenet",
        created="2025-03-14T09:26:53+00:00",
        compared="qat",
        reference="teacher",
        seeds=SEEDS,
        steps=360,
        stages=[
            StagePaid(id="prune", stage="prune", before="teacher", change=change(-0.25, 0.05, 0.26, 0.28, macs=0.29)),
            StagePaid(id="distill", stage="distill", before="prune", change=change(0.26, 0.05)),
            StagePaid(id="qat", stage="qat", before="distill", change=change(0.0, 0.004, 0.28, 0.9)),
        ],
        arms=arms,
        runs=[
            run(name, seed, 354 - index - seed)
            for seed in SEEDS
            for index, name in enumerate(("base", "labels", "scratch", "by-width", "ptq"))
        ],
        target=report.target,
        data=report.data,
        environment=report.environment,
    )
