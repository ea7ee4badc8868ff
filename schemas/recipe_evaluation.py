"""The recipe's judges of sound, and its section `evaluation`: with what a system is judged."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from schemas.recipe_llm import MaxTokens, Temperature, TopP
from schemas.recipe_values import ApiKeyEnv, PatienceSeconds, Section, TimeoutSeconds, Url

DISTILLMOS, DNSMOS, UTMOS = "distillmos", "dnsmos", "utmos22_strong"
"""Predictors of how natural a clip sounds: bundled, of an extra package, as published."""


class HearingJudge(Section):
    """A model that listens to clips and grades them from 1 to 5."""

    SECTION: ClassVar[str] = ""
    """Where in a recipe it stands, for errors to name its keys."""

    endpoints: Annotated[
        tuple[Url, ...],
        Field(
            description="Addresses of OpenAI-compatible servers of a model that hears, as a rule "
            "ending in /v1; requests are spread over them."
        ),
    ] = ()
    model: Annotated[
        str,
        Field(description="The model that hears, as its servers call it; empty: none is asked."),
    ] = ""
    api_key_env: ApiKeyEnv = ""
    concurrency: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=1024,
            description="Clips in flight, at all servers together; a minute of sound is 4 MB of "
            "request.",
        ),
    ] = 32
    timeout_seconds: TimeoutSeconds = 300.0
    patience_seconds: PatienceSeconds = 300.0
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    max_tokens: MaxTokens = 128

    @model_validator(mode="after")
    def _model_is_served(self) -> "HearingJudge":
        if self.model and not self.endpoints:
            raise ValueError(
                "a model is named, and no endpoints; name the servers that have it, or no model"
            )
        return self


class SpeechJudge(HearingJudge):
    """A model that listens to each clip while a corpus is built; poor ones are made anew."""

    SECTION: ClassVar[str] = "speech.judge"

    threshold: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=5,
            description="A clip whose delivery is graded below this is refused and made anew.",
        ),
    ] = 3


class EvaluationJudge(HearingJudge):
    """A model that listens to responses and grades them, when a corpus or a system is evaluated."""

    SECTION: ClassVar[str] = "evaluation.judge"

    repeats: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=100,
            description="How often each response is graded, with a seed of its own each time; more "
            "than once says something only at a temperature above 0.",
        ),
    ] = 1
    coordinates: Annotated[
        StrictBool,
        Field(
            description="Whether the judge is told valence and arousal beside the emotion's name; "
            "where they are what is studied, they give the answer away."
        ),
    ] = False
    query_words: Annotated[
        StrictBool, Field(description="Whether the judge is told what the query said.")
    ] = False
    baseline: Annotated[
        str,
        Field(
            description="Name of the system that every other is compared with, two responses at a "
            "time and in both orders; empty: none."
        ),
    ] = ""
    probe: Annotated[
        StrictBool,
        Field(
            description="Whether the judge has to show, before it grades, that it hears what comes "
            "after 30 s of a clip."
        ),
    ] = True


class Evaluation(Section):
    """With what `sympatheia evaluate` judges responses."""

    split: Annotated[
        Literal["all", "train", "eval"],
        Field(description="Rows of a corpus that are judged as its own responses."),
    ] = "all"
    limit: Annotated[
        StrictInt,
        Field(
            ge=0,
            description="Most queries of the neutral subset, and of each emotion of the emotional "
            "one, evenly spread; 0: all. The published evaluation has 100.",
        ),
    ] = 0
    asr: Annotated[
        str,
        Field(
            description="Recogniser that writes down what is heard: a folder, or a name that "
            "faster-whisper knows, such as large-v3; empty: the bundled Whisper tiny.en."
        ),
    ] = ""
    normaliser: Annotated[
        Literal["spoken", "whisper"],
        Field(
            description="How texts are brought to one form for the word error rate: spoken reads "
            "numbers, units and dates out first, whisper is the normaliser of Whisper's authors "
            "alone."
        ),
    ] = "spoken"
    bertscore: Annotated[
        str,
        Field(
            description="Model of BERTScore: a folder, or a name on the Hub, such as "
            "distilbert-base-uncased, the published one; empty: the bundled MiniLM."
        ),
    ] = ""
    least_seconds: Annotated[
        StrictFloat,
        Field(
            ge=0.0,
            description="Clips shorter than this are left out of the invariance; the published "
            "code takes 10, which favours systems that say little.",
        ),
    ] = 0.0
    mos: Annotated[
        str,
        Field(
            description="Predictor of how natural clips sound: distillmos, which is bundled; "
            "dnsmos, of the extra `dnsmos`; utmos22_strong, the published one, from the Hub of "
            "PyTorch, or a folder with a clone of github.com/tarepan/SpeechMOS, whose code is run; "
            "empty: distillmos."
        ),
    ] = ""
    judge: EvaluationJudge = EvaluationJudge()
