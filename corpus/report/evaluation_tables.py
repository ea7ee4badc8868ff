"""The figures of an evaluation as tables: the paper's own, our rows beside the published ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.report.report_data import Facts
from corpus.sound.prosody import FEATURES
from schemas.slots import EMOTIONAL, NEUTRAL, SUBSETS

CORPUS = "corpus"
DASH = "-"
PUBLISHED = " (published)"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: rows of cells under columns, the first of which names the row."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def shown(figure: Mapping[str, Any] | float | None, digits: int = 3) -> str:
    """A mean with its interval, a rank correlation, or a plain number, as a person reads it."""
    if figure is None:
        return DASH
    if not isinstance(figure, Mapping):
        return f"{figure:.{digits}f}"
    if "rho" in figure:
        return _correlation(figure)
    if figure.get("mean") is None:
        return DASH
    mean = f"{figure['mean']:.{digits}f}"
    if figure.get("low") is None:
        return mean
    return f"{mean} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"


def _correlation(figure: Mapping[str, Any]) -> str:
    if figure["rho"] is None:
        return DASH
    # Below one in a thousand the number itself says nothing more.
    p = "p < 0.001" if figure["p"] < 0.001 else f"p = {figure['p']:.3f}"
    return f"{figure['rho']:+.2f} ({p})"


def found(facts: Facts, *path: str) -> Any:  # noqa: ANN401  (whatever lies there)
    """What lies at a path of the figures; None where a part was not asked for or had."""
    there: Any = facts
    for name in path:
        if not isinstance(there, Mapping):
            return None
        there = there.get(name)
    return there


def _rows(facts: Facts, measure: str, cells: Callable[[Facts], Sequence[str]]) -> list[Any]:
    """A row for each system that has a measure, under its name."""
    return [
        (name, *cells(system[measure]))
        for name, system in facts["systems"].items()
        if system.get(measure)
    ]


def _published(facts: Facts, measure: str, cells: Callable[[Facts], Sequence[str]]) -> list[Any]:
    rows = facts["published"].get(measure, {}).items()
    return [(name + PUBLISHED, *cells(one)) for name, one in rows]


def overview(facts: Facts) -> Table:
    """One line for each number that a person asks for first."""
    names = tuple(facts["systems"])
    lines: list[tuple[str, tuple[str, ...]]] = [
        ("judge, mean of all emotions (1 to 5)", ("judge_sets", "all")),
        ("F0 mean follows arousal (Spearman)", ("prosody", "f0_mean", "arousal")),
        ("energy follows arousal (Spearman)", ("prosody", "energy_mean", "arousal")),
        ("answers to one query alike (BERTScore F1)", ("invariance", "bertscore_f1")),
        ("answers to one query alike (ROUGE-L)", ("invariance", "rouge_l")),
        ("word error rate, mean", ("intelligibility", "wer_mean")),
        ("anchor told from the sound", ("recoverability", "sound", "accuracy")),
        ("anchor told from the words", ("recoverability", "text", "accuracy")),
        ("by chance", ("recoverability", "text", "chance")),
        ("different words (distinct-1)", ("diversity", "distinct_1")),
    ]
    rows = [
        (label, *(shown(found(facts["systems"][name], *path)) for name in names))
        for label, path in lines
    ]
    for predictor in dict.fromkeys(
        key for name in names for key in facts["systems"][name].get("naturalness") or {}
    ):
        cells = (
            shown(found(facts["systems"][name], "naturalness", predictor, "all"), 2)
            for name in names
        )
        rows.insert(6, (f"naturalness ({predictor})", *cells))
    sizes = tuple(f"{facts['systems'][name]['rows']:,}" for name in names)
    return Table(
        "In short",
        "Means with 95 % intervals over other queries of the same kind; a dash is what was not "
        "asked for or cannot be had.",
        ("", *names),
        [("responses", *sizes), *(row for row in rows if set(row[1:]) != {DASH})],
    )


def of_corpus(facts: Facts, name: str) -> Table | None:
    """The overview of one corpus alone; None if it is not among the systems."""
    system = facts["systems"].get(name)
    if system is None or system["kind"] != CORPUS:
        return None
    return overview(facts | {"systems": {name: system}})


def tables(facts: Facts) -> Iterator[Table]:
    """The paper's tables, and those of what it does not measure; none without a row of ours."""
    for build in (
        _judge,
        _emotions,
        _prosody,
        _invariance,
        _sound,
        _told,
        _said,
        _points,
        _between,
    ):
        made = build(facts)
        if made is not None and any(not row[0].endswith(PUBLISHED) for row in made.rows):
            yield made


