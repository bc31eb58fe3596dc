"""What report.json says of each stage."""

from pydantic import Field

from edgekd.report.record import Count, Record, Share


class Epoch(Record):
    """One pass over the training split."""

    epoch: int
    losses: dict[str, float]
    val_accuracy: float
    lr: float
    seconds: float


class LayerWidth(Record):
    """One layer's channels before and after pruning."""

    layer: str
    before: int
    after: int
    note: str = ""


class Trial(Record):
    """One value of a setting that was tried."""

    value: float
    val_accuracy: Share = Field(description="of the student, after the trial; balanced where data.balance is")


class Search(Record):
    """How a setting was chosen: by the student's accuracy on val after short trainings."""

    setting: str
    epochs: Count = Field(description="of each trial")
    tried: list[Trial]
    chosen: float


class StageReport(Record):
    """What a stage did."""

    id: str
    stage: str
    settings: dict[str, object]
    digest: str
    seconds: float
    val_accuracy: float | None
    epochs: list[Epoch] = []
    best_epoch: int | None = None
    searches: list[Search] = []
    widths: list[LayerWidth] = []
    notes: list[str] = []
    facts: dict[str, float | int | str] = {}
