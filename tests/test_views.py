"""Batches that come again, and the teacher's answers to them, which are computed once."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgekd.config import Settings
from edgekd.data import Augment, Batch, Split, View, as_input, repeated_batches, train_batches
from edgekd.data.augment import no_augment
from edgekd.data.scan import UNKNOWN
from edgekd.errors import ArtifactError, TrainingError
from edgekd.pipeline import Pipeline
from edgekd.stages import Distill, Qat
from edgekd.stages.base import frozen
from edgekd.training.answers import CHECKSUM_BYTES, KeptAnswers
from edgekd.training.checkpoint import Checkpoints
from edgekd.training.fit import LossParts, Schedule, fit
from tests.chain import write_pipeline
from tests.test_checkpoint import StopAt, StopError, weights
from tests.tiny import CLASSES, tiny_convnet, tiny_dataset

SCHEDULE = Schedule(epochs=5, lr=0.1, batch_size=8, weight_decay=0.0, views=2)
STEPS = 6
"""Of one epoch of ``tiny_dataset``."""


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + torch.rand(images.shape, generator=generator)


def passed(
    view: int, generator: torch.Generator, share: tuple[int, int] = (0, 1), seed: int = 7, augment: Augment = noise
) -> dict[int, Batch]:
    batches = list(repeated_batches(tiny_dataset(augment=augment), 8, generator, View(view, seed), share))
    return {batch.place: batch for batch in batches if batch.place is not None}


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_a_view_comes_again_with_the_same_batches_in_another_order() -> None:
    generator = torch.Generator().manual_seed(0)

    once, again = passed(0, generator), passed(0, generator)

    assert sorted(once) == sorted(again) == [*range(STEPS)]
    assert list(once) != list(again)
    assert all(same(once[place], again[place]) for place in once)


def test_views_and_seeds_differ_and_each_view_has_every_image_once() -> None:
    generator = torch.Generator().manual_seed(0)

    first, second, other = passed(0, generator), passed(1, generator), passed(0, generator, seed=8)

    assert sorted(second) == [*range(STEPS, 2 * STEPS)]
    assert not any(same(first[place], second[place + STEPS]) for place in first)
    assert not any(same(first[place], other[place]) for place in first)
    every = torch.cat([batch.images for batch in passed(0, generator, augment=no_augment).values()])
    assert torch.equal(torch.unique(every, dim=0), torch.unique(as_input(tiny_dataset().train.images[:]), dim=0))


def test_processes_share_each_batch_of_a_view_in_one_order_and_augment_their_own() -> None:
    def noise_alone(images: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(images.shape, generator=generator)

    whole = passed(1, torch.Generator().manual_seed(3))
    parts = [passed(1, torch.Generator().manual_seed(3), (rank, 2), augment=noise_alone) for rank in (0, 1)]

    assert list(parts[0]) == list(parts[1])
    for place, batch in whole.items():
        both = [part[place] for part in parts]
        assert sorted(torch.cat([part.labels for part in both]).tolist()) == sorted(batch.labels.tolist())
        assert not torch.equal(both[0].images, both[1].images)


def test_batches_of_so_many_labels_are_the_same_where_others_of_the_pass_have_more() -> None:
    """As in the epoch in which the teacher stops."""
    data = replace(tiny_dataset(), pictures=without_labels(tiny_dataset(train=24).train))
    generator = torch.Generator().manual_seed(0)
    mixes = [[2] * 9, [2] * 5 + [8] * 4]

    taught, stopping = (list(repeated_batches(data, 8, generator, View(1, 7), mix=mix)) for mix in mixes)

    by_place = {batch.place: batch for batch in taught if batch.place is not None}
    assert sorted(by_place) == [*range(9, 18)]
    assert [int((batch.labels >= 0).sum()) for batch in stopping] == mixes[1]
    assert all(same(batch, by_place[batch.place or -1]) for batch in stopping[:5])
    assert {batch.place for batch in stopping} == set(by_place)


def without_labels(split: Split) -> Split:
    return Split(split.images, torch.full_like(split.labels, UNKNOWN))


def test_fresh_batches_have_no_place() -> None:
    assert {batch.place for batch in train_batches(tiny_dataset(), 8, torch.Generator())} == {None}


class Counted(nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.asked = frozen(tiny_convnet(16)), 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        logits: Tensor = self.network(images)
        return logits


def taught(
    kept: KeptAnswers | None, teacher: Counted, checkpoints: Checkpoints | None = None, breaks_at: float = 2.0
) -> nn.Module:
    torch.manual_seed(0)
    student = tiny_convnet(8)
    loss = Distill().batch_loss(student, teacher, kept=kept)

    def breaking(batch: Batch, progress: float) -> LossParts:
        found = loss(batch, progress)
        return LossParts(found.total * float("inf")) if progress >= breaks_at else found

    data = tiny_dataset(augment=noise)
    fit(student, breaking, data, SCHEDULE, seed=1, checkpoints=checkpoints)
    return student


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_kept_answers_teach_to_the_same_bits_and_the_teacher_is_asked_once_for_each(tmp_path: Path) -> None:
    asking, keeping = Counted(), Counted()

    asked, kept = taught(None, asking), taught(KeptAnswers(tmp_path / "deep" / "answers", CLASSES), keeping)

    assert equal(asked, kept)
    assert (asking.asked, keeping.asked) == (5 * STEPS, 2 * STEPS)


@pytest.mark.parametrize("remains", ["all", "a part", "other bytes", "nothing"])
def test_a_stopped_training_reads_what_is_whole_and_computes_the_rest(tmp_path: Path, remains: str) -> None:
    """Stopped in the third epoch; a record is 112 bytes: 8 times 3 floats and a checksum."""
    through, stopped, going_on = Counted(), Counted(), Counted()
    path, checkpoints = tmp_path / "answers", Checkpoints(tmp_path / "saved")
    wanted = taught(None, through)
    with pytest.raises(TrainingError, match="epoch 3"):
        taught(KeptAnswers(path, CLASSES), stopped, checkpoints, breaks_at=0.5)
    assert path.stat().st_size == 2 * STEPS * 112

    if remains == "a part":
        os.truncate(path, 4 * 112 + 50)
    if remains == "other bytes":
        body = bytearray(path.read_bytes())
        body[112 + 60] ^= 1
        body[5 * 112 : 6 * 112] = bytes(112)
        path.write_bytes(body)
    if remains == "nothing":
        path.unlink()
    found = taught(KeptAnswers(path, CLASSES), going_on, checkpoints)

    assert equal(wanted, found)
    assert stopped.asked == 2 * STEPS
    assert going_on.asked == {"all": 0, "a part": 2 * STEPS - 4, "other bytes": 2, "nothing": 2 * STEPS}[remains]


def test_an_answer_is_not_read_in_another_place_or_for_another_number_of_images(tmp_path: Path) -> None:
    kept, images = KeptAnswers(tmp_path / "answers", CLASSES), torch.zeros(4, 1, 8, 8)
    kept.of(Batch(images, torch.zeros(4), 0), lambda _: torch.ones(4, CLASSES))
    body = (tmp_path / "answers").read_bytes()
    (tmp_path / "answers").write_bytes(body + body)

    moved = kept.of(Batch(images, torch.zeros(4), 1), lambda _: torch.zeros(4, CLASSES))
    fewer = kept.of(Batch(images[:2], torch.zeros(2), 0), lambda _: torch.zeros(2, CLASSES))

    assert moved.sum() == fewer.sum() == 0


def test_a_full_disk_is_one_line() -> None:
    kept = KeptAnswers(Path("/dev/full"), CLASSES)

    with pytest.raises(ArtifactError, match=r"cannot be written .no space left on device.; check room"):
        kept.of(Batch(torch.zeros(4, 1, 8, 8), torch.zeros(4), 0), lambda _: torch.ones(4, CLASSES))


@pytest.mark.parametrize("stage", [Distill, Qat])
def test_views_that_never_come_again_or_that_nobody_reads_are_refused(stage: type[Settings]) -> None:
    for views, more, told in (
        (6, {"epochs": 6}, "must be below the epochs, 6"),
        (0, {}, "greater than or equal to 1"),
        (2, {"beta": 0.0}, "is not read, since beta is 0"),
    ):
        with pytest.raises(ValueError, match=told):
            stage.model_validate({"views": views, **more})


@pytest.mark.parametrize("key", ["mixup", "features"])
def test_views_are_refused_where_the_teacher_is_needed_in_every_step(key: str) -> None:
    with pytest.raises(ValueError, match=f"keeps answers, and {key} needs the teacher in every step"):
        Distill.model_validate({"views": 2, key: {"mixup": True, "features": "attention"}[key]})


def test_views_decide_a_result_and_their_absence_is_no_part_of_it() -> None:
    for stage in (Distill, Qat):
        assert "views" not in stage().deciding_settings()
        assert stage.model_validate({"views": 2}).deciding_settings()["views"] == 2


RECORD = 256 * 10 * 4 + CHECKSUM_BYTES
"""Of a batch of digits; an epoch has 4."""
CHAIN = """
    name: again
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2}
    stages:
      - {stage: teacher, model: "tests.contract.unseen:one_activation", epochs: 1, batch_size: 256}
      - {stage: distill, model: "tests.contract.unseen:one_activation", epochs: 3, batch_size: 256, views: 2}
      - {stage: qat, epochs: 3, batch_size: 256, views: 1}
"""


@pytest.mark.slow
def test_a_chain_with_views_that_was_stopped_ends_with_the_same_bits_and_leaves_no_answers(tmp_path: Path) -> None:
    whole = Pipeline.from_yaml(write_pipeline(tmp_path, CHAIN))
    pipeline = Pipeline.from_yaml(write_pipeline(tmp_path, CHAIN.partition("      - {stage: qat")[0]))
    pipeline.run(tmp_path / "through")

    with pytest.raises(StopError):
        pipeline.run(tmp_path / "stopped", progress=StopAt("distill", 10))
    assert [path.stat().st_size for path in (tmp_path / "stopped").glob("*.partial/answers-*")] == [8 * RECORD]
    pipeline.run(tmp_path / "stopped")

    assert len(weights(pipeline, tmp_path / "stopped")) == 2
    assert weights(pipeline, tmp_path / "stopped") == weights(pipeline, tmp_path / "through")
    assert not list((tmp_path / "stopped").glob("*.partial"))
    with pytest.raises(StopError):
        whole.run(tmp_path / "stopped", progress=StopAt("qat", 6))
    assert [path.stat().st_size for path in (tmp_path / "stopped").glob("*.partial/answers-*")] == [4 * RECORD]