def _judge(facts: Facts) -> Table:
    judged = [found.get("judge_sets") or {} for found in facts["systems"].values()]
    others = {name for found in judged for name in SUBSETS if name in found}
    sets = tuple(dict.fromkeys((NEUTRAL, EMOTIONAL, *(n for n in SUBSETS if n in others))))
    return Table(
        "The judge, by set",
        "Grades from 1 to 5. Neutral: a neutral query, answered for each emotion. Emotional: a "
        "query spoken in the emotion. The published judge was asked once a clip, and clips that it "
        "did not grade were left out.",
        ("system", *sets),
        [
            *_rows(facts, "judge_sets", lambda one: [shown(one.get(name), 2) for name in sets]),
            *_published(facts, "judge", lambda one: [shown(one.get(name), 2) for name in sets]),
        ],
    )


def _emotions(facts: Facts) -> Table:
    anchors = tuple(facts["published"]["judge_by_emotion"])
    rows = [
        (name, *(shown(found(system, "judge_sets", "by_emotion", a), 2) for a in anchors))
        for name, system in facts["systems"].items()
        if system.get("judge_sets")
    ]
    published = facts["published"]["judge_by_emotion"]
    return Table(
        "The judge, by emotion",
        "On the neutral set. Published: Sympatheia, table 10 of the paper.",
        ("system", *anchors),
        [*rows, ("Sympatheia" + PUBLISHED, *(shown(published[name], 2) for name in anchors))],
    )


def _prosody(facts: Facts) -> Table:
    def cells(one: Facts) -> list[str]:
        return [
            " / ".join(_short(found(one, feature, axis)) for axis in ("valence", "arousal"))
            for feature in FEATURES
        ]

    return Table(
        "Prosody and the point",
        "Spearman's rank correlation of each feature with the target's valence / arousal. "
        "Published: F0 by pYIN, ours by WORLD.",
        ("system", *FEATURES),
        [*_rows(facts, "prosody", cells), *_published(facts, "prosody", cells)],
    )


def _short(figure: Any) -> str:  # noqa: ANN401  (a correlation, or a published number)
    rho = figure["rho"] if isinstance(figure, Mapping) else figure
    return DASH if rho is None else f"{rho:+.2f}"


def _invariance(facts: Facts) -> Table:
    names = ("bertscore_f1", "rouge_l")
    return Table(
        "How alike the answers to one query are",
        "Of all pairs of emotions; lower is better. Scores by different models do not compare: "
        "published are distilbert-base-uncased and Whisper medium, without clips under 10 s.",
        ("system", *names),
        [
            *_rows(facts, "invariance", lambda one: [shown(one[name]) for name in names]),
            *_published(facts, "invariance", lambda one: [shown(one[name]) for name in names]),
        ],
    )


