"""What the measures work with: settings, the store that remembers, and who computes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corpus.compute.local_or_dask import Workers
from corpus.compute.worker_processes import begun_ahead
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.run.progress import Progress
from corpus.store.append_only_records import Records
from corpus.store.digest_store import Store
from schemas.recipe_evaluation import Evaluation

T = TypeVar("T")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What an evaluation works with.

    Attributes:
        settings: with what it judges.
        store: has every transcript, feature, score and grade, each under the digest of what it was
            computed from and with.
        workers: compute.
        embedder: embeds texts.
        progress: is told of every item.
        seed: of resampling and of folds.
    """

    settings: Evaluation
    store: Store
    workers: Workers
    embedder: EmbeddingProcess
    progress: Progress
    seed: int = field(default=0)

    def ahead(self, begun: Iterable[tuple[T, "Future[Any] | None"]]) -> Iterator[tuple[T, Any]]:
        """What calls give that are begun a little ahead, so that all workers have something to do.

        Args:
            begun: what each call is for, and the call; None where there is nothing to wait for.

        Raises:
            InvalidInput, SympatheiaError: a worker died, the cluster is gone, or a call raises.
        """
        for what, call in begun_ahead(begun, 2 * self.workers.at_once):
            yield what, None if call is None else self.workers.wait_for(call)

    def computed(
        self,
        records: Records,
        asked: Iterable[tuple[str, Callable[..., Record], tuple[Any, ...]]],
    ) -> Iterator[Record]:
        """The records of some calls, in order; those that are not on file are computed.

        Args:
            records: where they are kept.
            asked: of each the digest, the function and its arguments.
        """

        def begun() -> Iterator[tuple[str, Future[Record] | None]]:
            for digest, function, arguments in asked:
                known = digest in records
                yield digest, None if known else self.workers.submit(function, *arguments)

        for digest, made in self.ahead(begun()):
            if made is not None:
                records.put(digest, made)
            yield records.require(digest)
