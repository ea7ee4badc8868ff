"""How far a run was when its last build said so: the file that `corpus.run.progress` keeps."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpus.errors import SympatheiaError
from corpus.plan.user_input import explain

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Cell(_Part):
    done: Count
    total: Count
    refused: Count = 0
    acceptance: Number | None = None


class _Stage(_Part):
    done: Count
    total: Count
    per_second: Number | None = None
    seconds_left: Number | None = None
    cells: dict[str, _Cell] = {}
    rejections: dict[str, Count] = {}
    reported: dict[str, Count] = {}


class _Endpoint(_Part):
    url: str
    in_flight: Count = 0
    limit: Count | None = None
    done: Count = 0
    failed: Count = 0
    completion_tokens: Count = 0
    healthy: bool = True
    last_error: str | None = None
    tokens_per_second: Number | None = None


class _Servers(_Part):
    seconds: Number = 0.0
    gpu_hours: Number | None = None
    cost: Number | None = None
    endpoints: list[_Endpoint] = []


class _Progress(_Part):
    stages: dict[str, _Stage] = {}
    servers: dict[str, _Servers] = {}


def read_progress(path: Path) -> dict[str, Any]:
    """What the last build of a run put on file; without stages where there was none.

    Raises:
        SympatheiaError: the file was changed on disk.
    """
    try:
        content = path.read_bytes() if path.is_file() else b"{}"
        return _Progress.model_validate_json(content).model_dump()
    except ValidationError as error:
        raise SympatheiaError(
            f"{path} is damaged ({explain(error)}). The next build begins it anew."
        ) from error
