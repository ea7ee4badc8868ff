"""A finished corpus as an object, for notebooks and for the commands that look at one.

    from corpus.opened import Corpus

    corpus = Corpus.open("runs/demo")
    for pair in corpus.pairs(subset="neutral", split="eval"):
        print(pair["query_text"], "->", pair["response_text"])

Nothing is read before it is asked for, and pairs are read some hundred at a time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.dataset.comparison import Comparison, compared
from corpus.dataset.dataset_folder import UNREADABLE, DatasetFolder, Row, unreadable
from corpus.errors import InvalidInput, SympatheiaError
from corpus.run.progress import Progress
from corpus.run.stage_tables import read_rows
from schemas.slots import SUBSETS, Split, Subset

if TYPE_CHECKING:  # what judges and draws takes seconds to import: when it is asked to
    import pandas

    from corpus.checks.gates import Outcome
    from corpus.report.report_data import Facts

PAIRS = "pairs"


class Corpus:
    """A finished corpus, opened by `Corpus.open`.

    Attributes:
        dataset: its manifest, its plan and its files.
    """

    def __init__(self, dataset: DatasetFolder) -> None:
        self.dataset = dataset

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        """The corpus of a run folder, or of a dataset folder, which knows nothing of refusals.

        Raises:
            InvalidInput: there is no dataset of this format.
        """
        return cls(DatasetFolder(Path(path)))

    @property
    def name(self) -> str:
        """What its recipe calls it."""
        return self.dataset.manifest.name

    def __repr__(self) -> str:
        return f"<Corpus {self.name}, {len(self):,} pairs, in {self.dataset.root}>"

    def __len__(self) -> int:
        """Pairs, as planned."""
        return len(self.dataset.slots)

    def __iter__(self) -> Iterator[Row]:
        """Every pair, without audio."""
        return self.pairs()

    def pairs(
        self, subset: Subset | None = None, split: Split | None = None, *, audio: bool = False
    ) -> Iterator[Row]:
        """Pairs, a subset after the other, in it a split, in it in slot order.

        Args:
            subset: "emotional", "neutral", "grid" or "dialogue"; all if None.
            split: "train" or "eval"; both if None.
            audio: whether they have `query_audio` and `response_audio`, each with the `bytes` of a
                FLAC file.

        Raises:
            SympatheiaError: a file is missing or damaged.
        """
        return self.dataset.pairs(subset, split, self.dataset.columns if audio else None)

    def pair(self, pair_id: str) -> Row:
        """One pair, with its audio.

        Raises:
            InvalidInput: the corpus was not planned to have it.
            SympatheiaError: it should be there and is not, or a file is missing or damaged.
        """
        if pair_id not in self.dataset.slots:
            raise InvalidInput(
                f"{self.dataset.root} has no pair {pair_id!r}. Its first is "
                f"{next(iter(self.dataset.slots))!r}."
            )
        row = next(self.dataset.pairs_with_audio((pair_id,)), None)
        if row is None:
            raise SympatheiaError(
                f"The pair {pair_id} is not in {self.dataset.root}, though planned; 'sympatheia "
                "check' tells what else is missing."
            )
        return row

    def refusals(self) -> Iterator[Row]:
        """Every refused candidate: stage, slot, attempt, text, reason, and of twins the nearest.

        Raises:
            InvalidInput: the corpus was opened without its run, which alone knows.
            SympatheiaError: the table is damaged.
        """
        return read_rows(self._table("refusals"))

    def gates(self, progress: Progress | None = None) -> "list[Outcome]":
        """What comes of every gate that a corpus has to pass; minutes for thousands of pairs.

        Args:
            progress: is told of everything that is looked at.

        Raises:
            InvalidInput: the model that compares queries cannot be loaded.
            SympatheiaError: a process that embeds or measures died.
        """
        from corpus.checks.dataset_check import check_folder

        return check_folder(self.dataset.run.root, progress)

    def figures(self) -> "Facts":
        """Every figure of the report, as `report.json` has them.

        Raises:
            SympatheiaError: a file of the dataset or of its run is missing or damaged.
        """
        from corpus.report.report_data import gather

        return gather(self.dataset)

    def write_report(self, output: Path | None = None) -> Path:
        """Writes `report.html` and `report.json`; gives the path of the page.

        Args:
            output: where they go; into the run's folder if None.

        Raises:
            InvalidInput: the corpus was opened without its run, and no output is given.
            SympatheiaError: a file of the dataset or of its run is missing or damaged.
        """
        from corpus.report.page import write_report

        return write_report(self.dataset, output)

    def compare(self, other: "Corpus", *, audio: bool = False) -> Comparison:
        """What the other has added, lacks and has otherwise.

        Args:
            other: another corpus, or another state of this one.
            audio: whether the clips' bytes are compared too, for which all of both is read.

        Raises:
            SympatheiaError: a file of one of them is missing or damaged.
        """
        return compared(self.dataset, other.dataset, audio=audio)

    def to_pandas(self, table: str = PAIRS) -> "pandas.DataFrame":
        """A whole table: the pairs without audio, or one that the run has kept.

        Args:
            table: "pairs"; or "refusals", "queries", "responses", "annotations",
                "similarities", "clips" or "sound", of a corpus that was opened with its run.

        Raises:
            InvalidInput: there is no such table, or the corpus was opened without its run.
            SympatheiaError: a file is missing or damaged.
        """
        if table != PAIRS:
            return _frame([self._table(table)])
        shards = [path for path in self.dataset.readable if path.parent.name in SUBSETS]
        return _frame(shards, self.dataset.text_columns)

    def _table(self, name: str) -> Path:
        run = self.dataset.run
        tables = {
            "refusals": run.rejects,
            "queries": run.queries,
            "responses": run.responses,
            "annotations": run.annotations,
            "similarities": run.similarities,
            "clips": run.clips,
            "sound": run.sound,
        }
        if name not in tables:
            raise InvalidInput(f"There is no table {name!r}; {', '.join((PAIRS, *tables))} are.")
        if not tables[name].is_file():
            raise InvalidInput(
                f"There is no {tables[name]}. A dataset folder has no table of {name}: open the "
                "folder of its run, and build that again if it is not there either."
            )
        return tables[name]


def _frame(paths: Sequence[Path], columns: list[str] | None = None) -> Any:  # noqa: ANN401 (pandas)
    tables = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                tables.append(file.read(columns=columns))
        except UNREADABLE as error:
            raise unreadable(path) from error
    return pa.concat_tables(tables).to_pandas()
