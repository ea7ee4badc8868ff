"""`check` on a whole dataset, and on one damaged in every way that a gate is there for."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from corpus.checks.clip_gates import check_clips
from corpus.checks.dataset_check import check_folder
from corpus.checks.file_gates import check_card, check_files, check_parquet
from corpus.checks.inspection import Inspection
from corpus.checks.row_gates import check_light_config, check_queries_apart, check_rows, check_texts
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.manifest import NAME
from corpus.errors import InvalidInput
from corpus.sound.clip_audio import encode_flac
from corpus.sound.sound_files import decode
from schemas.audio import SAMPLE_RATE
from schemas.tables import ROWS, TEXT_ROWS
from tests.support.datasets import POINTER, accept_files, rewrite, shard
from tests.support.line import typed


@pytest.fixture
def dataset(whole, tmp_path):
    """A copy to damage: the dataset folder alone, as one downloaded."""
    return shutil.copytree(whole / "corpus", tmp_path / "dataset")


def failed(folder):
    return {gate.name: gate for gate in check_folder(folder) if not gate.passed}


def failed_of(folder, *groups):
    """As `failed`, of some groups of gates; what they need is done first."""
    look = Inspection(DatasetFolder(folder))
    check_parquet(look)
    for group in groups:
        if group is check_queries_apart:
            group(look, check_texts(look))
        else:
            group(look)
    return {gate.name: gate for gate in look.gates.all if not gate.passed}


def test_a_whole_dataset_passes_wherever_it_lies(whole, dataset):
    assert failed(whole) == {}
    (dataset / ".cache" / "huggingface").mkdir(parents=True)
    (dataset / ".cache" / "huggingface" / "download.lock").write_text("")
    (dataset / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (dataset / ".git" / "lfs" / "objects").mkdir(parents=True)
    (dataset / ".git" / "config").write_text("[core]\n")
    (dataset / ".git" / "lfs" / "objects" / "copy.parquet").write_text("x")
    manifest, card = dataset / NAME, dataset / "README.md"
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes().replace(b"\n", b"\r\n"))
    card.write_bytes(card.read_bytes().replace(b"\n", b"\r\n"))
    assert failed(dataset) == {}


# Damage to files; nothing is told to the manifest.


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def edit_card(folder, old, new):
    path = folder / "README.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FILES = {
    "a shard is gone": (lambda f: shard(f).unlink(), "file_missing"),
    "a file too many": (lambda f: (f / "notes.txt").write_text("x"), "file_not_in_manifest"),
    "a flipped byte": (lambda f: flip(shard(f, "emotional")), "checksum"),
    "half a shard": (lambda f: truncate(shard(f)), "unreadable"),
    "a pointer for a shard": (lambda f: shard(f).write_bytes(POINTER), "unreadable"),
    "a shard without rows": (lambda f: rewrite(shard(f), lambda _: []), "rows_in_file"),
    "an HTML page for a shard": (lambda f: shard(f).write_text("<html>"), "unreadable"),
    "a shard renamed": (
        lambda f: shard(f).rename(shard(f).with_name("train-00001-of-00002.parquet")),
        "shard_name",
    ),
    "a stray shard": (
        lambda f: shutil.copy(shard(f), f / "data" / "copy.parquet"),
        "shard_name",
    ),
    "no licence": (lambda f: edit_card(f, "license: cc-by-4.0\n", ""), "card"),
    "a wrong pattern": (
        lambda f: edit_card(f, "data/neutral/train-*.parquet", "data/neutral/trian-*.parquet"),
        "card",
    ),
    "a wrong count in the card": (
        lambda f: edit_card(f, "num_examples: ", "num_examples: 1"),
        "card",
    ),
    "no card": (lambda f: (f / "README.md").unlink(), "card"),
    "a card of broken YAML": (lambda f: edit_card(f, "---\n", "---\n{: [\n"), "card"),
}


@pytest.mark.parametrize("what", FILES)
def test_damage_to_files_is_found(dataset, what):
    act, gate = FILES[what]
    act(dataset)
    found = failed_of(dataset, check_files, check_card)
    assert gate in found, what
    assert found[gate].examples


# Damage to rows; the manifest says that the files are as they should be.


def setting(part="neutral", split="train", row=0, **values):
    def act(folder):
        def change(rows):
            rows[row] |= values

        rewrite(shard(folder, part, split), change)
        if not any(name.endswith("audio") for name in values):
            in_light = pq.read_table(shard(folder, part, split)).to_pylist()[row]
            light = {name: in_light[name] for name in TEXT_ROWS.names}
            rewrite(
                shard(folder, "text", split),
                lambda rows: [light if r["id"] == light["id"] else r for r in rows],
            )

    return act


def rows_as(change, part="neutral", split="train", **options):
    return lambda folder: rewrite(shard(folder, part, split), change, **options)


def swap(rows):
    rows[0], rows[1] = rows[1], rows[0]


def near_twin(folder):
    eval_query = pq.read_table(shard(folder, "emotional", "eval")).to_pylist()[0]["query_text"]
    setting("emotional", row=0, query_text=eval_query.replace("?", ", please?"))(folder)


def same_response(folder):
    rows = pq.read_table(shard(folder)).to_pylist()
    setting(row=1, response_text=rows[0]["response_text"])(folder)


def clip_as(change, role="response", part="emotional"):
    """Replaces a row's clip by what `change` makes of its samples; its duration is corrected."""

    def act(folder):
        def replace(rows):
            data = change(decode(rows[0][f"{role}_audio"]["bytes"])[0][:, 0])
            rows[0][f"{role}_audio"]["bytes"] = data
            if data[:4] == b"fLaC":
                rows[0][f"{role}_seconds"] = soundfile.info(io.BytesIO(data)).duration

        rewrite(shard(folder, part), replace)

    return act


