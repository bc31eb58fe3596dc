"""What two processes find of each other, as JSON: ``torchrun --nproc-per-node 2 tests/peers.py FOLDER``."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Batch
from edgekd.errors import ModelError
from edgekd.training.fit import LossParts, Schedule, fit
from edgekd.training.parallel import Processes, joined
from tests.tiny import tiny_convnet, tiny_dataset

SECONDS = 3.0
BATCH = 5
"""Not a multiple of the two processes: one gets 3 images, the other 2."""


def finding(processes: Processes) -> dict[str, object]:
    """Everything that the tests ask about one process."""
    begun = time.process_time()
    waited_for = processes.by_first(lambda: time.sleep(SECONDS) or "the first's")  # type: ignore[func-returns-value]
    return {
        "waited_for": waited_for,
        "cpu_seconds": time.process_time() - begun,
        "of_first": processes.of_first(processes.rank + 10),
        "mean": processes.mean({"a": float(processes.rank)}),
        "statistics": averaged(processes),
        "gradient": gradient(processes),
        "first_then_others": processes.first_then_others(lambda: processes.rank),
        "trained": trained(processes),
        "failure": failure(processes),
    }


def averaged(processes: Processes) -> list[float]:
    norm, called = nn.BatchNorm2d(2), list[int]()
    norm.running_mean, norm.running_var = torch.full((2,), processes.rank + 1.0), torch.full((2,), 4.0)
    processes.average_statistics(norm, lambda: called.append(1))
    assert called
    return [*norm.running_mean.tolist(), *norm.running_var.tolist()]


def line_and_batch() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 3), torch.randn(BATCH, 4), torch.arange(BATCH) % 3


def gradient(processes: Processes) -> list[float]:
    """Of a batch that the processes share unequally."""
    model, images, labels = line_and_batch()
    mine = slice(processes.rank, None, processes.size)
    share = len(labels[mine]) * processes.size / BATCH

    def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"total": share * F.cross_entropy(model(images), labels)}

    averaging = processes.averaging(model, loss)
    averaging(images[mine], labels[mine])["total"].backward()  # type: ignore[no-untyped-call]
    assert model.weight.grad is not None
    return [float(value) for value in model.weight.grad.flatten()]


def trained(processes: Processes) -> dict[str, object]:
    """A network with a parameter without use and batch norms, after three epochs."""
    model = tiny_convnet(width=8)
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))

    def loss(batch: Batch, _: float) -> LossParts:
        return LossParts(F.cross_entropy(model(batch.images), batch.labels))

    schedule = Schedule(epochs=3, lr=0.1, batch_size=15, weight_decay=0.0)
    history = fit(model, loss, tiny_dataset(), schedule, seed=0, processes=processes)
    sums = {name: float(value.double().sum()) for name, value in model.state_dict().items()}
    figures = [(log.losses, log.val_accuracy, log.val_loss) for log in history.epochs]
    return {"sums": sums, "figures": figures, "best": history.best_epoch}


def failure(processes: Processes) -> str:
    def fails() -> None:
        raise ModelError("weights", "are missing")

    return ended_by(lambda: processes.by_first(fails))


def ended_by(work: Callable[[], object]) -> str:
    try:
        work()
    except (ModelError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as everyone:
        Path(sys.argv[1], f"{everyone.rank}.json").write_text(json.dumps(finding(everyone)), encoding="utf-8")
