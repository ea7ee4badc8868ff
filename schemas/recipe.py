"""The recipe: everything a run is made from, as one validated model (one TOML file)."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    field_validator,
    model_validator,
)

from schemas.plain import require_plain

BLOCK = 10
"""Query slots of a cell that share one shuffle of the split (design: exact shares per ten)."""

Share = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Positive = Annotated[StrictInt, Field(ge=1, lt=2**31)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

RESERVED_EXTRA = frozenset(
    {"chat_template_kwargs", "max_tokens", "messages", "model", "seed", "stream"}
    | {"temperature", "top_p", "n"}
)
"""Fields of a chat request that the pipeline sets itself, so `extra` may not."""


SERVING = {
    *("endpoints", "vllm", "gpus", "gpu_hour_price", "api_key_env"),
    *("concurrency", "timeout_seconds", "patience_seconds"),
}
"""Keys of `llm` and `speech` that say who answers and how fast, and never shape what is made."""


RuleSetting = Annotated[float, Field(strict=True, allow_inf_nan=False)] | Literal[False, "report"]
"""What a recipe may say of a rule: its limit, that it is off, or that it only reports."""
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        if not isinstance(value, dict):  # a section, which sees to its own keys
            require_plain(value)
        return value


class Emotional(_Section):
    """The emotional subset: queries spoken in an emotion, one response each."""

    pairs_per_anchor: Annotated[StrictInt, Field(ge=0, le=99_999)] = 1000


class Neutral(_Section):
    """The neutral subset: queries spoken neutrally, one response per anchor each."""

    queries: Annotated[StrictInt, Field(ge=0, le=99_999)] = 500


class Split(_Section):
    """How query slots are divided between train and eval."""

    eval_fraction: Annotated[StrictFloat, Field(ge=0.0, lt=1.0)] = 0.3

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


class Sampling(_Section):
    """How one kind of text is sampled; `extra` holds further fields of the request by name."""

    temperature: Annotated[StrictFloat, Field(ge=0.0, le=2.0)]
    top_p: Annotated[StrictFloat, Field(gt=0.0, le=1.0)]
    max_tokens: Positive
    thinking: StrictBool
    extra: dict[str, JsonValue] = {}

    @field_validator("extra")
    @classmethod
    def _not_reserved(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        require_plain(value)
        taken = sorted(RESERVED_EXTRA & value.keys())
        if taken:
            raise ValueError(f"'{taken[0]}' is set by the pipeline and may not be given here")
        return value


class Judge(Sampling):
    """A model, at the endpoints of the text model, that grades each pair from 1 to 5.

    With no `model` nothing is graded. A pair with a grade below `threshold` is refused.
    """

    model: str = ""
    threshold: Annotated[StrictInt, Field(ge=1, le=5)] = 3
    temperature: Annotated[StrictFloat, Field(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[StrictFloat, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: Positive = 128
    thinking: StrictBool = False


class Vllm(_Section):
    """A vLLM that the run starts for itself and ends when the texts are written.

    `python` is an interpreter that has vLLM, as a rule of an environment of its own; without one,
    none is started. `arguments` go to vLLM's server beside the model and the port.
    """

    python: str = ""
    arguments: tuple[str, ...] = ()
    ready_seconds: Annotated[StrictFloat, Field(gt=0)] = 1800.0


class Llm(_Section):
    """The text model: where it is served and how it is asked.

    With no `endpoints` and no `vllm` the embedded text server is started for the run. `gpus` is how
    many GPUs the servers have together, and `gpu_hour_price` what an hour of one costs, in whatever
    currency: only to count GPU-hours and to estimate what they cost.
    """

    endpoints: tuple[Url, ...] = ()
    vllm: Vllm = Vllm()
    gpus: Annotated[StrictInt, Field(ge=0)] = 0
    gpu_hour_price: Annotated[StrictFloat, Field(ge=0.0)] = 0.0
    model: Annotated[str, Field(min_length=1)] = "Qwen/Qwen3-32B"
    api_key_env: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    templates: Name = "full"
    concurrency: Annotated[StrictInt, Field(ge=1, le=4096)] = 256
    timeout_seconds: Annotated[StrictFloat, Field(gt=0)] = 600.0
    patience_seconds: Annotated[StrictFloat, Field(ge=0)] = 300.0
    max_attempts: Annotated[StrictInt, Field(ge=1, le=1000)] = 16
    # Temperatures, top-p and budgets of the published run (reference: Sympatheia paper, text
    # generation with Qwen3-32B).
    queries: Sampling = Sampling(temperature=0.85, top_p=0.95, max_tokens=128, thinking=False)
    responses: Sampling = Sampling(temperature=0.7, top_p=0.95, max_tokens=4096, thinking=True)
    judge: Judge = Judge()

    @model_validator(mode="before")
    @classmethod
    def _fill_sampling(cls, data: object) -> object:
        """Lets a recipe give some keys of a sampling section and keep the others' defaults."""
        if isinstance(data, dict):
            data = dict(data)
            for kind in ("queries", "responses"):
                if isinstance(data.get(kind), dict):
                    data[kind] = cls.model_fields[kind].default.model_dump() | data[kind]
        return data

    @model_validator(mode="after")
    def _one_kind_of_server(self) -> "Llm":
        if self.vllm.python and self.endpoints:
            raise ValueError(
                "llm.endpoints and llm.vllm.python are both given; keep the endpoints to use "
                "servers that run, or llm.vllm to have one started"
            )
        return self


