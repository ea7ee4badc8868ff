"""The string of a pair: what an adapter learns to continue, and what it is later asked with.

It has the published form. The affect line tells what the user feels, as a point of the
valence-arousal plane; speech stands in it as tokens, 12.5 a second.
"""

from collections.abc import Iterable

END = "<|user|>"
"""What follows a response: the user's turn, at which a model has learnt to stop."""


BARE = ""
"""An affect line that says nothing: how some of the published scripts ask, and no model was trained
to be asked. It is there to reproduce their figures."""


def prompt(query_tokens: Iterable[int], affect: tuple[float, float] | str | None) -> str:
    """What comes before a response.

    Args:
        query_tokens: Speech tokens of the query.
        affect: Valence and arousal; None where they are not told, in the form that was trained;
            `BARE` for no affect line at all.
    """
    emotion = " User emotion N/A"
    if isinstance(affect, str):
        emotion = affect
    elif affect is not None:
        # Adding zero makes a zero of what would be written as -0.00.
        valence, arousal = (round(value, 2) + 0.0 for value in affect)
        emotion = f" User emotion (valence={valence:.2f}, arousal={arousal:.2f})"
    return (
        f"<|system|>\nPlease respond in English.{emotion}\n"
        f"<|user|>\n{_audio(query_tokens)}\n"
        f"<|assistant|>\n"
    )


def sequence(
    query_tokens: Iterable[int],
    response_text: str,
    response_tokens: Iterable[int],
    affect: tuple[float, float] | None,
) -> str:
    """The string of a pair, as published.

    Args:
        query_tokens: Speech tokens of the query.
        response_text: What the response says.
        response_tokens: Speech tokens of the response.
        affect: Valence and arousal; None where they are dropped.
    """
    return f"{prompt(query_tokens, affect)}{response_text}\n{_audio(response_tokens)}{END}"


def _audio(tokens: Iterable[int]) -> str:
    return "".join(f"<|audio_{token}|>" for token in tokens)
