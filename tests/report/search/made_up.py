"""A search that never was: twenty trials with figures that a digits run might have."""

import random

from edgekd.report.schema import Check, Latency, Paired, Ratio, TargetFacts
from edgekd.report.search.front import unbeaten
from edgekd.report.search.schema import AgainstFile, Contender, Front, OnTest, Standing, Teacher, Tried

VAL = 288
TEACHER_RIGHT = 283


def contender(
    right: int = 280, size_bytes: int = 600_000, latency: float = 0.3, misses: tuple[str, ...] = ()
) -> Contender:
    """A file that gets so many images of val right, and takes so much of the teacher's latency."""
    return Contender(
        id="qat",
        stage="qat",
        precision="int8",
        sha256="0" * 64,
        size_bytes=size_bytes,
        size_ratio=size_bytes / 8_900_000,
        macs=6_870_000,
        params=580_000,
        latency_ms=Latency(p50=latency, p90=1.1 * latency, p99=1.3 * latency, runs=3000),
        latency_ratio=Ratio(ratio=latency, ci95=(0.97 * latency, 1.03 * latency)),
        val_paired=_paired(right),
        misses=list(misses),
    )


def _paired(right: int) -> Paired:
    both = min(right, TEACHER_RIGHT) - 2
    only_teacher, only_model = TEACHER_RIGHT - both, right - both
    return Paired(
        both=both,
        only_teacher=only_teacher,
        only_model=only_model,
        neither=VAL - both - only_teacher - only_model,
        p_value=1.0,
    )


def tried(number: int, found: Contender | None, **more: object) -> Tried:
    """A trial with a file."""
    values = {
        "prune.pruning_ratio": round(0.3 + number / 40, 3),
        "distill.loss": "kd",
        "qat.weight_bits": None if number % 2 else 4,
    }
    about = {"outcome": "measured", "seconds": 130.0 + number, "contender": found, **more}
    return Tried.model_validate({"number": number, "values": values, **about})


def made_up_front(**changed: object) -> Front:
    """Twenty trials: fifteen measured, some of them beyond the budget; three stopped early, two that were refused."""
    drawn = random.Random(0)
    trials = [tried(0, contender(281, 659_000, 0.27))]
    for number in range(1, 20):
        if number in (4, 9, 13):
            told = "distill has 93.1 % on val, the teacher 98.3 %; 1.5 points fewer are allowed"
            trials.append(tried(number, None, outcome="stopped early", detail=told, excess=1.3))
        elif number in (6, 17):
            told = "stages[1] (prune): pruning_ratio: nothing would be removed; raise it"
            trials.append(tried(number, None, outcome="could not be run", detail=told, excess=100.0))
        else:
            latency = drawn.uniform(0.14, 0.4)
            right = round(286 - 3 / latency**0.7 + drawn.gauss(0, 2))
            missed = ("accuracy_drop 0.0208 (limit 0.015)",) if right < 279 else ()
            size = round(1_900_000 * latency * (0.35 if number % 2 else 1))
            trials.append(tried(number, contender(min(right, 287), size, latency, missed)))
    fits = [(trial.number, trial.contender) for trial in trials if trial.contender and not trial.contender.misses]
    front, files = unbeaten(fits), dict(fits)
    together = sorted({0, *front}, key=lambda number: files[number].latency_ratio.ratio)
    given = {
        "pipeline": "mobilenet",
        "file": "mobilenet.yaml",
        "created": "2026-01-01T12:00:00+00:00",
        "sampler": "tpe",
        "seed": 0,
        "space": {
            "prune.pruning_ratio": {"low": 0.3, "high": 0.8, "log": False},
            "distill.loss": {"any": ["kd", "dkd", "dist"]},
            "qat.weight_bits": {"any": [None, 4]},
        },
        "budget": {"accuracy_drop": 0.015, "size_ratio": 0.0834, "latency_ratio": 0.45},
        "target": TargetFacts(
            isa="x86-avx2", declared_isa="host", cpu="a CPU", threads=1, batch=1, processes=10, onnxruntime="1.32.0",
            saturates=True,
        ),
        "images": "digits at 32x32 pixels, 288 images of val, 360 of test",
        "teacher": Teacher(
            id="teacher", sha256="1" * 64, size_bytes=8_900_000,
            latency_ms=Latency(p50=1.0, p90=1.1, p99=1.2, runs=3000),
            val_accuracy=TEACHER_RIGHT / VAL, test_accuracy=0.983, seconds=167.0,
        ),
        "trials": trials,
        "standings": [
            Standing(trial=number, contender=files[number], on_front=number in front, on_test=on_test(340 + number))
            for number in together
        ],
        "best": together[0],
        "outcome": "pass",
        "checks": [Check(name="accuracy_drop", limit=0.015, value=0.003, passed=True)],
        "reason": "Of the files measured together that keep the budget on val none is measurably faster.",
        "against_file": AgainstFile(
            trial=0, accuracy_difference=0.0028, accuracy_ci95=(-0.011, 0.017), p_value=0.75, size_ratio=0.52,
            latency_ratio=Ratio(ratio=0.71, ci95=(0.69, 0.73)),
        ),
    }  # fmt: skip
    return Front.model_validate({**given, **changed})


def on_test(correct: int) -> OnTest:
    """So many of the 360 images of test."""
    return OnTest(
        accuracy=correct / 360, accuracy_ci95=(0.95, 0.99), drop=0.983 - correct / 360, drop_ci95=(-0.01, 0.02),
        correct=correct, total=360,
    )  # fmt: skip
