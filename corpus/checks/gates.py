"""Gates: what must hold of a finished dataset, each with a number, a limit and a verdict.

`GATES` is the registry: a gate is one entry in it, and whatever looks for offences names its gates
as they are named there. What came of one is an `Outcome`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus.errors import SympatheiaError

EXAMPLES = 5
"""Places that an outcome names; how many there are in all is its number."""

SECONDS_TOLERANCE = 0.005
LOUDNESS_TOLERANCE = 0.5
PEAK_TOLERANCE = 0.02
ENDS_TOLERANCE = 0.06
"""Seconds, LUFS, share of full scale and seconds: roundings of 16 bits and of frames of 10 ms, and
for the ends that a soft onset may lie under the level that counts as sound."""
SLOWEST_MEDIAN, FASTEST_MEDIAN = 1.5, 4.5
"""Words per second of a corpus's median clip; conversation is at 2 to 3.5."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing that must hold.

    Attributes:
        name: what results, commands and docs call it.
        counts: what is counted that must not be, or measured that must not be too much.
        unit: of the number.
        about: what a person should know of it.
        limit: the most that passes; None where the recipe has it.
    """

    name: str
    counts: str
    unit: str
    about: str
    limit: float | None = 0


GATES = (
    # Of the files.
    Gate(
        "file_missing",
        "files of the manifest that are not there",
        "files",
        "A download that was cut short, perhaps; fetch it again.",
    ),
    Gate(
        "file_not_in_manifest",
        "files that are not in the manifest",
        "files",
        "Whoever loads the folder may take them for part of it. What a download from the Hub "
        "leaves (`.cache`, `.gitattributes`) does not count, nor what an evaluation does.",
    ),
    Gate(
        "checksum",
        "files of another size or SHA-256 than in the manifest",
        "files",
        "Damaged or edited since they were written, be it the card.",
    ),
    Gate(
        "shard_name",
        "Parquet files not called `data/PART/SPLIT-NNNNN-of-NNNNN.parquet`, or not numbered in a "
        "row",
        "files",
        "`datasets` and the Hub find shards by their names.",
    ),
    Gate(
        "card",
        "things that the card says wrongly or leaves out",
        "faults",
        "Its metadata tells the Hub of licence, language, size and task, and `datasets` of the "
        "configs, their files and their rows.",
    ),
    Gate(
        "unreadable",
        "Parquet files with a page that cannot be read",
        "files",
        "The gates about rows, texts and clips look into the other files alone.",
    ),
    Gate(
        "columns",
        "Parquet files with other columns, or columns of other types",
        "files",
        "The gates about rows, texts and clips look into the other files alone.",
    ),
    Gate(
        "features",
        "shards in which `datasets` does not see audio where there is some",
        "files",
        "Without it clips come as bytes, and the Hub's viewer has nothing to play.",
    ),
    Gate(
        "page_index",
        "Parquet files without a page index",
        "files",
        "With it the Hub's viewer reads a few rows without the rest.",
    ),
    Gate(
        "rows_in_file",
        "Parquet files with more or fewer rows than in the manifest",
        "files",
        "Rows were taken out or added.",
    ),
    Gate(
        "largest_shard_bytes",
        "the largest shard",
        "bytes",
        "The Hub advises less: larger ones are slow to stream. `shards.max_bytes` sets it.",
        500_000_000,
    ),
    Gate(
        "largest_row_group_bytes",
        "the largest row group",
        "bytes",
        "The Hub advises less: its viewer does not show larger ones.",
        100_000_000,
    ),
    # Of the rows.
    Gate(
        "id_missing",
        "rows planned that are not there",
        "rows",
        "The corpus is smaller than it says.",
    ),
    Gate(
        "id_unknown", "rows that are not planned", "rows", "They are of another corpus, or of none."
    ),
    Gate(
        "id_twice", "ids that several rows have", "ids", "Of their texts the first are looked at."
    ),
    Gate(
        "order",
        "rows behind one that is planned behind them",
        "rows",
        "Rows lie in slot order, split by split, so that the same corpus is the same bytes.",
    ),
    Gate(
        "split",
        "rows in another split than planned",
        "rows",
        "Where a row belongs follows from the plan alone. On the wrong side an evaluation is asked "
        "what was trained on.",
    ),
    Gate(
        "null",
        "rows without a value in some column",
        "rows",
        "Each row has all columns of every corpus.",
    ),
    Gate("subset", "rows of another subset than planned", "rows", "Or in the folder of another."),
    Gate(
        "query_id",
        "rows with another query's id than planned",
        "rows",
        "It says who shares a query.",
    ),
    Gate(
        "emotion",
        "rows whose query or response has another emotion than planned",
        "rows",
        "It is what the corpus is conditioned on.",
    ),
    Gate(
        "coordinates",
        "rows with another valence or arousal than their anchor or their point",
        "rows",
        "An adapter is told these, so a wrong one teaches it wrongly.",
    ),
    Gate(
        "added",
        "rows with other values than planned in a column of their subset, such as `blend`",
        "rows",
        "Only a corpus with such a subset has the column. In rows of other subsets it is null.",
    ),
    Gate(
        "annotation",
        "rows without a word in `scenario`, `cause` or `goal`",
        "rows",
        "Only a corpus whose recipe asks for them (`annotate.empathy`) has the columns.",
    ),
    Gate(
        "topic", "rows with a topic that the prompts do not have", "rows", "Another prompts folder?"
    ),
    Gate("style", "rows with another style than planned", "rows", "It says how a clip sounds."),
    Gate("voice", "rows with another voice than the recipe's", "rows", "It says who speaks."),
    Gate(
        "speaker_unknown",
        "clips of a speaker who is not cast for them",
        "clips",
        "Only a corpus that casts speakers has this gate and the two below.",
    ),
    Gate(
        "eval_speaker_in_train",
        "clips of train by a speaker of `speech.eval_voices`",
        "clips",
        "Who is evaluated on must not have been heard in training.",
    ),
    Gate(
        "speaker_balance",
        "how many clips one speaker has more than another, where they differ most",
        "clips",
        "Within a cell and a split speakers take turns; in the grid by the number of the point, "
        "in dialogues from one to the next.",
        1,
    ),
    Gate(
        "pairs_lacking_in_a_cell",
        "rows that the emptiest cell lacks",
        "rows",
        "A cell is an anchor within a subset; each is to have exactly the number planned.",
    ),
    Gate(
        "text_config",
        "rows of the config without audio that are missing or differ from the pair",
        "rows",
        "Who loads texts alone is to get the same corpus.",
    ),
    # Of the texts.
    Gate(
        "empty_text", "rows with an empty query or response", "rows", "They are not read further."
    ),
    Gate(
        "not_clean",
        "texts that cleaning would change: emphasis, emoji, typographic marks",
        "texts",
        "A run speaks and packs what is clean already.",
    ),
    Gate(
        "query_rule",
        "queries that break a rule for texts",
        "texts",
        "The same rules as while the corpus is written, as the recipe set them.",
    ),
    Gate(
        "response_rule",
        "responses that break a rule for texts",
        "texts",
        "The same rules as while the corpus is written, as the recipe set them.",
    ),
    Gate("response_twice", "responses that another pair has too", "texts", "To the letter."),
    Gate(
        "query_not_shared",
        "rows with another text than the pairs before have under the same query's id",
        "rows",
        "One query is to be answered for every emotion.",
    ),
    Gate(
        "query_similarity",
        "the nearest two queries",
        "cosine",
        "Embedded anew; of a dialogue the first. The limit is the recipe's `dedup.threshold`.",
        None,
    ),
    Gate(
        "query_similarity_across_splits",
        "the nearest two queries of different splits",
        "cosine",
        "No such query that is evaluated was trained on in other words. The limit is the recipe's "
        "`dedup.threshold`.",
        None,
    ),
    # Of the clips.
    Gate(
        "clip",
        "clips that break a rule for clips",
        "clips",
        "The same rules as while the corpus is spoken, as the recipe set them; measured anew.",
    ),
    Gate(
        "clip_seconds",
        f"clips longer or shorter than their row says by over {SECONDS_TOLERANCE:g} s",
        "clips",
        "Two builds over a shared store may have made one clip each at the same moment, with a "
        "voice that never speaks twice alike. Build again.",
    ),
    Gate(
        "clip_loudness",
        f"clips off the loudness of their style by over {LOUDNESS_TOLERANCE:g} LUFS",
        "clips",
        "Loudness follows from the style and from `speech.loudness`. A clip whose peaks leave no "
        "headroom may be quieter.",
    ),
    Gate(
        "clip_ends",
        f"clips with silence at an end of over {ENDS_TOLERANCE:g} s beyond the margin",
        "clips",
        "Every clip is cut to the same margin of silence, which a model learns along with it.",
    ),
    Gate(
        "clip_twice",
        "clips that another text has too",
        "clips",
        "One of the two says something else.",
    ),
    Gate(
        "query_clip_not_shared",
        "clips of a query that other pairs have another clip of",
        "clips",
        "A query is spoken once, whoever answers it.",
    ),
    Gate(
        "words_per_second_off",
        f"how far the median clip is from {SLOWEST_MEDIAN:g} to {FASTEST_MEDIAN:g} words a second",
        "words a second",
        "Conversation is at 2 to 3.5. Far off, a voice drags or rushes, or clips and texts are of "
        "different pairs.",
        0.0,
    ),
)
"""Every gate, in the order in which they are looked at and shown."""


@dataclass
class Outcome:
    """What came of a gate. `found` is what was counted or measured, `limit` what may be."""

    gate: Gate
    limit: float
    found: float = 0
    examples: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The gate's."""
        return self.gate.name

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return self.found <= self.limit


