"""Every error a user can cause is one of these; each reads as one line and ends the command with exit code 2 or 3.

EdgekdError
|- ConfigError        a YAML file, a --set override or a setting
|- DataError          a dataset, a split, an image
|- ModelError         an architecture name or weights that do not fit it
|- ArtifactError      the model store: a damaged or missing folder, a disk that refuses
|  '- BusyError       an artifact that another process is making, where nobody wanted to wait for it
|- TrainingError      a loss that is not a number
|- PruningError       a network that cannot be pruned as asked
|- QuantizationError  a network that cannot be made integer
|- ExportError        an ONNX file that is not what it should be
|- BundleError        a bundle that is not whole, or not to be trusted
|- ReportError        a report.json or its predictions that cannot be read or compared
|- DeviceError        a device that cannot be reached, lacks something or refuses a bundle
|- ShapeError         tensors whose shapes do not go together
'- LostProcessError   one of several processes is gone (exit code 3: run again)
"""

from edgekd.ondevice.faults import Fault, printable

__all__ = [
    "ArtifactError",
    "BundleError",
    "BusyError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "EdgekdError",
    "ExportError",
    "LostProcessError",
    "ModelError",
    "PruningError",
    "QuantizationError",
    "ReportError",
    "ShapeError",
    "TrainingError",
    "printable",
]


class EdgekdError(Fault):
    """A mistake reported in one line: where it is, what is wrong and was found, what to do.

    Args:
        where: the dotted place of a setting (``stages[2].temperature``), a file, a host.
        problem: what is wrong, with what was found.
        remedy: what to do next; empty where the problem says it already.
    """

    exit_code = 2


class ConfigError(EdgekdError):
    """A YAML file, an override or a setting is wrong.

    ``more`` holds further mistakes of the same file, so that all of them are reported at once.
    """

    def __init__(self, where: str, problem: str, remedy: str = "", more: "tuple[ConfigError, ...]" = ()) -> None:
        super().__init__(where, problem, remedy)
        self.more = more

    @property
    def lines(self) -> list[str]:
        """Every mistake, one line each."""
        return [str(self), *(str(other) for other in self.more)]


class DataError(EdgekdError):
    """A dataset cannot be read or split."""


class ModelError(EdgekdError):
    """An architecture is unknown, or weights do not fit it."""


class ArtifactError(EdgekdError):
    """A folder of the model store is damaged, missing or cannot be written."""


class BusyError(ArtifactError):
    """Another process is making an artifact, and this one was not to wait for it."""


class TrainingError(EdgekdError):
    """Training went wrong and cannot go on."""


class PruningError(EdgekdError):
    """A network cannot be pruned as asked."""


class QuantizationError(EdgekdError):
    """A network cannot be quantized."""


class ExportError(EdgekdError):
    """An ONNX file is not what it should be."""


class BundleError(EdgekdError):
    """A bundle is not whole, or not to be trusted."""


class ReportError(EdgekdError):
    """A report, or its predictions, cannot be read or compared."""


class DeviceError(EdgekdError):
    """A device cannot be reached, lacks something or refuses a bundle; its old version stays in service."""


class ShapeError(EdgekdError):
    """Tensors have shapes that do not go together."""


class LostProcessError(EdgekdError):
    """One of the processes of a run was killed or crashed; nothing is wrong with the input."""

    exit_code = 3
