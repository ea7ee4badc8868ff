"""The recipe's section `speech`: the voice, and what is measured of its clips."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from schemas.recipe_evaluation import SpeechJudge
from schemas.recipe_values import (
    ApiKeyEnv,
    GpuHourPrice,
    Gpus,
    Name,
    PatienceSeconds,
    RuleName,
    RuleSetting,
    Section,
    TimeoutSeconds,
    Url,
)

SpeakerNames = tuple[Name, ...]
"""Names of speakers who take turns."""


class Speech(Section):
    """The voice: the builtin one, or servers with the endpoint `/v1/audio/speech`."""

    backend: Annotated[
        Literal["builtin", "openai"],
        Field(
            description="builtin: the voice that comes with the project, on CPU cores. openai: "
            "servers at speech.endpoints."
        ),
    ] = "builtin"
    endpoints: Annotated[
        tuple[Url, ...],
        Field(
            description="Addresses of speech servers, as a rule ending in /v1; requests are spread "
            "over them."
        ),
    ] = ()
    gpus: Gpus = 0
    gpu_hour_price: GpuHourPrice = 0.0
    api_key_env: ApiKeyEnv = ""
    model: Annotated[
        str,
        Field(
            description="The voice's model, by the name its servers know it by; empty with builtin."
        ),
    ] = ""
    language: Annotated[
        str, Field(min_length=1, description="Language that a served voice is asked to speak.")
    ] = "English"
    concurrency: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=1024,
            description="Clips asked for at once, at all speech servers together; with builtin, "
            "its processes.",
        ),
    ] = 2
    timeout_seconds: TimeoutSeconds = 300.0
    patience_seconds: PatienceSeconds = 300.0
    after_texts: Annotated[
        StrictBool,
        Field(
            description="Whether the voice waits until all texts are written; else each is spoken "
            "as soon as it is accepted. Where the run starts its own vLLM, whose GPUs the voice "
            "may use afterwards, the default is true. The builtin voice waits in any case, unless "
            "a Dask cluster computes it: it needs the cores that embed queries."
        ),
    ] = False
    max_attempts: Annotated[
        StrictInt,
        Field(ge=1, le=100, description="Attempts at one clip before its slot counts as unusable."),
    ] = 4
    batch: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=32,
            description="Clips in one request; more than 1 needs servers with the endpoint "
            "/v1/audio/speech/batch.",
        ),
    ] = 1
    query_voice: Annotated[
        str, Field(min_length=1, description="Speaker of the queries; builtin has wren and heron.")
    ]
    response_voice: Annotated[str, Field(min_length=1, description="Speaker of the responses.")]
    query_voices: Annotated[
        SpeakerNames,
        Field(
            description="Speakers of the prompts' speakers.yaml who take turns at the queries, by "
            "name; empty: query_voice speaks all."
        ),
    ] = ()
    response_voices: Annotated[
        SpeakerNames,
        Field(
            description="Speakers who take turns at the responses; empty: response_voice speaks "
            "all."
        ),
    ] = ()
    eval_voices: Annotated[
        SpeakerNames,
        Field(
            description="Speakers who take turns at the queries of eval, and are heard nowhere "
            "else; empty: eval has the speakers of train."
        ),
    ] = ()
    voice_design: Annotated[
        StrictBool,
        Field(
            description="Whether speakers are made from their descriptions, by a served model that "
            "can do that; else a served voice is asked for the voice that is served as theirs."
        ),
    ] = False
    # The loudest style is 6.8 LU above it; 94 % of genuine clips can be that loud under the peak
    # limit, where at -23 LUFS (EBU R 128) 28 % can (benchmarks/real_voices.py).
    loudness: Annotated[
        StrictFloat,
        Field(
            ge=-40.0,
            le=-16.0,
            description="Loudness of a plain delivery, LUFS; each style has its own offset to it.",
        ),
    ] = -28.0
    asr_check: Annotated[
        StrictBool,
        Field(
            description="Whether a speech recogniser (Whisper tiny.en) listens, and a clip in "
            "which it hears too many other words is made anew."
        ),
    ] = False
    prosody: Annotated[
        StrictBool,
        Field(description="Whether pitch, energy, rate and brightness of each clip are measured."),
    ] = True
    dnsmos_per_cell: Annotated[
        StrictInt,
        Field(
            ge=0,
            description="Clips of each cell and role whose sound quality (DNSMOS) is measured; "
            "0: none.",
        ),
    ] = 0

    rules: dict[RuleName, RuleSetting] = Field(
        default={},
        description="Rules of clips, by name: a number sets the limit, false turns the rule off, "
        "'report' has it counted and the clip kept.",
    )
    judge: SpeechJudge = SpeechJudge()

    @property
    def cast(self) -> SpeakerNames:
        """Everyone who is cast, each once."""
        return tuple(dict.fromkeys((*self.query_voices, *self.response_voices, *self.eval_voices)))

    @model_validator(mode="after")
    def _speakers_once(self) -> "Speech":
        for key in ("query_voices", "response_voices", "eval_voices"):
            names = getattr(self, key)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice:
                raise ValueError(f"{key} has '{twice}' twice; name each speaker once")
            if key != "eval_voices" and (both := [n for n in names if n in self.eval_voices]):
                raise ValueError(
                    f"eval_voices has '{both[0]}', who is in {key} too; a speaker of eval is heard "
                    "nowhere else"
                )
        if self.voice_design and self.backend == "builtin":
            raise ValueError(
                "voice_design is for served models; the builtin voice makes speakers by numbers"
            )
        return self

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
