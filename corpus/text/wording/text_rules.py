"""The text rules as a recipe has them, and what a text is judged by beside its words."""

from collections.abc import Mapping, Sequence

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.rules import Rule, Rules, Verdict
from corpus.plan.subsets.subset import Exchange
from corpus.text.wording import utterance
from corpus.text.wording.text_rejection_rules import (
    KEY,
    QUERY,
    QUERY_RULES,
    RESPONSE,
    RESPONSE_RULES,
    UNSPEAKABLE,
)
from corpus.text.wording.utterance import Utterance
from corpus.voices.builtin_synthesis import text_problem
from schemas.recipe import RuleSetting
from schemas.slots import PairSlot, QuerySlot


class TextRules:
    """The text rules as a recipe has them, over what each slot brings.

    `of_queries` and `of_responses` are the registries.

    Args:
        blueprint: its recipe says in `text.rules` what is changed of them. A name that queries and
            responses share changes both, with `query_` or `response_` before it one of them.

    Raises:
        InvalidInput: there is no such rule, or it has no limit to be set.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint, self._prompts = blueprint, blueprint.prompts
        settings = blueprint.recipe.text.rules
        _require_known(settings)
        self.of_queries = Rules(QUERY_RULES, _settings(settings, QUERY, QUERY_RULES), KEY)
        self.of_responses = Rules(
            RESPONSE_RULES, _settings(settings, RESPONSE, RESPONSE_RULES), KEY
        )

    def load(self) -> None:
        """Loads what takes a second, before the first text needs it."""
        utterance.load()
        _ = self._prompts.rules.harmful.of_queries, self._prompts.rules.harmful.of_responses

    def query(self, slot: QuerySlot, text: str, said: Sequence[Exchange] = ()) -> Verdict:
        """The verdict on a cleaned query, as far as words alone tell."""
        return self.on_query(self.said_in_query(slot, text, said))

    def on_query(self, said: Utterance) -> Verdict:
        """The same, on what was made of it."""
        return _spoken(said.text, self.of_queries.judge(said))

    def said_in_query(self, slot: QuerySlot, text: str, said: Sequence[Exchange] = ()) -> Utterance:
        """A cleaned query, with what its slot, and what was said, bring for it to be judged by."""
        felt, neutral = self._blueprint.room(slot).asked_by(slot), self._prompts.anchor_file
        examples = (felt or neutral.neutral_query).examples
        before = (exchange.query for exchange in said)
        return Utterance(
            text,
            self._prompts.rules,
            neutral=slot.anchor is None,
            shown=(*(example.query for example in examples), *before),
        )

    def response(
        self, slot: PairSlot, query: str, text: str, said: Sequence[Exchange] = ()
    ) -> Verdict:
        """The verdict on a cleaned response to a query, as far as words alone tell."""
        return self.on_response(self.said_in_response(slot, query, text, said))

    def on_response(self, said: Utterance) -> Verdict:
        """The same, on what was made of it."""
        return _spoken(said.text, self.of_responses.judge(said))

    def said_in_response(
        self, slot: PairSlot, query: str, text: str, said: Sequence[Exchange] = ()
    ) -> Utterance:
        """A cleaned response to a query, with what its slot brings for it to be judged by.

        In a dialogue it may not say again what was said.
        """
        room = self._blueprint.room(slot)
        target, felt = room.target(slot), room.felt(slot)
        # Only the labels of its own anchors: a verdict must not change because another was added.
        labels = [name for one in felt for name in (one.name, *self._prompts.aliases_of(one))]
        return Utterance(
            text,
            self._prompts.rules,
            query=query,
            shown=(
                *(example.response for example in target.examples),
                *(exchange.response for exchange in said),
            ),
            required_words=target.required_words,
            opening_words=() if room.in_words else tuple(labels),
        )


def _spoken(text: str, verdict: Verdict) -> Verdict:
    """The verdict on a text that a voice has to be able to speak, whatever else is let through."""
    if verdict.reason is None and text_problem(text):
        return Verdict(UNSPEAKABLE, verdict.reported)
    return verdict


def _require_known(settings: Mapping[str, RuleSetting]) -> None:
    known = {
        name
        for prefix, registry in ((QUERY, QUERY_RULES), (RESPONSE, RESPONSE_RULES))
        for rule in registry
        for name in (rule.name, prefix + rule.name)
    }
    for name in settings:
        if name not in known:
            names = dict.fromkeys(rule.name for rule in (*QUERY_RULES, *RESPONSE_RULES))
            raise InvalidInput(
                f"{KEY}.{name}: there is no such rule; {', '.join(names)} are. With {QUERY} or "
                f"{RESPONSE} before it a rule is set for queries or responses alone."
            )


def _settings(
    settings: Mapping[str, RuleSetting], prefix: str, registry: Sequence[Rule[Utterance]]
) -> dict[str, RuleSetting]:
    """What the recipe says of the rules of one registry, by their own names."""
    names = [rule.name for rule in registry]
    of_both = {name: settings[name] for name in names if name in settings}
    return of_both | {name: settings[prefix + name] for name in names if prefix + name in settings}