def another_rate(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC")
    return file.getvalue()


def cut_in_a_vowel(samples):
    loud = np.flatnonzero(np.abs(samples) > 0.5 * np.abs(samples).max())
    return encode_flac(samples[: loud[len(loud) // 2]])


def stereo(samples):
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, samples], 1), SAMPLE_RATE, format="FLAC")
    return file.getvalue()


def other_clip(folder):
    def change(rows):
        rows[1]["response_audio"] = rows[0]["response_audio"]
        rows[1]["response_seconds"] = rows[0]["response_seconds"]

    rewrite(shard(folder, "emotional"), change)


def query_clip_of_its_own(folder):
    def change(rows):
        samples = decode(rows[0]["query_audio"]["bytes"])[0][:, 0]
        rows[0]["query_audio"]["bytes"] = encode_flac(samples * 0.99)

    rewrite(shard(folder), change)


WITHOUT_FEATURES = ROWS.with_metadata(None)
ROW_DAMAGE = {
    "a row is gone": (rows_as(lambda rows: rows[1:]), "id_missing"),
    "a cell is short of it": (rows_as(lambda rows: rows[1:]), "pairs_lacking_in_a_cell"),
    "a row twice": (rows_as(lambda rows: [rows[0], *rows]), "id_twice"),
    "a row of another plan": (
        rows_as(lambda rows: [*rows, rows[0] | {"id": "neutral-99999-sad"}]),
        "id_unknown",
    ),
    "two rows swapped": (rows_as(swap), "order"),
    "another split": (rows_as(lambda rows: [rows[0] | {"split": "eval"}, *rows[1:]]), "split"),
    "another subset": (setting(subset="emotional"), "subset"),
    "another query": (setting(query_id="neutral-00777"), "query_id"),
    "another emotion": (setting(response_emotion="happy"), "emotion"),
    "another point": (setting(valence=0.123), "coordinates"),
    "no such topic": (setting(topic="dragons"), "topic"),
    "another style": (setting(response_style="Loud"), "style"),
    "another voice": (setting(query_voice="heron"), "voice"),
    "a value missing": (setting(tts_model=None), "null"),
    "no text": (setting(response_text=""), "empty_text"),
    "an emoji": (
        setting(response_text="That is good. Take the bus at seven. 😀 It runs all day."),
        "not_clean",
    ),
    "an assistant's query": (
        setting("emotional", query_text="Hello, how can I help you with your lamp today?"),
        "query_rule",
    ),
    "a response of one word": (setting(response_text="Yes."), "response_rule"),
    "a German response": (
        setting(response_text="Das ist schade. Nimm morgen früh einfach den ersten Bus zur Stadt."),
        "response_rule",
    ),
    "the same response twice": (same_response, "response_twice"),
    "a neutral query worded twice": (
        setting(query_text="Where can I find a map of the tram lines?"),
        "query_not_shared",
    ),
    "a twin across the splits": (near_twin, "query_similarity_across_splits"),
    "the light config says otherwise": (
        rows_as(lambda rows: rows[1:], "text"),
        "text_config",
    ),
    "a column less": (
        rows_as(lambda rows: None, schema=ROWS.remove(3)),
        "columns",
    ),
    "audio that nobody sees": (rows_as(lambda rows: None, schema=WITHOUT_FEATURES), "features"),
    "no page index": (rows_as(lambda rows: None, write_page_index=False), "page_index"),
    "silence": (clip_as(lambda s: encode_flac(np.zeros_like(s))), "clip"),
    "half a clip": (clip_as(lambda s: encode_flac(s)[:2000]), "clip"),
    "another rate": (clip_as(another_rate), "clip"),
    "stereo": (clip_as(stereo), "clip"),
    "an overdriven clip": (clip_as(lambda s: encode_flac((s * 60).clip(-1, 1))), "clip"),
    "four times as long": (clip_as(lambda s: encode_flac(np.tile(s, 8))), "clip"),
    "a clip cut in a vowel": (clip_as(cut_in_a_vowel), "clip"),
    "no duration": (setting("emotional", response_seconds=float("nan")), "clip_seconds"),
    "a wrong duration": (setting("emotional", response_seconds=99.0), "clip_seconds"),
    "a clip too soft": (clip_as(lambda s: encode_flac(s * 0.5)), "clip_loudness"),
    "a silent end": (clip_as(lambda s: encode_flac(np.pad(s, (0, 24_000)))), "clip_ends"),
    "another text's clip": (other_clip, "clip_twice"),
    "a neutral query spoken twice": (query_clip_of_its_own, "query_clip_not_shared"),
}


@pytest.mark.parametrize("what", ROW_DAMAGE)
def test_damage_to_rows_is_found_though_the_files_are_as_the_manifest_says(dataset, what):
    act, gate = ROW_DAMAGE[what]
    act(dataset)
    accept_files(dataset)
    groups = [check_files, check_rows, check_light_config, check_texts]
    groups += [check_clips] if "clip" in gate else []
    groups += [check_queries_apart] if "similarity" in gate else []
    found = failed_of(dataset, *groups)
    assert not {"checksum", "file_missing", "file_not_in_manifest"} & set(found)
    assert gate in found, what
    assert found[gate].examples


@pytest.mark.parametrize(
    ("rules", "gates"),
    [
        ({"query_too_short": 60}, {"query_rule"}),
        ({"too_short": 60, "response_too_short": "report"}, {"query_rule"}),
        ({"too_long": False}, set()),
    ],
)
def test_texts_are_judged_by_the_rules_they_were_made_by(dataset, rules, gates):
    path = dataset / NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"text_rules": rules}))
    assert failed_of(dataset, check_texts).keys() == gates