def _sound(facts: Facts) -> Table:
    predictors = list(
        dict.fromkeys(
            key
            for source in (*facts["systems"].values(), facts["published"])
            for one in (
                [source.get("naturalness")]
                if "naturalness" in source and source is not facts["published"]
                else facts["published"]["naturalness"].values()
            )
            for key in one or {}
        )
    )

    def cells(intelligibility: Facts | None, naturalness: Facts | None) -> list[str]:
        mos = (found(naturalness or {}, name) for name in predictors)
        return [
            *(shown(one.get("all") if isinstance(one, Mapping) else one, 2) for one in mos),
            shown(found(intelligibility or {}, "wer_mean")),
            shown(found(intelligibility or {}, "wer_corpus")),
        ]

    published = facts["published"]
    rows = [
        (name, *cells(system.get("intelligibility"), system.get("naturalness")))
        for name, system in facts["systems"].items()
        if system.get("intelligibility") or system.get("naturalness")
    ]
    rows += [
        (name + PUBLISHED, *cells(published["intelligibility"][name], one))
        for name, one in published["naturalness"].items()
    ]
    return Table(
        "Is the voice kept?",
        "Predicted naturalness from 1 to 5, and the word error rate against the system's own text. "
        "Published: on VoiceAssistant-400K, by Whisper large-v3, failed recognitions left out; "
        "ours count as 100 %.",
        ("system", *predictors, "word error rate, mean", "over all words"),
        rows,
    )


def _told(facts: Facts) -> Table:
    def cells(one: Facts) -> list[str]:
        return [
            cell
            for kind in ("sound", "text")
            for cell in (
                shown(found(one, kind, "accuracy")),
                shown(found(one, kind, "shuffled")),
                shown(found(one, kind, "chance")),
            )
        ]

    return Table(
        "Can the emotion be told?",
        "Accuracy of a linear classifier, from the sound and from the words; beside it the same "
        "with emotions shuffled, and chance.",
        ("system", "sound", "shuffled", "chance", "words", "shuffled", "chance"),
        _rows(facts, "recoverability", cells),
    )


def _said(facts: Facts) -> Table:
    names = ("distinct_1", "distinct_2", "distinct_3", "self_similarity", "repeated_openings")

    def cells(one: Facts) -> list[str]:
        opening = one["commonest_opening"]
        topics = DASH if one["topics"] is None else f"{one['topics']:,}"
        commonest = f"{opening['words']} ({opening['share']:.0%})"
        return [*(shown(one[name]) for name in names), commonest, topics]

    return Table(
        "Does it say different things?",
        "Distinct n-grams, mean cosine of two responses, share that opens with the same three "
        "words as another, the commonest opening, topics.",
        ("system", *(name.replace("_", " ") for name in names), "commonest opening", "topics"),
        _rows(facts, "diversity", cells),
    )


def _points(facts: Facts) -> Table:
    rows = [
        (f"{name}, {label} {value}", shown(one["judge"], 2), *_followed(one))
        for name, system in facts["systems"].items()
        for kind, label in (("sensitivity", "sigma"), ("interpolation", "r"))
        for value, one in (system.get(kind) or {}).items()
    ]
    published = facts["published"]["sensitivity"].items()
    rows += [
        (f"Sympatheia, sigma {s}" + PUBLISHED, shown(one, 2), DASH, DASH) for s, one in published
    ]
    return Table(
        "When the point is off",
        "Noise of standard deviation sigma on both axes, or the point drawn to the middle by r. "
        "Beside the grade, the rank correlation of F0 mean with the arousal of the target and with "
        "that which was told.",
        ("system", "judge", "F0 mean and target", "F0 mean and told"),
        rows,
    )


def _followed(one: Facts) -> list[str]:
    return [_short(one[kind]["f0_mean"]["arousal"]) for kind in ("target", "told")]


def _between(facts: Facts) -> Table:
    names = {
        "rating": "judge",
        "mos": "naturalness",
        "word_error_rate": "word error rate",
        "seconds": "seconds",
    }
    return Table(
        "From one system to another",
        "Mean difference on the queries and emotions that both have answered.",
        ("systems", *names.values()),
        [
            (pair, *(shown(one[name]) for name in names))
            for pair, one in facts["differences"].items()
        ],
    )