class Text(_Section):
    """What texts must be; `rules` sets limits of the text rules by name, or turns them off."""

    rules: dict[RuleName, RuleSetting] = {}


class Dedup(_Section):
    """Near-duplicate rejection among all queries."""

    threshold: Annotated[StrictFloat, Field(gt=0.0, le=1.0)] = 0.85
    model: Annotated[str, Field(min_length=1)] = "sentence-transformers/all-MiniLM-L6-v2"


class Speech(_Section):
    """The voice: the builtin one, or servers that speak `/v1/audio/speech`, with `gpus` in all.

    `gpu_hour_price` is as that of the text model.

    `loudness` is that of a plain delivery, LUFS; styles lie around it. With `asr_check` a clip in
    which a recogniser hears other words is refused. `prosody` has every clip's features measured,
    `dnsmos_per_cell` the quality of so many clips of each cell. `batch` is how many clips are asked
    for in one request, where the servers have a batch endpoint. `rules` sets limits of the clip
    rules by name, or turns them off.
    """

    backend: Literal["builtin", "openai"] = "builtin"
    endpoints: tuple[Url, ...] = ()
    gpus: Annotated[StrictInt, Field(ge=0)] = 0
    gpu_hour_price: Annotated[StrictFloat, Field(ge=0.0)] = 0.0
    api_key_env: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    model: str = ""
    language: Annotated[str, Field(min_length=1)] = "English"
    concurrency: Annotated[StrictInt, Field(ge=1, le=1024)] = 2
    timeout_seconds: Annotated[StrictFloat, Field(gt=0)] = 300.0
    patience_seconds: Annotated[StrictFloat, Field(ge=0)] = 300.0
    max_attempts: Annotated[StrictInt, Field(ge=1, le=100)] = 4
    batch: Annotated[StrictInt, Field(ge=1, le=32)] = 1
    query_voice: Annotated[str, Field(min_length=1)]
    response_voice: Annotated[str, Field(min_length=1)]
    # EBU R 128, the level of European broadcasts, leaves speech the headroom its loud styles need.
    loudness: Annotated[StrictFloat, Field(ge=-40.0, le=-16.0)] = -23.0
    asr_check: StrictBool = False
    prosody: StrictBool = True
    dnsmos_per_cell: Annotated[StrictInt, Field(ge=0)] = 0
    rules: dict[RuleName, RuleSetting] = {}

    @model_validator(mode="after")
    def _endpoints_fit_backend(self) -> "Speech":
        given = bool(self.endpoints), bool(self.model)
        if self.backend == "openai" and not all(given):
            raise ValueError("backend 'openai' needs speech.endpoints and speech.model")
        if self.backend == "builtin" and any(given):
            raise ValueError(
                "backend 'builtin' takes no speech.endpoints and no speech.model; "
                "set speech.backend to 'openai' to use a server"
            )
        return self


