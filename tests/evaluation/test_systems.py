"""What counts as a system, how it is called, and what is said of folders that are none."""

import json

import numpy as np
import pandas as pd
import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.evaluation.systems import COLUMNS, open_systems
from corpus.run.stage_tables import write_table
from corpus.sound.clip_audio import encode_flac, encode_wav
from schemas.recipe_evaluation import Evaluation
from schemas.tables import ANSWERS

TONE = 0.1 * np.sin(np.arange(24_000) / 20).astype(np.float32)


def responses_folder(folder, conditions=("affect", "none"), queries=3, emotions=("sad", "angry")):
    """A responses folder, as `respond` leaves it, without a system that wrote it."""
    rows = [
        {
            "id": f"neutral-{query:05}-{emotion}/{condition}",
            "query_id": f"neutral-{query:05}",
            "subset": "neutral",
            "emotion": emotion,
            "valence": None if condition == "none" else -0.5,
            "arousal": None if condition == "none" else 0.5,
            "target_valence": -0.7,
            "target_arousal": 0.6,
            "condition": condition,
            "prompt": "...",
            "seed": query,
            "status": "ok" if query else "no_audio",
            "text": f"Take bus {query}.",
            "tokens": [1, 2],
            "audio": {"bytes": encode_flac(TONE), "path": "a.flac"} if query else None,
            "seconds": 1.0 if query else None,
            "model": "tiny",
        }
        for query in range(queries)
        for emotion in emotions
        for condition in conditions
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "responses.parquet", ANSWERS, rows)
    return folder


def wav_folder(folder, lines, name="manifest.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(lines):
        (folder / line.get("file", f"{number}.wav")).write_bytes(encode_wav(TONE, 24_000))
    if name.endswith("csv"):
        pd.DataFrame(lines).to_csv(folder / name, index=False)
    else:
        (folder / name).write_text("\n".join(map(json.dumps, lines)))
    return folder


def opened(*folders, **settings):
    return open_systems(folders, Evaluation(**settings))


def test_a_corpus_is_a_system_by_its_own_responses(whole):
    (system,) = opened(whole)
    assert (system.name, system.kind, len(system.rows)) == ("run", "corpus", 42)
    assert list(system.rows.columns) == list(COLUMNS)
    some = set(system.rows["id"][:3])
    sounds = dict(system.sounds(some))
    assert set(sounds) == some and all(sound[:4] == b"fLaC" for sound in sounds.values())
    (held_out,) = opened(whole, split="eval")
    assert 0 < len(held_out.rows) < 42


def test_each_condition_of_a_responses_folder_is_a_system_and_the_first_has_its_name(tmp_path):
    folder = responses_folder(tmp_path / "answers", ("affect~0.3", "affect", "none"))
    systems = opened(folder)
    assert [one.name for one in systems] == ["answers", "answers/none", "answers/affect~0.3"]
    assert [one.is_variant for one in systems] == [False, False, True]
    assert systems[0].rows["valence"].tolist() == [-0.7] * 6
    assert systems[0].rows["told_valence"].tolist() == [-0.5] * 6
    assert systems[1].rows["told_valence"].isna().all()
    assert len(dict(systems[1].sounds(set(systems[1].rows["id"])))) == 4  # two have no sound
    (alone,) = opened(responses_folder(tmp_path / "one", ("none",)))
    assert alone.name == "one"


def test_the_one_told_the_point_comes_first_and_of_noise_alone_one_is_no_variant(tmp_path):
    turned = opened(responses_folder(tmp_path / "turned", ("none", "affect", "affect*0.5")))
    assert [one.condition for one in turned] == ["affect", "none", "affect*0.5"]
    noisy = opened(responses_folder(tmp_path / "noisy", ("affect~0.1", "affect~0.3")))
    assert [(one.name, one.is_variant) for one in noisy] == [
        ("noisy", False),
        ("noisy/affect~0.3", True),
    ]


def test_queries_words_come_from_the_corpus_beside(whole, tmp_path):
    (corpus,) = opened(whole)
    query = corpus.rows[corpus.rows["subset"] == "neutral"]["query_id"].iloc[0]
    lines = [{"file": "a.wav", "emotion": "sad", "query_id": query}]
    _, other = opened(whole, wav_folder(tmp_path / "theirs", lines))
    words = corpus.rows.set_index("query_id")["query_text"][query].iloc[0]
    assert other.rows["query_text"].iloc[0] == words


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.csv"])
def test_any_assistants_answers_are_wav_files_with_a_manifest(tmp_path, name):
    lines = [
        {"file": "a.wav", "emotion": "sad", "query_id": "q1", "text": "I am sorry."},
        {"file": "b.wav", "emotion": "angry", "query_id": "q1", "text": "That is unfair."},
    ]
    (system,) = opened(wav_folder(tmp_path / "theirs", lines, name))
    assert system.rows["id"].tolist() == ["q1-sad", "q1-angry"]
    assert system.rows["arousal"].iloc[1] > 0.5 > 0 > system.rows["arousal"].iloc[0]
    (tmp_path / "theirs" / "b.wav").unlink()
    assert [row_id for row_id, _ in system.sounds(set(system.rows["id"]))] == ["q1-sad"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"file": "a.wav", "emotion": "sad"}], "entry 1: .*query_id"),
        ([{"file": "a.wav", "emotion": "bored", "query_id": "q"}], "'bored'.*not an anchor"),
        ([{"file": "a.wav", "emotion": "sad", "query_id": "q"}] * 2, "id 'q-sad' twice"),
        (
            [{"file": "a.wav", "emotion": "sad", "query_id": "q", "valence": 3}],
            "entry 1: .*valence",
        ),
    ],
)
def test_a_manifest_that_says_too_little_is_refused_in_words(tmp_path, lines, why):
    folder = wav_folder(tmp_path / "theirs", lines)
    with pytest.raises(InvalidInput, match=why):
        opened(folder)


