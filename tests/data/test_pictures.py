"""Pictures without labels: where they come from, how batches mix them with others, what is learned of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.config import validate
from edgekd.data import Batch, Dataset, Digits, Split, load_dataset, shared_batches, train_batches
from edgekd.data.pictures import with_few_labels
from edgekd.data.scan import UNKNOWN
from edgekd.data.stored import Chosen, Joined
from edgekd.errors import ConfigError, DataError
from edgekd.ondevice.pixels import fit_image, read_image
from edgekd.pipeline import Pipeline
from edgekd.stages import Distill
from edgekd.stages.teaching import NamedTerm, distillation, mean_cross_entropy, mix_of
from edgekd.training.losses import Dkd, kd_loss
from edgekd.zoo import ModelSpec, build
from tests.data.pictures import make_tree, noise, save, settings
from tests.made import said
from tests.tiny import tiny_dataset

FEW = {"name": "digits", "image_size": 8, "labelled": 0.05}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def few(share: float = 0.25) -> Dataset:
    return with_few_labels(tiny_dataset(), share)


def rows(split: Split) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in split.images[:])


def numbered(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None]


def test_views_give_what_a_copy_would() -> None:
    images, numbers = numbered(20), torch.tensor([3, 1, 7, 7, 19])
    chosen, joined = Chosen(images, numbers), Joined(images[:4], images[4:5], images[5:])

    assert torch.equal(chosen[:], images[numbers])
    assert torch.equal(chosen[torch.tensor([4, 0])], images[[19, 3]])
    assert torch.equal(joined[:], images)
    assert torch.equal(joined[torch.tensor([4, 0, 19, 3])], images[[4, 0, 19, 3]])
    assert torch.equal(joined[2:6], images[2:6])
    assert (chosen.shape, joined.shape) == ((5, 1, 1, 1), (20, 1, 1, 1))


def test_every_class_keeps_the_same_share_of_its_labels_and_no_image_is_lost() -> None:
    whole, data = tiny_dataset(), few(0.25)

    assert data.train.labels.bincount().tolist() == [4, 4, 4]
    assert data.pictures is not None
    assert set(data.pictures.labels.tolist()) == {UNKNOWN}
    assert rows(data.seen) == rows(whole.train)
    assert data.all_labels is not None
    assert data.all_labels.fingerprint() == whole.fingerprint() != data.fingerprint()


def test_a_label_is_seen_with_its_own_image_or_not_at_all() -> None:
    data, truth = few(0.25), tiny_dataset().train
    label_of = {image.numpy().tobytes(): int(label) for image, label in zip(truth.images[:], truth.labels, strict=True)}
    labelled = set(rows(data.train))

    for batch in train_batches(data, 8, generator(), mix=[2, 4, None, 8]):
        for image, label in zip(as_pixels(batch.images), batch.labels.tolist(), strict=True):
            assert label == (label_of[image] if image in labelled else UNKNOWN)


def as_pixels(images: Tensor) -> list[bytes]:
    """The uint8 pixels of images that were not augmented."""
    pixels = (images.permute(0, 2, 3, 1) * 64 + 128).round().to(torch.uint8)
    return [image.contiguous().numpy().tobytes() for image in pixels]


def test_what_val_or_test_has_is_left_out_and_told() -> None:
    whole = tiny_dataset()
    leaking = replace(
        whole, test=Split(torch.cat([whole.test.images[:], whole.train.images[-2:]]), torch.zeros(14).long())
    )

    data = with_few_labels(leaking, 0.0)

    assert data.pictures is not None
    assert len(data.pictures) == len(whole.train) - 2
    assert data.notes == ("2 pictures without labels are in val or test too, and left out",)


def test_a_batch_has_so_many_images_with_labels_as_the_mix_says() -> None:
    found = list(train_batches(few(), 8, generator(), mix=[2, 8, 2, None]))

    assert [int((batch.labels >= 0).sum()) for batch in found[:3]] == [2, 8, 2]
    assert [len(batch.images) for batch in found] == [8, 8, 8, 8]


def test_images_with_labels_are_passed_over_again_and_again() -> None:
    data = few()

    found = torch.cat([batch.labels for batch in train_batches(data, 12, generator(), mix=[12, 12])])

    assert found.bincount().tolist() == [8, 8, 8]


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_both_parts_of_a_batch_evenly(size: int) -> None:
    mix = [4, None, 8]
    shares = [list(shared_batches(few(), 8, generator(), rank, size, mix=mix)) for rank in range(size)]

    for parts in zip(*shares, strict=True):
        counts = [int((part.labels >= 0).sum()) for part in parts]
        assert sum(len(part.images) for part in parts) == 8
    first = [int((part[0].labels >= 0).sum()) for part in shares]
    assert sum(first) == 4
    assert max(first) - min(first) <= 1
    assert counts


def test_cross_entropy_is_the_mean_over_images_with_labels_also_of_a_part() -> None:
    logits, labels = torch.randn(8, 3, generator=generator()), torch.tensor([0, 1, 2, 1, -1, -1, -1, -1])

    whole = mean_cross_entropy(logits, labels, 0.5)
    parts = [mean_cross_entropy(logits[rank::3], labels[rank::3], 0.5) * len(labels[rank::3]) / 8 for rank in range(3)]

    assert whole.item() == pytest.approx(F.cross_entropy(logits[:4], labels[:4]).item())
    assert sum(parts).item() == pytest.approx(whole.item())  # type: ignore[union-attr]


def test_the_teacher_s_term_counts_on_all_images_and_cross_entropy_on_those_with_labels() -> None:
    student, teacher = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    images, labels = torch.randn(6, 4, generator=generator()), torch.tensor([0, 2, 1, -1, -1, -1])
    term = NamedTerm("kd", lambda s, t, _: kd_loss(s, t, 2.0))

    loss = distillation(student, teacher, term, 0.3, 0.7, labelled=0.5)(Batch(images, labels), 0.0)

    ce = F.cross_entropy(student(images[:3]), labels[:3])
    kd = kd_loss(student(images), teacher(images), 2.0)
    assert loss.total.item() == pytest.approx((0.3 * ce + 0.7 * kd).item())


def test_of_an_image_without_a_label_decoupled_distillation_takes_the_teacher_s_class() -> None:
    student, teacher = torch.randn(2, 3, generator=generator()), torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])

    unknown, said_so = (Dkd()(student, teacher, torch.tensor(labels), 4.0) for labels in ([-1, -1], [0, 2]))

    assert unknown.item() == said_so.item()


def test_after_an_early_stop_and_without_a_teacher_no_picture_is_asked_about() -> None:
    stage, data = Distill(batch_size=8, labelled_share=0.25, stop_teacher_at=0.5), few()
    mix = mix_of(stage, data, taught=True)
    alone = mix_of(stage, data, taught=False)

    assert mix is not None
    assert alone is not None
    assert [mix(at) for at in (0.0, 0.4, 0.5, 0.9)] == [2, 2, 8, 8]
    assert alone(0.0) == 8
    assert mix_of(Distill(alpha=0.0), data, taught=True)(0.5) is None  # type: ignore[misc]
    assert mix_of(stage, tiny_dataset(), taught=True) is None


def pipeline(data: dict[str, Any], *stages: dict[str, Any]) -> Pipeline:
    teacher = {"stage": "teacher", "model": "resnet8", "width_mult": 0.25, "epochs": 1}
    small = [{"model": "resnet8", "width_mult": 0.25, "epochs": 1, **stage} for stage in stages]
    return validate(Pipeline, {"name": "few", "data": data, "stages": [{**teacher, **small[0]}, *small[1:]]}, "here")


def test_a_teacher_of_all_labels_is_the_one_of_a_file_that_takes_none_away(tmp_path: Path) -> None:
    taking = pipeline(FEW, {"all_labels": True}, {"stage": "distill"}, {"stage": "distill", "id": "c", "beta": 0.0})
    taking.run(tmp_path / "models", tmp_path / "exports")

    usual = pipeline({"name": "digits", "image_size": 8}, {})

    planned = usual.plan(tmp_path / "models")[0]
    assert planned.artifact is not None
    steps = [said(item.artifact).history for item in taking.plan(tmp_path / "models") if item.artifact]
    assert [bool(history) for history in steps] == [True, True, True]


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([{}], "stages[0].epochs: needs labels, and no training image has one"),
        ([{"all_labels": True}, {"stage": "distill"}], "stages[1].alpha: reads labels, and no training image has one"),
        (
            [{"all_labels": True}, {"stage": "distill", "alpha": 0.0, "stop_teacher_at": 0.5}],
            "stages[1].stop_teacher_at: reads labels",
        ),
        ([{"all_labels": True}, {"stage": "distill", "beta": 0.0}], "stages[1].beta: reads labels"),
    ],
)
def test_without_any_label_what_reads_labels_is_refused_before_it_runs(
    stages: list[dict[str, Any]], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline({**FEW, "labelled": 0.0}, *stages).run(tmp_path / "models", tmp_path / "exports")

    assert told in str(caught.value)
    assert not list((tmp_path / "models").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([{"all_labels": True}], "all_labels: is not read"),
        ([{}, {"stage": "distill", "labelled_share": 0.5}], "labelled_share: is not read"),
    ],
)
def test_a_setting_for_few_labels_is_refused_where_all_have_one(
    stages: list[dict[str, Any]], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        pipeline({"name": "digits", "image_size": 8}, *stages).run(tmp_path / "models", tmp_path / "exports")


def test_a_folder_of_pictures_is_read_once_and_what_val_has_is_left_out(tmp_path: Path) -> None:
    make_tree(tmp_path / "images", {"a": 12, "b": 12})
    for number in range(5):
        save(tmp_path / "more" / "deep" / f"{number}.png", noise(100 + number))
    known = load_dataset(settings(tmp_path / "images"))
    judged = {image.numpy().tobytes() for image in known.val.images[:]}
    every = sorted((tmp_path / "images").rglob("*.png"))
    copied = next(path for path in every if fit_image(read_image(path, 3), 8, "crop").tobytes() in judged)
    (tmp_path / "more" / "copy.png").write_bytes(copied.read_bytes())

    data, again = (load_dataset(settings(tmp_path / "images", unlabelled=str(tmp_path / "more"))) for _ in range(2))

    assert data.pictures is not None
    assert len(data.pictures) == 5
    assert judged.isdisjoint(rows(data.pictures))
    assert "1 picture without a label is in val or test too, and left out" in data.notes
    assert data.fingerprint() == again.fingerprint() != known.fingerprint()


def test_a_folder_without_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="holds no image"):
        load_dataset(Digits(image_size=8, unlabelled=str(tmp_path / "empty")))


def test_nothing_but_pictures_teaches_a_student(tmp_path: Path) -> None:
    """val and test have labels, train is not there."""
    for part in ("val", "test"):
        make_tree(tmp_path / "images" / part, {"a": 4, "b": 4})
    for number in range(24):
        save(tmp_path / "more" / f"{number}.png", noise(100 + number))
    data = {"name": "folder", "root": str(tmp_path / "images"), "image_size": 8, "unlabelled": str(tmp_path / "more")}
    data["cache"] = str(tmp_path / "cache")

    taught = pipeline(
        data,
        {"epochs": 0, "weights": weights(tmp_path), "normalization": "edgekd"},
        {"stage": "distill", "alpha": 0.0, "batch_size": 8},
    )
    taught.run(tmp_path / "models", tmp_path / "exports")

    done = taught.plan(tmp_path / "models")[1].artifact
    assert done is not None
    history = said(done).history
    assert history is not None
    assert len(history.epochs) == 1
    assert history.epochs[0].losses["ce"] == 0.0 < history.epochs[0].losses["kd"]


def weights(folder: Path) -> str:
    spec = ModelSpec(name="resnet8", num_classes=2, in_channels=3, image_size=8, width_mult=0.25)
    torch.save(build(spec).state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")
