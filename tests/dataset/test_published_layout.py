"""Export to the published layout and import from it: what their scripts look for, and back."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from corpus.checks.dataset_check import check_folder
from corpus.dataset.published_layout import export, import_corpus
from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from schemas.audio import SAMPLE_RATE
from schemas.slots import EMOTIONAL, NEUTRAL
from tests.support.datasets import POINTER
from tests.support.line import copy_prompts, typed

VOICES = ('speech.query_voice="wren"', 'speech.response_voice="heron"')
BUILTIN = ('speech.backend="builtin"', "speech.endpoints=[]", 'speech.model=""', *VOICES)


@pytest.fixture(scope="module")
def published(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "Sympatheia"
    assert export(whole, folder) == 42
    return folder


@pytest.fixture
def source(published, tmp_path):
    return shutil.copytree(published, tmp_path / "source")


@pytest.fixture
def read_back(tmp_path):
    def read(source):
        blueprint = Blueprint.named("sympatheia-18k", BUILTIN)
        output = tmp_path / "ours"
        return import_corpus(source, output, blueprint), output

    return read


def rows_of(corpus):
    return {
        row["id"]: row
        for subset in (EMOTIONAL, NEUTRAL)
        for path in sorted((corpus / "data" / subset).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): sorted(path.read_bytes().splitlines())
        for path in folder.rglob("*")
        if path.is_file()
    }


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def samples(data):
    return soundfile.read(io.BytesIO(data), dtype="int16")[0]


def test_an_export_has_every_pair_where_the_published_scripts_look(whole, published):
    rows = rows_of(whole / "corpus")
    seen = 0
    for split in ("train", "eval"):
        for pair in lines_of(published / f"Emotional/metadata/text_pairs_{split}.jsonl"):
            assert {"index", "query_text", "query_emotion", "source_emotion", "response_text"} <= {
                *pair
            }
            _, emotion, number = pair["index"].split("_")
            row = rows[f"emotional-{emotion.lower()}-{number}"]
            assert row["split"] == split
            assert pair["query_emotion"] == pair["source_emotion"] == emotion
            assert pair["response_text"] == row["response_text"]
            audio = published / "Emotional/audio" / split
            for role in ("query", "response"):
                wav = audio / f"{emotion.lower()}_{role}" / f"{pair['index']}.wav"
                assert np.array_equal(
                    samples(wav.read_bytes()), samples(row[f"{role}_audio"]["bytes"])
                )
            seen += 1
        neutral = published / "Neutral/metadata"
        for pair in lines_of(neutral / f"text_pairs_{split}.jsonl"):
            label = pair["response_emotion"]
            assert pair["index"] == f"{pair['query_index']}_{label}"
            assert pair["query_emotion"] == "Neutral"
            audio = published / "Neutral/audio" / split
            assert (audio / "query/neutral" / f"{pair['query_index']}.wav").is_file()
            assert (audio / "response" / label.lower() / f"{pair['index']}.wav").is_file()
            seen += 1
        unique = lines_of(neutral / f"unique_queries_{split}.jsonl")
        asked = [pair["query_index"] for pair in lines_of(neutral / f"text_pairs_{split}.jsonl")]
        assert [query["query_index"] for query in unique] == list(dict.fromkeys(asked))
    assert seen == len(rows) == 42
    assert len(list(published.rglob("*.wav"))) == 34 + 42


def test_what_was_exported_comes_back_as_it_was_and_passes_every_gate(whole, published, read_back):
    done, ours = read_back(published)
    assert (done.pairs, done.left_out) == (42, 0)
    before, after = rows_of(whole / "corpus"), rows_of(ours)
    assert list(after) == list(before)
    for slot_id, row in after.items():
        for name, value in before[slot_id].items():
            if name in ("query_audio", "response_audio"):
                assert row[name]["path"] == value["path"]
                assert np.array_equal(samples(row[name]["bytes"]), samples(value["bytes"]))
            elif name not in ("llm_model", "query_attempt", "response_attempt"):
                assert row[name] == value, (slot_id, name)
    assert [gate.name for gate in check_folder(ours) if not gate.passed] == []
    assert (
        "Imported" in (ours / "README.md").read_text()
        or "imported" in (ours / "README.md").read_text()
    )


def test_a_corpus_with_gaps_keeps_its_numbers_and_splits(source, read_back):
    split = "train"
    path = source / f"Emotional/metadata/text_pairs_{split}.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join(rest) + "\n\n")
    pair = lines_of(source / "Neutral/metadata/text_pairs_train.jsonl")[0]
    label = pair["response_emotion"].lower()
    (source / "Neutral/audio/train/response" / label / f"{pair['index']}.wav").unlink()
    done, ours = read_back(source)
    assert done.pairs == 42 - 1 - 3
    assert done.left_out == 3
    assert pair["index"] in done.examples
    gone = json.loads(first)["index"].lower().replace("_", "-")
    rows = rows_of(ours)
    assert gone not in rows
    assert not any(
        row["query_id"] == "neutral-" + pair["query_index"][-5:] for row in rows.values()
    )
    assert [gate.name for gate in check_folder(ours) if not gate.passed] == []


def edit(path, change):
    lines = lines_of(path)
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines) or lines))


def pairs_file(source, subset="Emotional", split="train"):
    return source / subset / "metadata" / f"text_pairs_{split}.jsonl"


def any_wav(source):
    return next((source / "Emotional/audio/train").rglob("*.wav"))


BAD = {
    "not JSON": (
        lambda s: pairs_file(s).write_text("{\n"),
        "line 1 is not a pair of the published format",
    ),
    "a key is missing": (
        lambda s: edit(pairs_file(s), lambda lines: lines[2].pop("query_text") and None),
        "line 3 is not a pair .*query_text",
    ),
    "an emotion nobody knows": (
        lambda s: edit(pairs_file(s), lambda lines: lines[0].update(query_emotion="Hangry")),
        "'Hangry' is not an anchor of .* it has happy",
    ),
    "another kind of index": (
        lambda s: edit(pairs_file(s), lambda lines: lines[0].update(index="17")),
        "'17' is not an index",
    ),
    "a query that lies elsewhere": (
        lambda s: edit(
            pairs_file(s, "Neutral"),
            lambda lines: lines[0].update(query_index="../../../../../../outside/secret"),
        ),
        "line 1: '../../../../../../outside/secret' is not an index",
    ),
    "an absolute path": (
        lambda s: edit(
            pairs_file(s, "Neutral"), lambda lines: lines[0].update(query_index="/etc/secret")
        ),
        "'/etc/secret' is not an index",
    ),
    "a folder as an emotion": (
        lambda s: edit(pairs_file(s), lambda lines: lines[0].update(response_emotion="../x")),
        "line 1: '../x' is not an anchor",
    ),
    "a link out of the source": (
        lambda s: (wav := any_wav(s)).unlink() or wav.symlink_to("/etc/hostname"),
        "lies outside",
    ),
    "another anchor's index": (
        lambda s: edit(pairs_file(s), lambda lines: lines[0].update(query_emotion="Relaxed")),
        "is not an index of a pair that is relaxed",
    ),
    "no text": (
        lambda s: edit(pairs_file(s), lambda lines: lines[1].update(query_text=None)),
        "line 2: query_text has to be a text",
    ),
    "a number for a text": (
        lambda s: edit(pairs_file(s), lambda lines: lines[1].update(response_text=42)),
        "response_text has to be a text",
    ),
    "a pair twice": (
        lambda s: edit(pairs_file(s), lambda lines: [*lines, lines[0]]),
        "is there twice",
    ),
    "a query on both sides": (
        lambda s: (
            edit(
                pairs_file(s, "Neutral", "eval"),
                lambda lines: [*lines, *lines_of(pairs_file(s, "Neutral"))[1:2]],
            ),
            edit(pairs_file(s, "Neutral"), lambda lines: [lines[0], *lines[2:]]),
            shutil.copytree(
                s / "Neutral/audio/train", s / "Neutral/audio/eval", dirs_exist_ok=True
            ),
        ),
        "differs in split or query text",
    ),
    "another rate": (
        lambda s: soundfile.write(any_wav(s), np.zeros(1000), 16_000),
        f"1 channels at 16000 Hz; a corpus holds {SAMPLE_RATE} Hz mono",
    ),
    "not a sound": (
        lambda s: any_wav(s).write_text("<html>"),
        "cannot be decoded.*Remove it",
    ),
    "a pointer for a clip": (
        lambda s: any_wav(s).write_bytes(POINTER),
        "wav is a Git LFS pointer.*'git lfs pull'",
    ),
    "a pointer for metadata": (
        lambda s: pairs_file(s).write_bytes(POINTER),
        "text_pairs_train.jsonl is a Git LFS pointer",
    ),
    "nothing there": (
        lambda s: [shutil.rmtree(s / subset) for subset in ("Emotional", "Neutral")],
        "is not a corpus in the published layout",
    ),
    "no sound at all": (
        lambda s: [shutil.rmtree(s / subset / "audio") for subset in ("Emotional", "Neutral")],
        "has no pair with both of its clips",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_by_name_and_leaves_nothing(source, read_back, tmp_path, kind):
    damage, sentence = BAD[kind]
    damage(source)
    with pytest.raises(SympatheiaError, match=sentence):
        read_back(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_metadata_with_a_byte_order_mark_and_without_a_topic_is_read(source, read_back):
    edit(pairs_file(source), lambda lines: lines[0].update(topic=None))
    path = pairs_file(source)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    done, ours = read_back(source)
    assert done.pairs == 42
    assert "unknown" in {row["topic"] for row in rows_of(ours).values()}


def test_an_anchor_of_two_words_goes_out_and_comes_back(whole, source, read_back, tmp_path):
    def with_two_words(data):
        data["anchors"][0]["name"] = "at_ease"
        data["aliases"] = {}

    folder = copy_prompts(tmp_path / "prompts", with_two_words)
    ours = (*BUILTIN, f'prompts="{folder}"')
    for path in source.rglob("*"):
        if path.suffix == ".jsonl":
            path.write_text(path.read_text().replace("Sad", "At_ease"))
    for path in sorted(source.rglob("*sad*"), reverse=True):
        path.rename(path.with_name(path.name.replace("sad", "at_ease")))
    for path in source.rglob("*_Sad*.wav"):
        path.rename(path.with_name(path.name.replace("Sad", "At_ease")))
    blueprint = Blueprint.named("sympatheia-18k", ours)
    import_corpus(source, tmp_path / "once", blueprint)
    export(tmp_path / "once", tmp_path / "theirs")
    assert files_in(tmp_path / "theirs") == files_in(source)
    import_corpus(tmp_path / "theirs", tmp_path / "twice", blueprint)
    assert "emotional-at_ease-00000" in rows_of(tmp_path / "twice")
    assert files_in(tmp_path / "twice") == files_in(tmp_path / "once")


def test_labels_of_other_datasets_are_taken_for_their_anchors(source, read_back):
    shutil.rmtree(source / "Neutral")
    for split in ("train", "eval"):
        path = pairs_file(source, split=split)
        text = path.read_text().replace('"Sad"', '"Joy"')
        path.write_text(text.replace("Emotional_Sad_", "Emotional_Joy_"))
        for role in ("query", "response"):
            folder = source / "Emotional/audio" / split
            for wav in (folder / f"sad_{role}").iterdir():
                wav.rename(wav.with_name(wav.name.replace("Sad", "Joy")))
            (folder / f"sad_{role}").rename(folder / f"joy_{role}")
    done, ours = read_back(source)
    assert done.pairs == 30
    row = rows_of(ours)["emotional-happy-00000"]
    assert (row["query_emotion"], row["valence"], row["arousal"]) == ("happy", 0.85, 0.35)


def test_both_refuse_a_folder_that_is_there_and_say_what_was_done(whole, source, tmp_path):
    taken = typed("export", whole, source)
    assert taken.returncode == 2
    assert "is there already" in taken.stderr
    exported = typed("export", whole, tmp_path / "out", "--format", "reference")
    assert exported.returncode == 0, exported.stderr
    assert "42 pairs" in exported.stderr
    settings = [part for setting in BUILTIN for part in ("--set", setting)]
    done = typed("import", tmp_path / "out", tmp_path / "back", *settings)
    assert done.returncode == 0, done.stderr
    assert "42 pairs are in" in done.stderr
    again = typed("import", tmp_path / "out", tmp_path / "back", *settings)
    assert again.returncode == 2
    assert "is there already" in again.stderr