def test_a_manifest_does_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "theirs").mkdir()
    line = {"file": "../../etc/passwd", "emotion": "sad", "query_id": "q"}
    (tmp_path / "theirs" / "manifest.jsonl").write_text(json.dumps(line))
    with pytest.raises(SympatheiaError, match="does not lie in"):
        opened(tmp_path / "theirs")


def test_a_manifest_that_is_no_table_is_refused_in_words(tmp_path):
    (tmp_path / "manifest.jsonl").write_text("{ not json")
    with pytest.raises(InvalidInput, match=r"manifest\.jsonl cannot be read"):
        opened(tmp_path)


def test_folders_of_one_name_are_told_apart(tmp_path):
    systems = opened(
        responses_folder(tmp_path / "a" / "answers", ("affect",)),
        responses_folder(tmp_path / "b" / "answers", ("affect",)),
    )
    assert [one.name for one in systems] == ["a/answers", "b/answers"]
    with pytest.raises(InvalidInput, match="named twice"):
        opened(tmp_path / "a" / "answers", tmp_path / "a" / "answers")


def test_a_limit_takes_whole_queries_of_every_cell(whole):
    (system,) = opened(whole, limit=2)
    neutral = system.rows[system.rows["subset"] == "neutral"]
    assert neutral["query_id"].nunique() == 2 and len(neutral) == 6
    emotional = system.rows[system.rows["subset"] == "emotional"]
    assert emotional["emotion"].value_counts().to_dict() == {"sad": 2, "angry": 2, "tired": 2}


def test_a_folder_with_nothing_to_evaluate_says_what_is_looked_for(tmp_path):
    with pytest.raises(InvalidInput, match=r"nothing to evaluate: .*responses\.parquet"):
        opened(tmp_path)
    (tmp_path / "responses.parquet").write_bytes(b"PAR1")
    with pytest.raises(SympatheiaError, match="damaged.*respond"):
        opened(tmp_path)
