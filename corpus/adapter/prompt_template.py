"""The string of a pair: what an adapter learns to continue, and what it is later asked with.

It has the published form. The affect line tells what the user feels, as a point of the
valence-arousal plane; speech stands in it as tokens, 12.5 a second.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

END = "<|user|>"
"""What follows a response: the user's turn, at which a model has learnt to stop."""


BARE = ""
"""An affect line that says nothing: how some of the published scripts ask, and no model was trained
to be asked. It is there to reproduce their figures."""


class Spoken(NamedTuple):
    """An exchange of a dialogue: the query as speech tokens, the response as words and tokens."""

    query_tokens: Iterable[int]
    response_text: str
    response_tokens: Iterable[int]


def prompt(
    query_tokens: Iterable[int],
    affect: tuple[float, float] | str | None,
    said: Sequence[Spoken] = (),
) -> str:
    """What comes before a response.

    A dialogue is told from its first exchange on, each in the form of the one to be answered. There
    is one affect line, at the head, and it is that of the query to be answered: the published
    corpus has no dialogues and leaves this open.

    Args:
        query_tokens: Speech tokens of the query.
        affect: Valence and arousal; None where they are not told, in the form that was trained;
            `BARE` for no affect line at all.
        said: What was said before, in order.
    """
    emotion = " User emotion N/A"
    if isinstance(affect, str):
        emotion = affect
    elif affect is not None:
        # Adding zero makes a zero of what would be written as -0.00.
        valence, arousal = (round(value, 2) + 0.0 for value in affect)
        emotion = f" User emotion (valence={valence:.2f}, arousal={arousal:.2f})"
    turns = "".join(f"{_asked(query)}{text}\n{_audio(response)}" for query, text, response in said)
    return f"<|system|>\nPlease respond in English.{emotion}\n{turns}{_asked(query_tokens)}"


def _asked(query_tokens: Iterable[int]) -> str:
    return f"<|user|>\n{_audio(query_tokens)}\n<|assistant|>\n"


def sequence(
    query_tokens: Iterable[int],
    response_text: str,
    response_tokens: Iterable[int],
    affect: tuple[float, float] | None,
    said: Sequence[Spoken] = (),
) -> str:
    """The string of a pair, as published; of a turn of a dialogue with what was said before it.

    Args:
        query_tokens: Speech tokens of the query.
        response_text: What the response says.
        response_tokens: Speech tokens of the response.
        affect: Valence and arousal; None where they are dropped.
        said: What was said before, in order.
    """
    return f"{prompt(query_tokens, affect, said)}{response_text}\n{_audio(response_tokens)}{END}"


def _audio(tokens: Iterable[int]) -> str:
    return "".join(f"<|audio_{token}|>" for token in tokens)