@pytest.mark.parametrize(
    ("rules", "refused"),
    [({}, True), ({"cut_off": False}, False), ({"silent": -10.0, "cut_off": "report"}, False)],
)
def test_clips_are_held_to_the_rules_as_the_recipe_had_them(dataset, rules, refused):
    clip_as(cut_in_a_vowel)(dataset)
    manifest = json.loads((dataset / NAME).read_bytes())
    (dataset / NAME).write_text(json.dumps(manifest | {"clip_rules": rules}))
    assert ("clip" in failed_of(dataset, check_clips)) == refused


def test_what_is_damaged_is_named(dataset):
    setting("emotional", row=2, valence=0.123)(dataset)
    accept_files(dataset)
    found = failed(dataset)
    slot_id = pq.read_table(shard(dataset, "emotional")).to_pylist()[2]["id"]
    assert {name: gate.examples for name, gate in found.items()} == {"coordinates": [slot_id]}


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "not a dataset folder"), ("{}", "manifest.json: "), ("{", "manifest.json: ")],
)
def test_a_folder_without_a_whole_manifest_is_refused(dataset, content, named):
    (dataset / NAME).unlink()
    if content is not None:
        (dataset / NAME).write_text(content)
    with pytest.raises(InvalidInput, match=named):
        check_folder(dataset)


def test_the_command_prints_every_gate_and_fails_with_the_damaged_ones(whole, dataset):
    done = typed("check", whole)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    setting("emotional", row=2, valence=0.123)(dataset)
    done = typed("check", dataset, "--json")
    assert done.returncode == 1
    assert "2 of" in done.stderr and "checksum, coordinates" in done.stderr
    found = json.loads(done.stdout)
    assert not found["passed"]
    assert {gate["name"] for gate in found["gates"] if not gate["passed"]} == {
        "checksum",
        "coordinates",
    }
