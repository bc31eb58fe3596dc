"""Processes that train together: usually one; several use DDP, on GPUs of their own where each has one."""

import contextlib
import datetime
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from edgekd.errors import ConfigError, EdgekdError, LostProcessError, TrainingError
from edgekd.training.gpus import gpu_of, in_words
from edgekd.training.launch import GOES_ON, LAUNCHER, has_peers

LONGEST_WAIT = datetime.timedelta(days=7)
"""How long the others wait while the first prunes, exports or reads images; a lost process is noticed at once."""
LEAST_SHARE = 2
"""Fewest images per process: a batch norm cannot learn from one."""
T = TypeVar("T")
Tensors = Callable[..., dict[str, Tensor]]


class Processes:
    """The processes of a run; this class is the case of a single process.

    Args:
        rank: this one's number, from 0. Number 0 alone writes and prints.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where a network is trained: on this machine's GPU where torch sees one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def by_first(self, work: Callable[[], T]) -> T:
        """The result of ``work`` in the first process; the others wait for it, and exit silently if it fails."""
        return work()

    def first_then_others(self, work: Callable[[], T]) -> T:
        """All processes do ``work``, the first one before the others."""
        return work()

    def of_first(self, value: T) -> T:
        """The first process's value, for everyone."""
        return value

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each figure's mean over the processes."""
        return dict(values)

    def averaging(self, model: nn.Module, loss: Tensors) -> Tensors:
        """Wrap a loss that calls ``model``, so that gradients are averaged over the processes; wrap it only once."""
        return loss

    def average_statistics(self, model: nn.Module, then: Callable[[], None]) -> None:
        """Average a model's buffers (batch norm statistics) over the processes in place; then call ``then``."""

    @contextlib.contextmanager
    def store_root(self, root: Path) -> Iterator[Path]:
        """Where to write: the given folder; for all processes but the first a temporary one, deleted on exit."""
        yield root

    def record(self) -> dict[str, str]:
        """GPU and number of processes, for the manifest."""
        return {"gpu": torch.cuda.get_device_name()} if self.device.type == "cuda" else {}

    @property
    def place_in_words(self) -> str:
        """Where they train, for a note; empty where there is no GPU to speak of."""
        return in_words(0 if self.device.type == "cuda" else None, self.size)

    def check_batch(self, images: int, where: str) -> None:
        """Raise TrainingError if a batch is too small to be split."""
        if images < LEAST_SHARE * self.size and self.size > 1:
            problem = f"{images} images cannot be split over {self.size} processes"
            remedy = f"a process needs {LEAST_SHARE}: raise batch_size, or take fewer processes"
            raise TrainingError(where, problem, remedy)


ALONE = Processes()


