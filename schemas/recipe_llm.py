"""The recipe's section `llm`: the text model, where it is served and how it is asked."""

from typing import Annotated

from pydantic import (
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    field_validator,
    model_validator,
)

from schemas.recipe_values import (
    ApiKeyEnv,
    GpuHourPrice,
    Gpus,
    Name,
    PatienceSeconds,
    Positive,
    RuleName,
    RuleSetting,
    Section,
    TimeoutSeconds,
    Url,
    require_plain,
)

RESERVED_EXTRA = frozenset(
    {"chat_template_kwargs", "max_tokens", "messages", "model", "seed", "stream"}
    | {"temperature", "top_p", "n"}
)
"""Fields of a chat request that the pipeline sets itself, so `extra` may not."""

Temperature = Annotated[
    StrictFloat, Field(ge=0.0, le=2.0, description="Sampling temperature of the request.")
]
TopP = Annotated[
    StrictFloat,
    Field(gt=0.0, le=1.0, description="Nucleus sampling: share of probability sampled from."),
]
MaxTokens = Annotated[
    Positive, Field(description="Most tokens in an answer, its thinking included.")
]
Thinking = Annotated[
    StrictBool,
    Field(description="Whether the model thinks before it answers; the thinking is discarded."),
]


class Sampling(Section):
    """How one kind of text is sampled."""

    temperature: Temperature
    top_p: TopP
    max_tokens: MaxTokens
    thinking: Thinking
    extra: dict[str, JsonValue] = Field(
        default={}, description="Further fields of the chat request, by name, such as top_k."
    )

    @field_validator("extra")
    @classmethod
    def _not_reserved(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        require_plain(value)
        taken = sorted(RESERVED_EXTRA & value.keys())
        if taken:
            raise ValueError(f"'{taken[0]}' is set by the pipeline and may not be given here")
        return value


# Temperatures, top-p and budgets of the published run (reference: Sympatheia paper, text
# generation with Qwen3-32B).


class Queries(Sampling):
    """How queries are sampled."""

    temperature: Temperature = 0.85
    top_p: TopP = 0.95
    max_tokens: MaxTokens = 128
    thinking: Thinking = False


class Responses(Sampling):
    """How responses are sampled, and how many are made to choose from."""

    temperature: Temperature = 0.7
    top_p: TopP = 0.95
    max_tokens: MaxTokens = 4096
    thinking: Thinking = True
    candidates: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=100,
            description="Good responses that are made for each slot; the one closest to its query "
            "is kept, the others are refused as not_best. What stands already is not made anew.",
        ),
    ] = 1


class Judge(Sampling):
    """A model, at the endpoints of the text model, that grades each pair from 1 to 5."""

    model: Annotated[
        str,
        Field(description="The grading model, as the servers call it; empty: nothing is graded."),
    ] = ""
    threshold: Annotated[
        StrictInt,
        Field(ge=1, le=5, description="A pair with any grade below this is refused and made anew."),
    ] = 3
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    max_tokens: MaxTokens = 128
    thinking: Thinking = False


class Guard(Sampling):
    """A safety model, at the endpoints of the text model, that is shown each pair."""

    model: Annotated[
        str,
        Field(
            description="The safety model (Llama Guard, Qwen3Guard or another that answers safe or "
            "unsafe), as the servers call it; empty: none is asked."
        ),
    ] = ""
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    max_tokens: MaxTokens = 64
    thinking: Thinking = False


class Annotate(Sampling):
    """What the text model notes of each pair, and how that is sampled."""

    empathy: Annotated[
        StrictBool,
        Field(
            description="Whether it notes the scenario, the cause of the feeling and the goal of "
            "the response: three columns more."
        ),
    ] = False
    temperature: Temperature = 0.3
    top_p: TopP = 0.95
    max_tokens: MaxTokens = 256
    thinking: Thinking = False
    rules: dict[RuleName, RuleSetting] = Field(
        default={},
        description="Rules of annotations, by name, as with text.rules.",
    )


class Vllm(Section):
    """A vLLM that the run starts for itself and ends when the texts are written."""

    start: Annotated[
        StrictBool,
        Field(description="Whether one is started; it is also where `python` names one."),
    ] = False
    python: Annotated[
        str,
        Field(
            description="Python interpreter that has vLLM; empty: that of `make setup-vllm`, or "
            "else the one that builds."
        ),
    ] = ""
    arguments: Annotated[
        tuple[str, ...],
        Field(description="Options for vLLM's server beside the model and the port."),
    ] = ()
    ready_seconds: Annotated[
        StrictFloat, Field(gt=0, description="Seconds that vLLM may take to load the model.")
    ] = 1800.0

    @property
    def started(self) -> bool:
        """Whether the run starts one."""
        return self.start or bool(self.python)


class Llm(Section):
    """The text model: where it is served and how it is asked.

    With no `endpoints` and no `vllm.start` the embedded text server is started for the run.
    """

    endpoints: Annotated[
        tuple[Url, ...],
        Field(
            description="Addresses of OpenAI-compatible servers, as a rule ending in /v1; requests "
            "are spread over them."
        ),
    ] = ()
    vllm: Vllm = Vllm()
    gpus: Gpus = 0
    gpu_hour_price: GpuHourPrice = 0.0
    model: Annotated[
        str, Field(min_length=1, description="The text model, by the name its servers know it by.")
    ] = "Qwen/Qwen3-32B"
    api_key_env: ApiKeyEnv = ""
    templates: Annotated[
        Name,
        Field(
            description="Set of prompt templates: a folder under templates/ of the prompts. "
            "Bundled: full, and small for models that only continue examples."
        ),
    ] = "full"
    concurrency: Annotated[
        StrictInt,
        Field(ge=1, le=4096, description="Requests in flight, at all text servers together."),
    ] = 256
    timeout_seconds: TimeoutSeconds = 600.0
    patience_seconds: PatienceSeconds = 300.0
    max_attempts: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=1000,
            description="Attempts at one text before its slot counts as empty; after some of "
            "them a query moves on to its next topic.",
        ),
    ] = 16
    queries: Queries = Queries()
    responses: Responses = Responses()
    guard: Guard = Guard()
    judge: Judge = Judge()

    @model_validator(mode="after")
    def _one_kind_of_server(self) -> "Llm":
        if self.vllm.started and self.endpoints:
            key = "python" if self.vllm.python else "start"
            raise ValueError(
                f"llm.endpoints and llm.vllm.{key} are both given; keep the endpoints to use "
                "servers that run, or llm.vllm to have one started"
            )
        return self
