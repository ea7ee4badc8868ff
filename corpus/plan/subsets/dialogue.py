"""Dialogues: several exchanges, through which the user's feeling goes from one anchor to another.

Each user turn is spoken at its point of the dialogue's trajectory, and each answer knows all that
was said before it. A dialogue depends on the seed and its own number alone; which trajectory it
takes is drawn by a contest of all (rendezvous hashing), so that one more takes some dialogues for
itself and leaves all others as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import log10
from typing import Any

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import OWN_FILES, Prompts
from corpus.plan.seeds import derive
from corpus.plan.subsets.blends import DIGITS, blended, parts_of
from corpus.plan.subsets.subset import Cell, Exchange, Manner, SubsetRoom
from corpus.plan.templates import Message
from schemas.prompts import Anchor, DeliveryStyle, Point, Trajectory
from schemas.recipe import Recipe
from schemas.slots import DIALOGUE, PairSlot, Place, QuerySlot, Split, Turn

QUERY, RESPONSE = "dialogue/query", "dialogue/response"
"""The templates."""


class Dialogue(SubsetRoom):
    """`dialogue.dialogues` dialogues of as many turns as `dialogue.turns` allows."""

    name = DIALOGUE
    size = "dialogues"
    in_words = True
    columns = ("dialogue_id", "turn", "turns")
    card = (
        "several exchanges, in which how the user feels goes from one anchor to another; each row "
        "is a turn: a query spoken in the feeling of that turn, and the response to it."
    )
    card_note = (
        "Those of a row of `dialogue` are its turn's point on the way of its dialogue, and the "
        "emotion is the anchor nearest on that way. The rows of a `dialogue_id`, in the order of "
        "`turn`, are what was said."
    )

    def __init__(self, recipe: Recipe, prompts: Prompts, anchors: Mapping[str, Anchor]) -> None:
        super().__init__(recipe, prompts, anchors)
        assert prompts.trajectory_file is not None
        self._deliveries = prompts.trajectory_file.deliveries
        self._trajectories = [
            one for one in prompts.trajectory_file.trajectories if set(one.path) <= set(anchors)
        ]
        if not self._trajectories:
            raise InvalidInput(
                f"dialogue.dialogues: no trajectory of {prompts.folder / OWN_FILES[self.name]} has "
                f"all of its anchors among {', '.join(anchors)}. Name more anchors, write a "
                "trajectory, or set it to 0."
            )

    @classmethod
    def samples(cls, prompts: Prompts, anchors: Mapping[str, Anchor]) -> Iterator[list[Message]]:
        """Its templates with each anchor, as first and as second turn.

        Raises:
            InvalidInput: a trajectory names an anchor that is none, or as for any subset.
        """
        assert prompts.trajectory_file is not None
        known = [anchor.name for anchor in prompts.anchors]
        for one in prompts.trajectory_file.trajectories:
            for name in one.path:
                if name not in known:
                    raise InvalidInput(
                        f"{prompts.folder / OWN_FILES[cls.name]}: trajectory '{one.name}' has "
                        f"'{name}', which is no anchor of the folder; {', '.join(known)} are."
                    )
        query, response = "What should I cook tonight?", "Try a soup that is quickly done."
        for name, anchor in anchors.items():
            place = Place(anchor.valence, anchor.arousal, ((name, 1.0),))
            for said in ((), (Exchange(query, response),)):
                values = _told(place, anchors) | {"said": said}
                yield prompts.render(QUERY, values | {"topic": prompts.topics[0]})
                yield prompts.render(RESPONSE, values | {"query": query})
            yield prompts.judge(anchor, query, response, in_words=True, said=said)

    def cells(self) -> Iterator[Cell]:
        """A single one, of dialogues."""
        yield Cell(self.name, None, self.queries_of(self._recipe))

    def slots_of(self, cell: Cell, number: int, split: Split) -> Iterator[QuerySlot]:
        """The user's turns of a dialogue, in order."""
        dialogue = f"{cell.name}-{number:05d}"
        seed, (least, most) = self._recipe.seed, self._recipe.dialogue.turns
        turns = least + derive(seed, "turns", number) % (most - least + 1)
        path = self._trajectory(number).path
        for turn in range(1, turns + 1):
            place = self._on_the_way(path, turn, turns)
            anchor, where = place.blend[0][0], Turn(dialogue, turn, turns)
            slot_id = f"{dialogue}-{turn:02d}"
            yield QuerySlot(slot_id, self.name, anchor, number, split, place, where)

    def _trajectory(self, number: int) -> Trajectory:
        seed = self._recipe.seed
        return max(self._trajectories, key=lambda one: derive(seed, "trajectory", number, one.name))

    def _on_the_way(self, path: Sequence[str], turn: int, turns: int) -> Place:
        """Where a turn lies on a path, whose legs take an equal share of the dialogue each."""
        gone = (turn - 1) / max(1, turns - 1) * (len(path) - 1)
        leg = min(int(gone), len(path) - 2)
        names, second = path[leg : leg + 2], round(gone - leg, DIGITS)
        weighted = ((names[0], round(1 - second, DIGITS)), (names[1], second))
        blend = tuple(sorted((one for one in weighted if one[1]), key=lambda one: -one[1]))
        ends = [(self._anchors[name], weight) for name, weight in blend]
        return Place(
            round(sum(weight * anchor.valence for anchor, weight in ends), DIGITS),
            round(sum(weight * anchor.arousal for anchor, weight in ends), DIGITS),
            blend,
        )

    def pairs_of(self, query: QuerySlot) -> Iterator[PairSlot]:
        """One, of the turn's own id."""
        assert query.anchor is not None
        yield PairSlot(query.id, query, query.anchor, query.place)

    def next_turn(self, slot: PairSlot) -> QuerySlot | None:
        """The user's turn behind a response; None behind the last."""
        turn, number = _turn_of(slot.query), slot.query.number
        if turn.number == turn.of:
            return None
        (cell,) = self.cells()
        turns = self.slots_of(cell, number, slot.query.split)
        return next(one for one in turns if _turn_of(one).number == turn.number + 1)

    def ask_query(
        self, slot: QuerySlot, topic: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for what the user says next, in the turn's feeling."""
        values = _told(_place_of(slot), self._anchors) | {"topic": topic, "said": said}
        return self._prompts.render(QUERY, values)

    def ask_response(
        self, slot: PairSlot, query: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for the answer, given all that was said."""
        values = _told(_place_of(slot), self._anchors) | {"query": query, "said": said}
        return self._prompts.render(RESPONSE, values)

    def query_manner(self, slot: QuerySlot) -> Manner:
        """As the feelings between which the turn lies sound, at the turn's point."""
        place = _place_of(slot)
        point = Point(valence=place.valence, arousal=place.arousal)
        return Manner(_felt_at(place, self._anchors).query_style, point)

    def response_cast(self, slot: PairSlot) -> str:
        """The dialogues: whoever answers in one does so to its end."""
        return slot.query.drawn_with

    def response_manner(self, slot: PairSlot, levels: Sequence[float] = ()) -> Manner:
        """As suits the turn's feeling, or how loud the user's turns were until then."""
        if not self.listens:
            return super().response_manner(slot)
        change = trend(levels)
        keys, ways = self._recipe.dialogue, self._deliveries
        if change <= -keys.falling_db:
            return _manner(ways.falling)
        return _manner(ways.rising if change >= keys.rising_db else ways.steady)

    def response_manners(self, slot: PairSlot) -> tuple[Manner, ...]:
        """One, or the three among which the user's turns decide."""
        if not self.listens:
            return super().response_manners(slot)
        ways = self._deliveries
        return tuple(map(_manner, (ways.falling, ways.rising, ways.steady)))

    @property
    def listens(self) -> bool:
        """Whether the recipe has responses spoken by how the user's turns sound."""
        return self._recipe.dialogue.delivery == "trajectory"

    def heard_before(self, slot: PairSlot) -> tuple[str, ...]:
        """The user's turns until then, if they decide how the response is spoken."""
        turn = _turn_of(slot.query)
        if not self.listens:
            return ()
        return tuple(f"{turn.dialogue}-{number:02d}" for number in range(1, turn.number + 1))

    def asked_by(self, slot: QuerySlot) -> Anchor | None:
        """The feelings between which the turn lies."""
        return _felt_at(_place_of(slot), self._anchors)

    def target(self, slot: PairSlot) -> Anchor:
        """Likewise."""
        return _felt_at(_place_of(slot), self._anchors)

    def felt(self, slot: PairSlot) -> tuple[Anchor, ...]:
        """The anchors between which the turn lies."""
        return tuple(part.anchor for part in parts_of(_place_of(slot), self._anchors))

    def added(self, slot: PairSlot) -> dict[str, Any]:
        """Which turn it is."""
        turn = _turn_of(slot.query)
        return {"dialogue_id": turn.dialogue, "turn": turn.number, "turns": turn.of}


def trend(levels: Sequence[float]) -> float:
    """By how many dB the last of a user's turns is louder than those before it; 0 of a first one.

    Those before are averaged in energy, each weighing the more the quieter it was (by the inverse
    of its energy), so that quiet distress is not averaged away: ES4R's weighting. Weighted so, the
    mean of n levels is n over the sum of their inverses, which is the harmonic mean.

    Args:
        levels: of the turns in their order, dB.
    """
    *before, last = (10 ** (level / 10) for level in levels) if levels else (1.0,)
    if not before:
        return 0.0
    mean = len(before) / sum(1 / energy for energy in before)
    return float(10 * log10(last / mean))


def _manner(way: DeliveryStyle) -> Manner:
    return Manner(way.style, way.delivery)


def _told(place: Place, anchors: Mapping[str, Anchor]) -> dict[str, object]:
    """What templates are told of a turn's feeling."""
    return {"anchor": _felt_at(place, anchors), "blend": parts_of(place, anchors)}


def _felt_at(place: Place, anchors: Mapping[str, Anchor]) -> Anchor:
    """The anchor of a place, or what lies there between two."""
    if len(place.blend) == 1:
        return anchors[place.blend[0][0]]
    return blended(place, parts_of(place, anchors), anchors)


def _place_of(slot: QuerySlot | PairSlot) -> Place:
    assert slot.place is not None
    return slot.place


def _turn_of(slot: QuerySlot) -> Turn:
    assert slot.turn is not None
    return slot.turn
