"""Mixup: what is blended with what, and what a loss makes of it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Batch
from edgekd.stages import Distill
from edgekd.stages.base import frozen
from edgekd.training.losses import kd_loss
from edgekd.training.mixup import blended, mixed

IMAGES = torch.tensor([0.0, 10.0, 20.0, 30.0])[:, None, None, None]
LABELS = torch.tensor([0, 1, 2, 0])


def test_an_image_is_blended_with_its_mirror_in_the_batch_as_computed_by_hand() -> None:
    found = blended(Batch(IMAGES, LABELS), torch.tensor(0.75))

    assert found.images.flatten().tolist() == [7.5, 12.5, 17.5, 22.5]
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert found.others.tolist() == [0, 2, 1, 0]


def test_the_cross_entropy_of_a_blend_is_that_with_blended_labels() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = blended(Batch(IMAGES, LABELS), torch.tensor(0.75))

    targets = 0.75 * F.one_hot(LABELS, 3) + 0.25 * F.one_hot(LABELS.flip(0), 3)
    by_hand = -(targets * logits.log_softmax(1)).sum(1).mean()
    assert found.by_labels(lambda labels: F.cross_entropy(logits, labels)).item() == pytest.approx(by_hand.item())


def test_pictures_without_a_label_are_blended_among_themselves_so_that_no_label_is_lost() -> None:
    images = torch.arange(6.0)[:, None, None, None]

    found = blended(Batch(images, torch.tensor([-1, 4, -1, 5, 6, -1])), torch.tensor(0.0))

    assert found.images.flatten().tolist() == [5, 4, 2, 3, 1, 0]
    assert found.labels.tolist() == [-1, 4, -1, 5, 6, -1]
    assert found.others.tolist() == [-1, 6, -1, 5, 4, -1]


def test_the_proportion_is_uniform_and_comes_from_the_generator_that_checkpoints_keep() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    drawn = [mixed(Batch(IMAGES, LABELS)).share.item() for _ in range(2000)]
    torch.set_rng_state(state)

    assert [mixed(Batch(IMAGES, LABELS)).share.item() for _ in range(3)] == drawn[:3]
    share_below = [sum(value < edge for value in drawn) / len(drawn) for edge in (0.25, 0.5, 0.75)]
    assert share_below == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 3)), frozen(nn.Sequential(nn.Flatten(), nn.Linear(1, 3)))


def test_teacher_and_student_see_the_same_blends_and_the_loss_is_made_of_them() -> None:
    student, teacher = networks()
    seen: list[Tensor] = []
    for model in (student, teacher):
        model.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    torch.manual_seed(5)

    loss = Distill(mixup=True, alpha=0.3, beta=0.5).batch_loss(student, teacher)(Batch(IMAGES, LABELS), 0.0)

    torch.manual_seed(5)
    blends = mixed(Batch(IMAGES, LABELS))
    assert seen[0] is seen[1]
    assert torch.equal(seen[0], blends.images)
    logits = student(blends.images)
    ce = blends.by_labels(lambda labels: F.cross_entropy(logits, labels))
    expected = 0.3 * ce + 0.5 * kd_loss(logits, teacher(blends.images), 4.0)
    assert loss.total.item() == pytest.approx(expected.item())


def test_where_the_labels_teach_alone_nothing_is_blended() -> None:
    student, teacher = networks()
    stage = Distill(mixup=True, start_teacher_at=0.2, stop_teacher_at=0.8)

    for progress in (0.1, 0.9):
        found = stage.batch_loss(student, teacher)(Batch(IMAGES, LABELS), progress)
        assert found.total.item() == F.cross_entropy(student(IMAGES), LABELS).item()


def test_a_loss_that_needs_one_label_for_each_image_is_refused_beside_mixup() -> None:
    with pytest.raises(ValueError, match="blends labels, and dkd needs one for each image; take loss: kd"):
        Distill.model_validate({"mixup": True, "loss": "dkd"})


def test_mixup_is_part_of_the_digest_where_it_is_on() -> None:
    assert "mixup" not in Distill().deciding_settings()
    assert Distill(mixup=True).deciding_settings()["mixup"] is True
