"""Training sequences: the exact string, which pairs lose their affect, resuming, and refusals."""

import io
import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from corpus.adapter.clip_tokens import token_key
from corpus.adapter.prompt_template import sequence
from corpus.adapter.speech_tokens import SpeechTokenizer, checkpoint_digest
from corpus.adapter.training_sequences import AFFECT_DROPOUT, affect_dropout, encode_corpus
from corpus.errors import InvalidInput, SympatheiaError
from corpus.opened import Corpus
from corpus.plan.recipe_files import load_recipe, recipe_prompts
from corpus.plan.slot_layout import Plan
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.store.digest_store import Store
from schemas.audio import SAMPLE_RATE
from schemas.recipe import Recipe
from schemas.slots import EMOTIONAL, NEUTRAL, SPLITS
from tests.support.dask_cluster import DaskCluster
from tests.support.line import sympatheia, typed

CHECKPOINT = Path(__file__).parent / "golden" / "whispervq" / "tokenizer"
CLIPS = 30 * 2 + 4 + 12
"""Of the `whole` run: emotional pairs with two each, neutral queries, and their answers."""


@pytest.fixture(scope="module")
def encoded(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    assert encode_corpus(whole, CHECKPOINT, output=folder) == folder / "sequences"
    return folder


@pytest.fixture
def corpus(whole, tmp_path):
    """A dataset folder that may be changed."""
    return shutil.copytree(whole / "corpus", tmp_path / "corpus")


def rows_of(corpus, split):
    return [
        row
        for subset in (EMOTIONAL, NEUTRAL)
        for path in sorted((corpus / "data" / subset).glob(f"{split}-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def lines_of(folder, split):
    text = (folder / "sequences" / f"encoded_{split}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "sequences").iterdir()}


def stored(folder):
    """The number of records in each segment of the store, oldest first."""
    segments = (folder / "store" / "speech_tokens").glob("*.jsonl")
    ordered = sorted(segments, key=lambda path: path.stat().st_mtime_ns)
    return [len(path.read_bytes().splitlines()) for path in ordered]


def change(corpus, subset, edit):
    """Puts the last shard of a subset back with its rows edited."""
    path = sorted((corpus / "data" / subset).glob("*.parquet"))[-1]
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows = edit(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_the_string_is_the_published_one():
    assert sequence([1, 16383], "I am here.", [7], (-0.75, -0.65)) == (
        "<|system|>\nPlease respond in English. User emotion (valence=-0.75, arousal=-0.65)\n"
        "<|user|>\n<|audio_1|><|audio_16383|>\n"
        "<|assistant|>\nI am here.\n<|audio_7|><|user|>"
    )
    assert sequence([1], "I am here.", [7], None) == (
        "<|system|>\nPlease respond in English. User emotion N/A\n"
        "<|user|>\n<|audio_1|>\n<|assistant|>\nI am here.\n<|audio_7|><|user|>"
    )


@pytest.mark.parametrize(
    ("affect", "written"),
    [
        ((0.0, -0.0), "(valence=0.00, arousal=0.00)"),
        ((-0.001, 0.9), "(valence=0.00, arousal=0.90)"),
        ((1.0, -1.0), "(valence=1.00, arousal=-1.00)"),
        ((0.123, -0.678), "(valence=0.12, arousal=-0.68)"),
    ],
)
def test_affect_has_two_decimals_and_no_negative_zero(affect, written):
    assert f"User emotion {written}\n" in sequence([], "", [], affect)


def test_rows_are_those_of_the_corpus_in_its_order(whole, encoded):
    for split in SPLITS:
        rows, lines = rows_of(whole / "corpus", split), lines_of(encoded, split)
        keys = ("id", "valence", "arousal")
        assert [[line[k] for k in keys] for line in lines] == [[r[k] for k in keys] for r in rows]
        assert all(list(line) == ["text", *keys] for line in lines)
    assert len(lines_of(encoded, "train")) + len(lines_of(encoded, "eval")) == 42


def test_a_sequence_of_the_grid_tells_its_point(gridded, tmp_path):
    encode_corpus(gridded, CHECKPOINT, output=tmp_path)
    rows = {row["id"]: row for row in Corpus.open(gridded).pairs("grid")}
    lines = [line for split in SPLITS for line in lines_of(tmp_path, split)]
    told = {line["id"]: line["text"] for line in lines if line["id"].startswith("grid-")}
    assert list(told) == list(rows)
    for name, row in rows.items():
        point = f"(valence={row['valence']:.2f}, arousal={row['arousal']:.2f})".replace(
            "-0.00", "0.00"
        )
        assert point in told[name]


def test_every_text_is_that_of_its_row(whole, encoded):
    tokenizer = SpeechTokenizer.from_pretrained(CHECKPOINT)
    dropped = set(json.loads(contents(encoded)["affect_dropout.json"])["ids"])
    for split in SPLITS:
        # A pair of each subset, with its affect and without.
        pairs = {
            (row["subset"], row["id"] in dropped): (row, line)
            for row, line in zip(
                rows_of(whole / "corpus", split), lines_of(encoded, split), strict=True
            )
        }
        assert len(pairs) == 3
        for row, line in pairs.values():
            query, response = tokenizer.encode(
                [row["query_audio"]["bytes"], row["response_audio"]["bytes"]]
            )
            affect = None if row["id"] in dropped else (row["valence"], row["arousal"])
            assert line["text"] == sequence(query, row["response_text"], response, affect)


def test_a_third_of_the_emotional_subset_loses_its_affect(encoded):
    listed = json.loads(contents(encoded)["affect_dropout.json"])
    assert listed["fraction"] == AFFECT_DROPOUT == 1 / 3
    assert listed["count"] == len(listed["ids"]) == 10
    assert listed["ids"] == sorted(listed["ids"])
    lines = [line for split in SPLITS for line in lines_of(encoded, split)]
    without = [line["id"] for line in lines if "User emotion N/A" in line["text"]]
    assert sorted(without) == listed["ids"]
    assert all(name.startswith("emotional-") for name in without)
    cells = Counter(name.rpartition("-")[0] for name in without)
    assert sorted(cells.values()) == [3, 3, 4]


def pairs_of(per_anchor, seed=18):
    settings = (f"emotional.pairs_per_anchor={per_anchor}", "neutral.queries=5", f"seed={seed}")
    recipe: Recipe = load_recipe("sympatheia-18k", settings)
    return list(Plan(recipe, recipe_prompts(recipe)).pairs())


@pytest.mark.parametrize("per_anchor", [0, 1, 7, 10, 100])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 1 / 3, 0.5, 1.0])
def test_the_count_is_exact_and_evenly_spread(per_anchor, fraction):
    pairs = pairs_of(per_anchor)
    dropped = affect_dropout(pairs, 18, fraction)
    emotional = [pair for pair in pairs if pair.query.subset == EMOTIONAL]
    assert len(set(dropped)) == len(dropped) == round(fraction * len(emotional))
    assert set(dropped) <= {pair.id for pair in emotional}
    of = Counter(pair.anchor for pair in emotional if pair.id in dropped)
    assert all(abs(of[anchor] - fraction * per_anchor) <= 1 for anchor in of)


def test_of_dialogues_each_turn_may_lose_it():
    settings = ("dialogue.dialogues=300", "dialogue.turns=[3, 3]", "emotional.pairs_per_anchor=0")
    recipe: Recipe = load_recipe("sympatheia-18k", settings)
    dropped = affect_dropout(Plan(recipe, recipe_prompts(recipe)).pairs(), 18)
    assert len(dropped) == 300
    turns = Counter(name[-2:] for name in dropped)
    assert set(turns) == {"01", "02", "03"}
    assert min(turns.values()) > 70


def test_which_lose_it_follows_from_the_seed_and_hardly_changes_as_a_corpus_grows():
    assert affect_dropout(pairs_of(50), 18) == affect_dropout(pairs_of(50), 18)
    assert affect_dropout(pairs_of(50), 18) != affect_dropout(pairs_of(50), 19)
    # Of the same anchor the same ids come first, so a larger share has all of a smaller one's.
    shares = [set(affect_dropout(pairs_of(50), 18, share)) for share in (0.1, 0.2, 0.5)]
    assert all(small <= large for small, large in pairwise(shares))


def test_the_recipe_of_a_run_says_how_many(whole, tmp_path):
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    text = run.recipe.read_text()
    assert "affect_dropout = 0.3333333333333333" in text
    run.recipe.write_text(text.replace("affect_dropout = 0.3333333333333333", "affect_dropout=0.5"))
    assert encode_corpus(run.root, CHECKPOINT) == run.sequences
    assert json.loads((run.sequences / "affect_dropout.json").read_bytes())["count"] == 15
    assert stored(run.root) == [CLIPS]


def test_a_bare_dataset_folder_has_the_sequences_of_its_run(corpus, encoded, tmp_path):
    with pytest.raises(InvalidInput, match="is a dataset folder.*--output"):
        encode_corpus(corpus, CHECKPOINT)
    before = sorted(corpus.rglob("*"))
    encode_corpus(corpus, CHECKPOINT, ["cpu", "cpu"], tmp_path / "out")
    assert contents(tmp_path / "out") == contents(encoded)
    assert sorted(corpus.rglob("*")) == before


def test_the_cluster_of_the_recipe_makes_the_same_tokens(whole, encoded, tmp_path):
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    with DaskCluster(tmp_path, workers=2) as cluster:
        text = run.recipe.read_text()
        assert 'dask = ""' in text
        run.recipe.write_text(text.replace('dask = ""', f'dask = "{cluster.address}"'))
        encode_corpus(run.root, CHECKPOINT)
        assert "encode_in_worker" in cluster.computed()
    assert contents(run.root) == contents(encoded)


def test_every_distinct_clip_is_told_of_once(whole, encoded):
    assert stored(encoded) == [CLIPS]
    progress = Progress(None)
    encode_corpus(whole, CHECKPOINT, output=encoded, progress=progress)
    (stage,) = progress.snapshot()["stages"].values()
    assert stage["done"] == stage["total"] == CLIPS
    assert {name: cell["total"] for name, cell in stage["cells"].items()} == {
        "emotional": 60,
        "neutral": 16,
    }


def test_with_every_token_stored_no_model_is_loaded_and_the_files_are_the_same(
    whole, encoded, tmp_path
):
    # A checkpoint that cannot be loaded, and the tokens it is taken to have made.
    broken = shutil.copytree(CHECKPOINT, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InvalidInput, match="holds no GLM-4-Voice speech tokenizer"):
        encode_corpus(whole, broken, output=tmp_path / "out")
    assert list((tmp_path / "out").glob("sequences/*")) == []
    with Store(encoded / "store") as made, Store(tmp_path / "out" / "store") as given:
        for row in (row for split in SPLITS for row in rows_of(whole / "corpus", split)):
            for clip in (row["query_audio"]["bytes"], row["response_audio"]["bytes"]):
                record = made.speech_tokens.get(token_key(checkpoint_digest(CHECKPOINT), clip))
                given.speech_tokens.put(token_key(checkpoint_digest(broken), clip), record)
    encode_corpus(whole, broken, output=tmp_path / "out")
    assert contents(tmp_path / "out") == contents(encoded)
    encode_corpus(whole, broken, output=tmp_path / "out")
    assert contents(tmp_path / "out") == contents(encoded)
    assert stored(tmp_path / "out") == [CLIPS]


def test_an_interrupted_run_goes_on_with_what_is_missing(corpus, encoded, tmp_path):
    good = shutil.copytree(corpus, tmp_path / "good")
    change(corpus, "neutral", lambda rows: rows[-1]["response_audio"].update(bytes=b"not sound"))
    out = tmp_path / "out"
    with pytest.raises(SympatheiaError, match="The response of neutral-.* cannot be decoded"):
        encode_corpus(corpus, CHECKPOINT, output=out)
    (first,) = stored(out)
    assert 0 < first < CLIPS
    assert not (out / "sequences").exists()
    encode_corpus(good, CHECKPOINT, output=out)
    assert stored(out) == [first, CLIPS - first]
    assert contents(out) == contents(encoded)


def at_another_rate(rows):
    clip = io.BytesIO()
    soundfile.write(clip, np.zeros(800), 8000, format="FLAC")
    rows[-1]["query_audio"]["bytes"] = clip.getvalue()


def without_audio_columns(corpus):
    for path in (corpus / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        kept = [name for name in table.column_names if not name.endswith("_audio")]
        pq.write_table(table.select(kept), path)


BAD = {
    "another rate": (
        lambda c: change(c, "neutral", at_another_rate),
        f"The query of neutral-.* has 800 samples at 8000 Hz; .*{SAMPLE_RATE} Hz",
    ),
    "another order": (
        lambda c: change(c, "neutral", lambda rows: rows[::-1]),
        "rows of .* are not those of its plan",
    ),
    "a shard is cut off": (
        lambda c: next((c / "data" / "neutral").glob("*.parquet")).write_bytes(b"PAR1"),
        "parquet is damaged. Build the corpus again",
    ),
    "audio was left out": (without_audio_columns, "has other columns than a corpus: query_audio"),
    "no manifest": (
        lambda c: (c / "manifest.json").unlink(),
        "is not a dataset folder of this project",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_damaged_corpus_is_refused_by_name_and_writes_nothing(corpus, tmp_path, kind):
    damage, sentence = BAD[kind]
    damage(corpus)
    with pytest.raises(SympatheiaError, match=sentence):
        encode_corpus(corpus, CHECKPOINT, output=tmp_path / "out")
    assert list(tmp_path.glob("out/sequences/*")) == []


def test_a_run_without_a_corpus_a_missing_checkpoint_and_device_are_refused(whole, tmp_path):
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    shutil.copy(whole / "recipe.toml", unfinished)
    with pytest.raises(InvalidInput, match="has no corpus yet; 'sympatheia build'"):
        encode_corpus(unfinished, CHECKPOINT)
    with pytest.raises(InvalidInput, match="There is no speech tokenizer at /nowhere"):
        encode_corpus(whole, "/nowhere", output=tmp_path / "out")
    with pytest.raises(InvalidInput, match="config.json cannot be read"):
        encode_corpus(whole, tmp_path, output=tmp_path / "out")
    with pytest.raises(InvalidInput, match="no device 'cuda:99'"):
        encode_corpus(whole, CHECKPOINT, ["cuda:99"], tmp_path / "out")
    assert list(tmp_path.glob("out/sequences/*")) == []


def test_one_at_a_time_may_work_in_a_folder(whole, tmp_path):
    with (
        RunFolder(tmp_path / "out").locked(),
        pytest.raises(SympatheiaError, match="is at work in"),
    ):
        encode_corpus(whole, CHECKPOINT, output=tmp_path / "out")


def test_encode_says_where_the_files_are_and_refuses_in_sentences(whole, encoded, tmp_path):
    arguments = ("--speech-tokenizer", CHECKPOINT, "--output", tmp_path / "out")
    ran = sympatheia("encode", whole, *arguments, "--device", "cpu,cpu")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(tmp_path / "out" / "sequences")
    assert "on cpu, cpu" in ran.stderr
    assert f"speech tokens: {CLIPS} of {CLIPS}" in ran.stderr
    assert contents(tmp_path / "out") == contents(encoded)
    bare = typed("encode", whole / "corpus", "--speech-tokenizer", CHECKPOINT)
    assert (bare.returncode, bare.stdout) == (2, "")
    assert "--output" in bare.stderr
    assert "Traceback" not in bare.stderr
