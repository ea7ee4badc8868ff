"""The recipe: everything a run is made from, as one validated model (one TOML file).

Each key says what it means in its `description`: `sympatheia recipe keys`, docs/recipe.md and the
JSON Schema for editors are made of nothing else.
"""

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt, field_validator, model_validator

from schemas.recipe_adapter import Adapter
from schemas.recipe_evaluation import Evaluation, EvaluationJudge, HearingJudge, SpeechJudge
from schemas.recipe_llm import Annotate, Judge, Llm, Sampling, Vllm
from schemas.recipe_speech import Speech
from schemas.recipe_values import Name, RuleName, RuleSetting, Section

__all__ = [
    "BLOCK",
    "SERVING",
    "Adapter",
    "Annotate",
    "Compute",
    "Dedup",
    "Dialogue",
    "Emotional",
    "Evaluation",
    "EvaluationJudge",
    "Grid",
    "HearingJudge",
    "Judge",
    "Limits",
    "Llm",
    "Neutral",
    "Recipe",
    "RuleName",
    "RuleSetting",
    "Sampling",
    "Shards",
    "Speech",
    "SpeechJudge",
    "Split",
    "Storage",
    "Text",
    "Vllm",
]

BLOCK = 10
"""Query slots of a cell that share one shuffle of the split (design: exact shares per ten)."""

SERVING = {
    *("endpoints", "vllm", "gpus", "gpu_hour_price", "api_key_env"),
    *("concurrency", "timeout_seconds", "patience_seconds", "after_texts"),
}
"""Keys of `llm`, `speech` and their judges that say who answers, when and how fast, and never shape
what is made."""


class Emotional(Section):
    """The emotional subset: queries spoken in an emotion, one response each."""

    pairs_per_anchor: Annotated[
        StrictInt, Field(ge=0, le=99_999, description="Pairs of each anchor.")
    ] = 1000


class Neutral(Section):
    """The neutral subset: queries spoken neutrally, one response per anchor each."""

    queries: Annotated[
        StrictInt,
        Field(
            ge=0,
            le=99_999,
            description="Neutral queries; each is answered once for every anchor, so pairs are "
            "this times the anchors.",
        ),
    ] = 500


class Grid(Section):
    """The grid: neutral queries, answered at points between the anchors."""

    queries: Annotated[
        StrictInt,
        Field(
            ge=0,
            le=99_999,
            description="Neutral queries, each answered at points of the plane between the "
            "anchors; 0: no grid.",
        ),
    ] = 0
    points: Annotated[
        StrictInt,
        Field(
            ge=0,
            le=99,
            description="Points at which each query of the grid is answered, so pairs are the one "
            "times the other. No two points of a query are close to each other.",
        ),
    ] = 0

    @model_validator(mode="after")
    def _has_points(self) -> "Grid":
        if self.queries and not self.points:
            raise ValueError(f"queries is {self.queries} and points is 0: set both, or neither")
        return self


class Dialogue(Section):
    """Dialogues: several exchanges, through which the user's feeling changes."""

    dialogues: Annotated[StrictInt, Field(ge=0, le=99_999, description="Dialogues; 0: none.")] = 0
    turns: Annotated[
        tuple[
            Annotated[StrictInt, Field(ge=1, le=99)],
            Annotated[StrictInt, Field(ge=1, le=99)],
        ],
        Field(
            description="Least and most exchanges of a dialogue; each has a number of them, drawn "
            "by the seed."
        ),
    ] = (2, 4)
    delivery: Annotated[
        Literal["anchor", "trajectory"],
        Field(
            description="How responses are spoken. anchor: as suits the feeling of the turn. "
            "trajectory: by how loud the user's turns were until then, in the styles of "
            "trajectories.yaml."
        ),
    ] = "anchor"
    falling_db: Annotated[
        StrictFloat,
        Field(
            ge=0.0,
            le=60.0,
            description="With delivery trajectory: by how many dB a turn has to be softer than "
            "those before it for the user's energy to count as falling.",
        ),
    ] = 1.5
    rising_db: Annotated[
        StrictFloat,
        Field(ge=0.0, le=60.0, description="Likewise louder, for it to count as rising."),
    ] = 1.5

    @model_validator(mode="after")
    def _least_before_most(self) -> "Dialogue":
        least, most = self.turns
        if least > most:
            raise ValueError(f"turns is [{least}, {most}]: the least comes first")
        return self


class Split(Section):
    """How query slots are divided between train and eval."""

    eval_fraction: Annotated[
        StrictFloat,
        Field(
            ge=0.0,
            lt=1.0,
            description="Share of the queries in eval, in whole tenths; the pairs of a query are "
            "on its side.",
        ),
    ] = 0.3

    @field_validator("eval_fraction")
    @classmethod
    def _tenths(cls, value: float) -> float:
        if abs(value * BLOCK - round(value * BLOCK)) > 1e-9:
            raise ValueError(f"must be a whole number of tenths (0.0, 0.1, ... 0.{BLOCK - 1})")
        return value

    @property
    def eval_per_block(self) -> int:
        """Eval slots in each block of ten."""
        return round(self.eval_fraction * BLOCK)


class Text(Section):
    """What texts must be."""

    rules: dict[RuleName, RuleSetting] = Field(
        default={},
        description="Rules of texts, by name: a number sets the limit, false turns the rule off, "
        "'report' has it counted and the text kept. With query_ or response_ before its name a "
        "rule is set for one of both.",
    )


