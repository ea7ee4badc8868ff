"""Strikes: texts that were accepted and are not to stay, each with its reason.

Rules refuse a text for what it says. What comes after may find other faults: that no voice can say
it, or that a person does not want it. Whoever finds one strikes the text; the next text stage
refuses it for that reason, as if a rule had, and fills its slot anew. All else stands.

A text is known by the digest of the request that made it, which is one attempt at one slot. Strikes
are put on file in groups, of which each is what one whole stage found: so a build that is killed
and continued strikes the same, in the same order, as one that was not.

What people strike, clips too, is on a file of theirs, and may be taken back: then what stood before
stands again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from corpus.plan.rules import Verdict
from corpus.store.line_log import Log, damaged, read_log

STRUCK_IN_REVIEW = "struck_in_review"
"""The reason of a text or clip that a person struck."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One text that is not to stay.

    Attributes:
        digest: of the request that made it.
        reason: what the table of rejects says.
        slot: of the query or of the pair, for who reads the file.
        why: more of it, likewise.
    """

    digest: str
    reason: str
    slot: str
    why: str


class Strikes:
    """The strikes of a run, on file.

    Args:
        path: the file.
        in_review: what people struck, by digest of text or clip, with who did and why.

    Raises:
        SympatheiaError: the file was changed on disk.
    """

    def __init__(self, path: Path, in_review: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._in_review = in_review or {}
        self._reasons: dict[str, str] = {}
        for number, entry in enumerate(read_log(path), start=1):
            try:
                strikes = [_strike(fields) for fields in entry["strikes"]]
            except (KeyError, TypeError) as error:
                raise damaged(path, f"line {number} holds no strikes: {error}") from error
            self._note(strikes)

    def _note(self, strikes: Sequence[Strike]) -> None:
        self._reasons |= {strike.digest: strike.reason for strike in strikes}

    @property
    def digest(self) -> str:
        """SHA-256 over all of them: with others, other texts stay."""
        reasons = dict.fromkeys(self._in_review, STRUCK_IN_REVIEW) | self._reasons
        return sha256(orjson.dumps(reasons, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def reason(self, digest: str) -> str | None:
        """Why a text or clip was struck; None if it was not."""
        found = STRUCK_IN_REVIEW if digest in self._in_review else None
        return self._reasons.get(digest, found)

    def over(self, digest: str, verdict: Verdict) -> Verdict:
        """The verdict on a text, which is that it was struck if it was."""
        reason = self.reason(digest)
        return Verdict(reason) if reason else verdict

    def taken_back(self, digest: str, reason: str | None) -> bool:
        """Whether what was refused for this reason was struck in review and is not any more."""
        return reason == STRUCK_IN_REVIEW and digest not in self._in_review

    def note(self, digest: str) -> str | None:
        """Who struck a text or clip in review, and what they say of it."""
        return self._in_review.get(digest)

    def add(self, strikes: Sequence[Strike]) -> None:
        """Puts what one stage has found on file; all of it is on the disk then, or nothing.

        Raises:
            OSError: the disk is full or fails.
        """
        log = Log(self._path)
        try:
            log.append([{"strikes": [asdict(strike) for strike in strikes]}])
        finally:
            log.close()
        self._note(strikes)


def _strike(fields: dict[str, Any]) -> Strike:
    """The strike of an entry.

    Raises:
        TypeError: it is none.
    """
    strike = Strike(**fields)
    for value in asdict(strike).values():
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")
    return strike