class Shards(_Section):
    """How the Parquet files are cut, and where else they go.

    `target` is a URL of object storage, or of anything that fsspec opens; the finished dataset
    folder is copied there too. Keys belong in the storage's own configuration, not in the URL.
    """

    # Hub guidance keeps files near or below 500 MB so that the viewer and streaming stay quick.
    max_bytes: Annotated[StrictInt, Field(ge=100_000)] = 450_000_000
    target: Annotated[str, Field(pattern=r"^([a-z][a-z0-9+]*://[^@]+)?$")] = ""


class Storage(_Section):
    """Where the store is shared, beside the run folder's own: any URL or folder fsspec opens.

    Keys belong in the storage's own configuration, not in the URL.
    """

    url: Annotated[str, Field(pattern=r"^[^@]*$")] = ""


class Compute(_Section):
    """Where the pipeline's own computing is done: voice, checks, embeddings, speech tokens.

    `dask` is the address of a Dask scheduler; without one it is done in processes of this machine.
    """

    dask: Annotated[str, Field(pattern=r"^((tcp|tls|ws|wss)://[^\s/]+)?$")] = ""


class Adapter(_Section):
    """How the adapter is trained; the defaults are the published ones but for `packing`.

    `packing` puts as many samples into a row of `packing_length` tokens as fit. Sequences longer
    than `max_length` are left out. `loss` is taken of the whole "sequence" or of the "response";
    `weighting` by "token" or, as published, by "sample". `attention` is the name of an attention of
    transformers'. `save_steps` has to be a multiple of `eval_steps`, so that the best is on file.
    `peak_tflops` of one device has the share of it that is used reported. `max_steps` 0 is no
    limit.
    """

    r: Positive = 32
    alpha: Positive = 32
    dropout: Annotated[StrictFloat, Field(ge=0.0, lt=1.0)] = 0.1
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "query_key_value",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
    )
    learning_rate: Annotated[StrictFloat, Field(gt=0.0)] = 1e-4
    weight_decay: Annotated[StrictFloat, Field(ge=0.0)] = 0.01
    max_grad_norm: Annotated[StrictFloat, Field(gt=0.0)] = 1.0
    epochs: Annotated[StrictFloat, Field(gt=0.0)] = 5.0
    max_steps: Annotated[StrictInt, Field(ge=0)] = 0
    max_length: Annotated[StrictInt, Field(ge=16)] = 2048
    warmup_steps: Annotated[StrictInt, Field(ge=0)] = 50
    batch_size: Positive = 1
    gradient_accumulation_steps: Positive = 4
    packing: StrictBool = True
    packing_length: Annotated[StrictInt, Field(ge=16)] = 2048
    loss: Literal["sequence", "response"] = "sequence"
    weighting: Literal["token", "sample"] = "sample"
    save_steps: Positive = 200
    eval_steps: Positive = 200
    affect_dropout: Share = 1 / 3
    gradient_checkpointing: StrictBool = False
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] = "sdpa"
    peak_tflops: Annotated[StrictFloat, Field(ge=0.0)] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> "Adapter":
        if self.save_steps % self.eval_steps:
            raise ValueError("adapter.save_steps has to be a multiple of adapter.eval_steps")
        if self.packing and self.packing_length < self.max_length:
            raise ValueError("adapter.packing_length may not be below adapter.max_length")
        return self


class Recipe(_Section):
    """Everything a run is made from. `prompts` is a folder; empty means the bundled one."""

    name: Name
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = 0
    prompts: str = ""
    anchors: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    emotional: Emotional = Emotional()
    neutral: Neutral = Neutral()
    split: Split = Split()
    llm: Llm = Llm()
    text: Text = Text()
    dedup: Dedup = Dedup()
    speech: Speech
    shards: Shards = Shards()
    storage: Storage = Storage()
    compute: Compute = Compute()
    adapter: Adapter = Adapter()

    @model_validator(mode="after")
    def _something_to_make(self) -> "Recipe":
        if not self.emotional.pairs_per_anchor and not self.neutral.queries:
            raise ValueError(
                "emotional.pairs_per_anchor and neutral.queries are both 0: nothing to make"
            )
        return self