class Dedup(Section):
    """Near-duplicate rejection among all queries."""

    threshold: Annotated[
        StrictFloat,
        Field(
            gt=0.0,
            le=1.0,
            description="Cosine similarity above which a query is a near-duplicate of one that was "
            "accepted before it, and refused.",
        ),
    ] = 0.85
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="Sentence-embedding model that compares texts; the default comes with the "
            "project.",
        ),
    ] = "sentence-transformers/all-MiniLM-L6-v2"


class Shards(Section):
    """How the Parquet files are cut, and where else they go."""

    # Hub guidance keeps files near or below 500 MB so that the viewer and streaming stay quick.
    max_bytes: Annotated[
        StrictInt, Field(ge=100_000, description="Size at which a Parquet file is full, bytes.")
    ] = 450_000_000
    target: Annotated[
        str,
        Field(
            pattern=r"^([a-z][a-z0-9+]*://[^@]+)?$",
            description="URL that fsspec opens, such as s3://bucket/folder, to which the finished "
            "dataset is copied too; empty: nowhere. Without keys: those belong in the storage's "
            "own configuration.",
        ),
    ] = ""


class Storage(Section):
    """Where the store is shared, beside the run folder's own."""

    url: Annotated[
        str,
        Field(
            pattern=r"^[^@]*$",
            description="Folder, or URL that fsspec opens, in which several runs share their "
            "store; empty: not shared. Without keys, as with shards.target.",
        ),
    ] = ""


class Compute(Section):
    """Where the pipeline's own computing is done: builtin voice, checks, embeddings, tokens."""

    dask: Annotated[
        str,
        Field(
            pattern=r"^((tcp|tls|ws|wss)://[^\s/]+)?$",
            description="Address of a Dask scheduler, such as tcp://head:8786; empty: processes of "
            "this machine.",
        ),
    ] = ""


class Limits(Section):
    """What a run may use up in its whole life, however often it is continued.

    A run that reaches a limit waits for what it has in flight and stops; when the limit is raised,
    the same command goes on.
    """

    gpu_hours: Annotated[
        StrictFloat,
        Field(
            ge=0.0,
            description="Most GPU-hours, of the sections whose gpus are known; 0: no limit.",
        ),
    ] = 0.0
    cost: Annotated[
        StrictFloat,
        Field(
            ge=0.0,
            description="Most that the GPUs may cost, in the currency of gpu_hour_price; 0: no "
            "limit.",
        ),
    ] = 0.0
    requests: Annotated[
        StrictInt,
        Field(
            ge=0,
            description="Most requests that are answered: texts, grades, and clips of a voice "
            "behind a server; tries that failed are not counted. 0: no limit.",
        ),
    ] = 0


class Recipe(Section):
    """Everything a run is made from."""

    name: Annotated[
        Name,
        Field(
            description="Name of the corpus, of letters, digits, '.', '_' and '-'; the run folder "
            "is runs/NAME if none is given."
        ),
    ]
    seed: Annotated[
        StrictInt,
        Field(
            ge=0,
            lt=2**63,
            description="Number that all splits, topics and sampling seeds are derived from.",
        ),
    ] = 0
    prompts: Annotated[
        str,
        Field(
            description="Folder of prompts, relative to the recipe's file; empty: the bundled one."
        ),
    ] = ""
    anchors: Annotated[
        Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)],
        Field(description="Anchors (emotions) to make, by name; all: every one of the prompts."),
    ] = "all"
    emotional: Emotional = Emotional()
    neutral: Neutral = Neutral()
    grid: Grid = Grid()
    dialogue: Dialogue = Dialogue()
    split: Split = Split()
    llm: Llm = Llm()
    text: Text = Text()
    annotate: Annotate = Annotate()
    dedup: Dedup = Dedup()
    speech: Speech
    shards: Shards = Shards()
    storage: Storage = Storage()
    compute: Compute = Compute()
    limits: Limits = Limits()
    adapter: Adapter = Adapter()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _something_to_make(self) -> "Recipe":
        sizes = {
            "emotional.pairs_per_anchor": self.emotional.pairs_per_anchor,
            "neutral.queries": self.neutral.queries,
            "grid.queries": self.grid.queries,
            "dialogue.dialogues": self.dialogue.dialogues,
        }
        if not any(sizes.values()):
            raise ValueError(f"{', '.join(sizes)} are all 0: nothing to make")
        return self

    @model_validator(mode="after")
    def _voice_waits_for_the_gpus(self) -> "Recipe":
        if self.llm.vllm.python and "after_texts" not in self.speech.model_fields_set:
            known = self.speech.model_copy(update={"after_texts": True})
            object.__setattr__(self, "speech", known)  # how a frozen model derives a value
        return self

    @model_validator(mode="after")
    def _limits_can_be_measured(self) -> "Recipe":
        servers = [section for section in (self.llm, self.speech) if section.gpus]
        if self.limits.gpu_hours and not servers:
            raise ValueError(
                "limits.gpu_hours is set, but GPU-hours are counted only where llm.gpus or "
                "speech.gpus says how many GPUs there are"
            )
        if self.limits.cost and not any(section.gpu_hour_price for section in servers):
            raise ValueError(
                "limits.cost is set, but cost is counted only where gpus and gpu_hour_price of llm "
                "or of speech say what the GPUs cost"
            )
        return self