class Gates:
    """The gates of a dataset that is looked at; those that nobody opens are not among them."""

    def __init__(self) -> None:
        self._registry = {gate.name: gate for gate in GATES}
        self._outcomes: dict[str, Outcome] = {}

    def open(self, *names: str) -> None:
        """Gates that nothing has offended yet."""
        for name in names:
            self._outcomes[name] = Outcome(self._registry[name], 0)

    def offend(self, name: str, example: str) -> None:
        """Counts something that must not be."""
        outcome = self._outcomes[name]
        outcome.found += 1
        if len(outcome.examples) < EXAMPLES:
            outcome.examples.append(example)

    def measure(self, name: str, found: float, example: str, limit: float | None = None) -> None:
        """A number that must not exceed the gate's limit, or the recipe's where it has none."""
        gate = self._registry[name]
        most = gate.limit if limit is None else limit
        assert most is not None
        outcome = self._outcomes[name] = Outcome(gate, most, found)
        if not outcome.passed:
            outcome.examples.append(example)

    @property
    def all(self) -> list[Outcome]:
        """What came of the gates, in the order of the registry."""
        return [self._outcomes[gate.name] for gate in GATES if gate.name in self._outcomes]


def require_passed(outcomes: Sequence[Outcome]) -> None:
    """Passes if every gate does.

    Raises:
        SympatheiaError: some do not; the sentence names them.
    """
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    if failed:
        raise SympatheiaError(
            f"{len(failed)} of {len(outcomes)} gates failed: {', '.join(failed)}. Mend what they "
            "name, or build the corpus again from its run folder."
        )


def gates_as_data(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """What came of gates, as plain data."""
    listed = [
        {
            "name": outcome.name,
            "found": outcome.found,
            "limit": outcome.limit,
            "unit": outcome.gate.unit,
            "passed": outcome.passed,
            "examples": outcome.examples,
        }
        for outcome in outcomes
    ]
    return {"passed": all(outcome["passed"] for outcome in listed), "gates": listed}
