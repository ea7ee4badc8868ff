"""Arrow schemas: the corpus's rows, the rejects, and the tables that stages hand to each other."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from schemas.audio import SAMPLE_RATE

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_ROW_FIELDS = [
    ("id", pa.string()),
    ("subset", pa.string()),
    ("split", pa.string()),
    ("query_id", pa.string()),
    ("topic", pa.string()),
    ("query_text", pa.string()),
    ("query_emotion", pa.string()),
    ("response_text", pa.string()),
    ("response_emotion", pa.string()),
    ("valence", pa.float64()),
    ("arousal", pa.float64()),
    ("query_audio", AUDIO),
    ("response_audio", AUDIO),
    ("query_seconds", pa.float64()),
    ("response_seconds", pa.float64()),
    ("query_style", pa.string()),
    ("response_style", pa.string()),
    ("llm_model", pa.string()),
    ("tts_model", pa.string()),
    ("query_voice", pa.string()),
    ("response_voice", pa.string()),
    ("query_attempt", pa.int32()),
    ("response_attempt", pa.int32()),
]

EMPATHY = ("scenario", "cause", "goal")
"""What a model notes of each pair, where the recipe asks for it."""
SPEAKERS = ("query_speaker", "response_speaker")
"""Columns of a corpus whose clips are cast; null where one voice speaks all."""

ADDED: dict[str, pa.DataType] = {
    "blend": pa.list_(pa.struct([("anchor", pa.string()), ("weight", pa.float64())])),
    "dialogue_id": pa.string(),
    "turn": pa.int32(),
    "turns": pa.int32(),
    **dict.fromkeys(SPEAKERS, pa.string()),
    **dict.fromkeys(EMPATHY, pa.string()),
}
"""Columns that the rows of a corpus have where a subset of it or its cast fills them; null in other
rows. Those of `EMPATHY` are in every row, where the recipe asks for them."""

_ARROW_TO_DATASETS = {pa.string(): "string", pa.float64(): "float64", pa.int32(): "int32"}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == AUDIO:
        return {"sampling_rate": SAMPLE_RATE, "_type": "Audio"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": _ARROW_TO_DATASETS[kind], "_type": "Value"}


def features(columns: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The rows' features in the notation of the `datasets` library, with some of `ADDED`."""
    return {field.name: _feature(field.type) for field in rows_with(columns)}


@cache
def rows_with(columns: Sequence[str] = ()) -> pa.Schema:
    """The schema of rows with some of `ADDED`."""
    fields = pa.schema([*_ROW_FIELDS, *((name, ADDED[name]) for name in columns)])
    found = {field.name: _feature(field.type) for field in fields}
    # The key by which `datasets` and the Hub see audio in a struct of bytes and path.
    return fields.with_metadata(
        {"huggingface": json.dumps({"info": {"features": found}}, sort_keys=True)}
    )


@cache
def text_rows_with(columns: Sequence[str] = ()) -> pa.Schema:
    """The same for the light config, without audio."""
    return pa.schema([field for field in rows_with(columns) if field.type != AUDIO])


ROWS = rows_with()
"""The rows of a corpus to which no subset adds anything."""
TEXT_ROWS = text_rows_with()
"""The same without audio."""
SOUNDS = frozenset(field.name for field in ROWS if field.type == AUDIO)
"""The columns of clips."""

REJECTS = pa.schema(
    [
        ("stage", pa.string()),
        ("slot", pa.string()),
        ("attempt", pa.int32()),
        ("text", pa.string()),
        ("reason", pa.string()),
        ("nearest_id", pa.string()),
        ("nearest_text", pa.string()),
        ("similarity", pa.float64()),
    ]
)

REVIEWED_REJECTS = REJECTS.append(pa.field("note", pa.string()))
"""Of a run that people struck something in: who struck it, and why."""

QUERIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("subset", pa.string()),
        ("split", pa.string()),
        ("emotion", pa.string()),
        ("topic", pa.string()),
        ("attempt", pa.int32()),
        ("digest", pa.string()),
        ("text", pa.string()),
        ("nearest_id", pa.string()),
        ("similarity", pa.float64()),
    ]
)

RESPONSES = pa.schema(
    [
        ("id", pa.string()),
        ("query_id", pa.string()),
        ("emotion", pa.string()),
        ("attempt", pa.int32()),
        ("digest", pa.string()),
        ("text", pa.string()),
        # A judge's grades, where the recipe has one.
        ("empathy", pa.int8()),
        ("answer", pa.int8()),
        ("speakability", pa.int8()),
    ]
)

ANNOTATIONS = pa.schema(
    [
        ("id", pa.string()),
        ("attempt", pa.int32()),
        ("digest", pa.string()),
        *((name, pa.string()) for name in EMPATHY),
    ]
)

SIMILARITIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("first", pa.string()),
        ("second", pa.string()),
        ("similarity", pa.float32()),
    ]
)
"""Cosine similarity of the responses to one neutral query, for every two anchors."""

CLIPS = pa.schema(
    [
        ("id", pa.string()),
        ("role", pa.string()),
        ("attempt", pa.int32()),
        ("digest", pa.string()),
        ("seconds", pa.float64()),
    ]
)

SOUND = pa.schema(
    [
        ("id", pa.string()),
        ("role", pa.string()),
        ("digest", pa.string()),
        ("valence", pa.float32()),
        ("arousal", pa.float32()),
        ("loudness", pa.float32()),
        ("word_error_rate", pa.float32()),
        ("dnsmos", pa.float32()),
        ("f0_mean", pa.float32()),
        ("f0_sd", pa.float32()),
        ("f0_range", pa.float32()),
        ("energy_mean", pa.float32()),
        ("energy_sd", pa.float32()),
        ("rate", pa.float32()),
        ("centroid", pa.float32()),
    ]
)
"""How each clip sounds, beside the point at which it was to be delivered; null where the recipe did
not ask. Loudness in LUFS, F0 and centroid in Hz, energy as linear RMS, rate in words per second."""

ANSWERS = pa.schema(
    [
        ("id", pa.string()),
        ("query_id", pa.string()),
        ("subset", pa.string()),
        ("emotion", pa.string()),
        ("valence", pa.float64()),
        ("arousal", pa.float64()),
        ("target_valence", pa.float64()),
        ("target_arousal", pa.float64()),
        ("condition", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("audio", AUDIO),
        ("seconds", pa.float64()),
        ("model", pa.string()),
        ("query_text", pa.string()),
    ]
)
"""`responses.parquet` of a responses folder: a response of a system to a query of a corpus.
`valence` and `arousal` are what the model was told, null where it was not; `tokens` are indices of
the decoder's codes; `audio` is null where there is none."""
