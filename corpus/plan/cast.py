"""Who speaks: the speakers that a recipe casts, in turns that its seed draws.

The slots of a cell and a split are laid out in blocks of as many as there are speakers, and each
block has every speaker once, in an order of its own. So within a cell and a split no speaker has
more than one slot more than another, and a corpus that grows leaves everyone the slots they have.
"""

from collections.abc import Mapping

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import Prompts
from corpus.plan.seeds import shuffled
from schemas.prompts import Speaker
from schemas.recipe import Recipe, Speech
from schemas.slots import SPLITS, Split

EVAL = SPLITS[1]


class Cast:
    """The speakers of a recipe.

    Args:
        speech: the recipe's section, which names them.
        seed: draws their turns.
        speakers: those that it names, by name.

    Attributes:
        speakers: as given.
    """

    def __init__(self, speech: Speech, seed: int, speakers: Mapping[str, Speaker]) -> None:
        self._speech = speech
        self._seed = seed
        self.speakers = speakers

    @classmethod
    def of(cls, recipe: Recipe, prompts: Prompts) -> "Cast | None":
        """The cast of a recipe; None if it casts nobody.

        Raises:
            InvalidInput: there is no such speaker, or a speaker of eval is heard in train.
        """
        speech = recipe.speech
        if not speech.cast:
            return None
        known = {speaker.name: speaker for speaker in prompts.speakers}
        for key in ("query_voices", "response_voices", "eval_voices"):
            for name in getattr(speech, key):
                if name not in known:
                    raise InvalidInput(
                        f"speech.{key}: '{name}' is not a speaker of "
                        f"{prompts.folder / 'speakers.yaml'}; it has {', '.join(known)}."
                    )
        cast = cls(speech, recipe.seed, {name: known[name] for name in speech.cast})
        cast._require_unheard()
        return cast

    def of_query(self, cell: str, split: Split, rank: int) -> Speaker | None:
        """Who says the query of a rank among those of its cell and split."""
        speech = self._speech
        names = speech.eval_voices if split == EVAL and speech.eval_voices else speech.query_voices
        return self._turn(names, "query", cell, split, rank)

    def of_response(self, cell: str, split: Split, rank: int) -> Speaker | None:
        """Who says the response of a rank among those of its cell and split."""
        return self._turn(self._speech.response_voices, "response", cell, split, rank)

    def leading(self) -> tuple[Speaker | None, Speaker | None]:
        """The first speaker of queries and the first of responses, where they are cast."""
        speech = self._speech
        first = (next(iter(names), None) for names in (speech.query_voices, speech.response_voices))
        query, response = (self.speakers[name] if name else None for name in first)
        return query, response

    def _turn(
        self, names: tuple[str, ...], role: str, cell: str, split: Split, rank: int
    ) -> Speaker | None:
        if not names:
            return None
        block, index = divmod(rank, len(names))
        order = shuffled(len(names), self._seed, "cast", role, cell, split, block)
        return self.speakers[names[order[index]]]

    def _require_unheard(self) -> None:
        """Passes if the voices of eval are no one else's under another name."""
        speech = self._speech
        heard = {
            voice_name(speech, self.speakers[name]): name
            for name in (*speech.query_voices, *speech.response_voices)
        }
        for key in ("query_voice", "response_voice"):
            if not getattr(speech, f"{key}s"):
                heard[getattr(speech, key)] = f"speech.{key}"
        for name in speech.eval_voices:
            if other := heard.get(voice_name(speech, self.speakers[name])):
                raise InvalidInput(
                    f"speech.eval_voices: '{name}' has the voice of {other}, which is heard in "
                    "train; name a speaker with a voice of their own."
                )


def voice_name(speech: Speech, speaker: Speaker) -> str:
    """What a voice is asked for to speak as someone.

    Raises:
        InvalidInput: it is a served one that nobody serves as theirs.
    """
    if speech.backend == "builtin" or speech.voice_design:
        return speaker.name
    if speaker.served is None:
        raise InvalidInput(
            f"Speaker '{speaker.name}' has no voice that is served as theirs: give 'served' in "
            "speakers.yaml a name that the servers of speech.endpoints know, or set "
            "speech.voice_design where speech.model makes voices from descriptions."
        )
    return speaker.served