class FabricProcesses(Processes):
    """Several processes, each holding the whole model and all images; they exchange gradients and figures."""

    def __init__(self, fabric: Any) -> None:
        super().__init__(fabric.global_rank, fabric.world_size)
        self._fabric = fabric
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        own = gpu_of(fabric.local_rank, int(os.environ["LOCAL_WORLD_SIZE"]), gpus)
        # Some on GPUs and others on CPUs would wait for one another in every step.
        everywhere = fabric.all_reduce(torch.tensor(float(own is not None)), reduce_op="mean") == 1
        self._gpu = own if everywhere else None
        self._gradients = None
        if self._gpu is not None:
            torch.cuda.set_device(self._gpu)
            # Gradients stay on the GPUs; figures, objects and buffers go through gloo, on the CPU.
            self._gradients = torch.distributed.new_group(backend="nccl", timeout=LONGEST_WAIT)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu") if self._gpu is None else torch.device("cuda", self._gpu)

    def by_first(self, work: Callable[[], T]) -> T:
        outcome: tuple[T | None, EdgekdError | None] = (None, None)
        if self.first:
            try:
                outcome = (work(), None)
            except EdgekdError as error:
                # The error is broadcast as well: the others would wait forever for a value.
                outcome = (None, error)
        found, failure = self.of_first(outcome)
        if failure is not None:
            raise failure if self.first else SystemExit(failure.exit_code)
        return found  # type: ignore[return-value]

    def first_then_others(self, work: Callable[[], T]) -> T:
        kept: list[T] = []
        self.by_first(lambda: kept.append(work()))
        return kept[0] if self.first else work()

    def of_first(self, value: T) -> T:
        found: T = self._fabric.broadcast(value)
        return found

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        figures = torch.tensor(list(values.values()), dtype=torch.float64)
        return dict(zip(values, self._fabric.all_reduce(figures, reduce_op="mean").tolist(), strict=True))

    def averaging(self, model: nn.Module, loss: Tensors) -> Tensors:
        wrapped: Tensors = nn.parallel.DistributedDataParallel(
            _Loss(model, loss),
            device_ids=None if self._gpu is None else [self._gpu],
            process_group=self._gradients,
            # DDP would overwrite all buffers with those of the first process at every step; ``average_statistics``
            # takes their mean after every epoch instead.
            forward_sync_buffers=False,
            # A user's network may have unused layers, for whose gradients DDP would wait.
            find_unused_parameters=True,
        )
        return wrapped

    def average_statistics(self, model: nn.Module, then: Callable[[], None]) -> None:
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if buffers:
            # One exchange for all buffers, not one for each.
            flat = torch.cat([buffer.detach().double().reshape(-1) for buffer in buffers]).cpu()
            means = self._fabric.all_reduce(flat, reduce_op="mean").split([buffer.numel() for buffer in buffers])
            for buffer, mean in zip(buffers, means, strict=True):
                buffer.copy_(mean.reshape(buffer.shape))
        then()

    @contextlib.contextmanager
    def store_root(self, root: Path) -> Iterator[Path]:
        if self.first:
            yield root
            return
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            yield Path(folder)

    def record(self) -> dict[str, str]:
        return {**super().record(), "processes": str(self.size)}

    @property
    def place_in_words(self) -> str:
        return in_words(self._gpu, self.size)


class _Loss(nn.Module):
    """A loss as a module that owns the model, so that DDP sees the model's parameters and the loss's forward pass."""

    def __init__(self, model: nn.Module, loss: Tensors) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, *inputs: Any) -> dict[str, Tensor]:
        return self._loss(*inputs)


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that ``launch`` or torchrun started; only this one if neither did.

    Raises:
        LostProcessError: another process is gone; under ``launch``, which reports that itself, exits silently instead.
    """
    if not has_peers() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    if LAUNCHER in os.environ:
        _end_with_launcher(int(os.environ[LAUNCHER]))
    try:
        yield FabricProcesses(_fabric())
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        if LAUNCHER in os.environ:
            raise SystemExit(LostProcessError.exit_code) from None
        raise LostProcessError("processes", "another process of this run is gone", GOES_ON) from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _fabric() -> Any:
    """Fabric, configured by torchrun's variables, which ``launch`` sets as well."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if everywhere % here:
        found = f"{here} processes here of {everywhere} in all"
        raise ConfigError("processes", found, "start as many on every machine")
    strategy = DDPStrategy(
        cluster_environment=TorchElasticEnvironment(),
        process_group_backend="gloo",
        timeout=LONGEST_WAIT,
    )
    fabric = Fabric(accelerator="cpu", devices=here, num_nodes=everywhere // here, strategy=strategy)
    fabric.launch()
    return fabric


def _is_lost_connection(error: RuntimeError) -> bool:
    # gloo raises a plain RuntimeError when it loses a peer.
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()


def _end_with_launcher(launcher: int) -> None:
    """Exit cleanly on SIGTERM, and at once if the launcher is gone."""
    signal.signal(signal.SIGTERM, _end)

    def watch() -> None:
        # A killed launcher cannot send a signal, but an orphan gets another parent.
        while os.getppid() == launcher:
            time.sleep(1)
        # sys.exit would end only this thread, and the main thread may be waiting in gloo forever.
        os._exit(LostProcessError.exit_code)

    threading.Thread(target=watch, daemon=True).start()


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
