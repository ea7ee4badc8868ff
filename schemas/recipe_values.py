"""What the sections of a recipe have in common: the base they share and the kinds of values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, field_validator

from schemas.plain import require_plain

Share = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Positive = Annotated[StrictInt, Field(ge=1, lt=2**31)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

RuleSetting = Annotated[float, Field(strict=True, allow_inf_nan=False)] | Literal[False, "report"]
"""What a recipe may say of a rule: its limit, that it is off, or that it only reports."""
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]

# Keys that mean the same of the text model's servers and of the voice's.
Gpus = Annotated[
    StrictInt,
    Field(
        ge=0,
        description="How many GPUs the servers of this section have together, for GPU-hours to be "
        "counted; 0: unknown.",
    ),
]
GpuHourPrice = Annotated[
    StrictFloat,
    Field(
        ge=0.0,
        description="What an hour of one of these GPUs costs, in whatever currency, for the cost "
        "to be estimated; 0: unknown.",
    ),
]
ApiKeyEnv = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        description="Name of the environment variable that holds the servers' API key; empty for "
        "servers without one.",
    ),
]
TimeoutSeconds = Annotated[
    StrictFloat, Field(gt=0, description="Seconds that one try at a request may take.")
]
PatienceSeconds = Annotated[
    StrictFloat,
    Field(
        ge=0,
        description="Seconds that a request is tried again, counted from its first failure, until "
        "the run ends with an error.",
    ),
]


class Section(BaseModel):
    """A section of the recipe: no unknown keys, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        if not isinstance(value, dict):  # a section, which sees to its own keys
            require_plain(value)
        return value
