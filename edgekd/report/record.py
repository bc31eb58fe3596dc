"""What every piece of report.json is."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Milliseconds = Annotated[float, Field(ge=0, lt=1e9)]


class Record(BaseModel):
    """A frozen piece of the report."""

    # Reports are also read from elsewhere: unknown fields and NaN are refused before they reach a page or a comparison.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, allow_inf_nan=False
    )
