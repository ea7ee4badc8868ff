"""The recipe's section `evaluation`: with what a corpus or a system that answers is judged."""

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt

from schemas.recipe_values import Section

DISTILLMOS, DNSMOS, UTMOS = "distillmos", "dnsmos", "utmos22_strong"
"""Predictors of how natural a clip sounds: bundled, of an extra package, as published."""


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
