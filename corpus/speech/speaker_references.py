"""What the clips of a cast are compared with: a few clips of every speaker, made once.

They are asked of the same voice and lie in the store like any clip, so what a clip is compared with
depends neither on other clips nor on the order in which clips are made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import numpy as np

from corpus.plan.cast import voice_name
from corpus.plan.subsets.subset import Manner
from corpus.sound.speaker_likeness import Embedding
from corpus.speech.clip_requests import ClipSlot
from schemas.prompts import References, Speaker
from schemas.recipe import Speech

REFERENCE = "reference"
"""The role of such a clip."""


def reference_slots(
    speech: Speech, speakers: Mapping[str, Speaker], references: References
) -> dict[str, list[ClipSlot]]:
    """The clips of every speaker: each text in each manner."""
    return {name: list(_slots(speech, speaker, references)) for name, speaker in speakers.items()}


def _slots(speech: Speech, speaker: Speaker, references: References) -> Iterator[ClipSlot]:
    number = 0
    for said in references.manners:
        for text in references.texts:
            yield ClipSlot(
                f"{speaker.name}-{number:02d}",
                REFERENCE,
                speaker.name,
                text,
                voice_name(speech, speaker),
                Manner(said.style, said.delivery),
                speaker,
            )
            number += 1


def resemblance(known: Mapping[str, Embedding], speaker: str, heard: Embedding) -> float:
    """How much more a clip resembles another speaker than its own, as a difference of cosines.

    Of each speaker the reference that is nearest counts; deliveries differ as voices do.

    Args:
        known: the embeddings of every speaker's references, float32 [n, 256], by name.
        speaker: the clip's own.
        heard: the embedding of the clip, float32 [256].

    Returns:
        -2 to 2; above 0 where another is nearer.
    """
    likeness = {name: float((own @ heard).max()) for name, own in known.items()}
    mine = likeness.pop(speaker)
    return round(max(likeness.values()) - mine, 4)


class SpeakerReferences:
    """Compares clips with those of every speaker.

    Args:
        slots: of each speaker, by name.
        make: gives the digest of the clip of a slot.
        hear: gives the embedding of a clip by its digest.
    """

    def __init__(
        self,
        slots: Mapping[str, Sequence[ClipSlot]],
        make: Callable[[ClipSlot], Awaitable[str]],
        hear: Callable[[str], Awaitable[Embedding]],
    ) -> None:
        self._slots = slots
        self._make = make
        self._hear = hear
        self._known: dict[str, Embedding] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def compared(self, slot: ClipSlot, digest: str) -> float:
        """How much more a clip resembles another speaker than its slot's; see `resemblance`.

        Raises:
            DamagedClip: the clip, or a reference, is not what was made.
            SympatheiaError: a reference cannot be made.
        """
        assert slot.speaker is not None
        known = await self._all()
        heard = await self._hear(digest)
        return resemblance(known, slot.speaker.name, heard)

    async def _all(self) -> dict[str, Embedding]:
        """The embeddings of every speaker's clips, float32 [n, 256], by name."""
        async with self._one_at_a_time:
            if self._known is None:
                names = list(self._slots)
                each = await asyncio.gather(*(self._of(self._slots[name]) for name in names))
                self._known = dict(zip(names, each, strict=True))
            return self._known

    async def _of(self, slots: Sequence[ClipSlot]) -> Embedding:
        digests = await asyncio.gather(*map(self._make, slots))
        return np.stack(await asyncio.gather(*map(self._hear, digests)))
