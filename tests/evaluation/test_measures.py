"""Planted truths are found, and each measure agrees with a computation of another kind."""

import re
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModel, AutoTokenizer

from corpus.embedding.minilm import published_minilm
from corpus.evaluation.measures.diversity import diversity
from corpus.evaluation.measures.intelligibility import intelligibility
from corpus.evaluation.measures.invariance import invariance
from corpus.evaluation.measures.prosody import prosody
from corpus.evaluation.measures.recoverability import recoverability
from corpus.evaluation.workbench import Workbench
from corpus.sound.prosody import FEATURES
from schemas.recipe_evaluation import Evaluation
from tests.evaluation.conftest import answers, follow_the_point
from tests.support import sentences


def with_settings(bench, **settings):
    return Workbench(
        Evaluation(**settings), bench.store, bench.workers, bench.embedder, bench.progress
    )


def shuffled_among_anchors(rows):
    """The same clips, each given to some row."""
    order = np.random.default_rng(0).permutation(len(rows))
    features = rows[list(FEATURES)].to_numpy()[order]
    return rows.assign(**dict(zip(FEATURES, features.T, strict=True)))


# Prosody and recoverability


def test_a_voice_that_follows_the_point_is_found_and_lost_when_its_clips_are_shuffled(bench):
    rows = follow_the_point(answers(50))
    found = prosody(rows, bench)["f0_mean"]
    expected = stats.spearmanr(rows["f0_mean"], rows["arousal"])
    assert found["arousal"]["rho"] == pytest.approx(expected.statistic, abs=1e-4)
    assert found["arousal"]["rho"] > 0.9 and found["arousal"]["n"] == 200
    assert found["high_arousal"]["share"] == 1.0
    lost = prosody(shuffled_among_anchors(rows), bench)["f0_mean"]
    assert abs(lost["arousal"]["rho"]) < 0.2 and lost["arousal"]["p"] > 0.01


def test_a_feature_that_some_clips_lack_is_correlated_over_the_others(bench):
    rows = follow_the_point(answers())
    rows.loc[rows.index[:5], "f0_sd"] = np.nan
    found = prosody(rows, bench)
    assert found["f0_sd"]["arousal"]["n"] == 43
    assert found["centroid"]["arousal"]["n"] == 48


def test_the_anchor_is_told_from_the_sound_until_the_clips_are_shuffled(bench):
    rows = follow_the_point(answers(30))
    found = recoverability(rows, bench)["sound"]
    assert found["accuracy"]["mean"] > 0.95
    assert found["chance"] == 0.25
    assert found["shuffled"]["mean"] < 0.4
    assert np.trace(found["confusion"]) == round(found["accuracy"]["mean"] * 120)
    lost = recoverability(shuffled_among_anchors(rows), bench)["sound"]
    assert lost["accuracy"]["low"] < 0.25 < lost["accuracy"]["high"]


def test_the_anchor_is_told_from_words_that_name_it(bench):
    said = {
        "happy": "How lovely, what great news that is.",
        "angry": "Being treated like that would make anyone furious.",
        "sad": "I am so sorry for your loss.",
        "tired": "After such a night you need some rest.",
    }
    rows = answers(10, text=lambda query, emotion: f"{said[emotion]} Step {query} comes next.")
    assert recoverability(rows, bench)["text"]["accuracy"]["mean"] > 0.95
    same = answers(10, text=lambda query, emotion: f"Step {query} comes next.")
    assert recoverability(same, bench)["text"]["accuracy"]["mean"] <= 0.25


# Invariance


def test_one_response_for_all_emotions_is_wholly_invariant(bench):
    rows = answers(3, text=lambda query, emotion: f"Take the bus at {query} tomorrow.")
    found = invariance(rows.assign(heard=rows["text"]), bench)
    assert found["bertscore_f1"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert found["rouge_l"]["mean"] == 1.0
    assert found["bertscore_f1"]["n"] == 3 * 6


def bertscore(one, other):
    """BERTScore F1 of two texts by its definition, without any library for it."""
    tokens = AutoTokenizer.from_pretrained(published_minilm())
    network = AutoModel.from_pretrained(published_minilm()).eval()
    vectors = []
    for text in (one, other):
        with torch.inference_mode():
            found = network(**tokens(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        vectors.append(torch.nn.functional.normalize(found, dim=-1))
    cosines = vectors[0] @ vectors[1].T
    precision, recall = cosines.max(1).values.mean(), cosines.max(0).values.mean()
    return float(2 * precision * recall / (precision + recall))


def rouge_l(one, other):
    """ROUGE-L F without stemming: for texts whose words have no ending to take off."""
    first, second = (re.findall(r"[a-z0-9]+", text.lower()) for text in (one, other))
    length = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            longest = max(length[i, j + 1], length[i + 1, j])
            length[i + 1, j + 1] = length[i, j] + 1 if a == b else longest
    return 2 * length[-1, -1] / (len(first) + len(second))


def test_bertscore_and_rouge_are_those_of_their_definitions(bench):
    texts = {
        "happy": "The sun is out and so am I",
        "angry": "Who took the last of my milk, and why did no one ask me for it at all",
        "sad": "I sat in the dark",
        "tired": "The sun is on my bed and I am not out of it",
    }
    rows = answers(1, text=lambda query, emotion: texts[emotion])
    found = invariance(rows.assign(heard=rows["text"]), bench)
    pairs = list(combinations(texts.values(), 2))
    expected = np.mean([bertscore(*pair) for pair in pairs])
    assert found["bertscore_f1"]["mean"] == pytest.approx(expected, abs=2e-4)
    assert found["rouge_l"]["mean"] == pytest.approx(
        np.mean([rouge_l(*p) for p in pairs]), abs=1e-4
    )


def test_short_clips_are_left_out_where_that_is_asked_for(bench):
    rows = answers(2).assign(heard="Yes.", seconds=[12.0] * 4 + [9.0] * 4)
    assert invariance(rows, bench)["rouge_l"]["n"] == 12
    assert invariance(rows, with_settings(bench, least_seconds=10.0))["rouge_l"]["n"] == 6


def test_a_response_without_words_is_counted_and_not_compared(bench):
    rows = answers(2).assign(heard="Take the bus.")
    rows.loc[rows.index[0], ["heard", "text"]] = ["", None]
    found = invariance(rows, bench)
    assert found["without_words"] == 1 and found["rouge_l"]["n"] == 3 + 6


# Intelligibility


def test_the_word_error_rate_counts_words_over_all_and_by_response(bench):
    rows = answers(1, text=lambda *_: "one small cat sat on the red mat today")
    heard = ["one small cat sat on the red mat today"] * 4
    heard[1] = "one small hat sat on the red mat"  # a word otherwise, and one left out
    found = intelligibility(rows.assign(heard=heard), bench)
    assert found["wer_corpus"] == pytest.approx(2 / 36, abs=1e-4)
    assert found["wer_mean"]["mean"] == pytest.approx(2 / 9 / 4, abs=1e-4)
    assert found["failures"] == 0


def test_what_was_not_heard_counts_as_wrong_throughout(bench):
    rows = answers(1, text=lambda *_: "one small cat sat")
    found = intelligibility(rows.assign(heard=["one small cat sat"] * 3 + [None]), bench)
    assert found["failures"] == 1
    assert found["wer_corpus"] == found["wer_mean"]["mean"] == 0.25


def test_the_normaliser_may_be_whispers_alone(bench):
    rows = answers(1, text=lambda *_: "It costs 5kg.").assign(heard="it costs five kilograms")
    assert intelligibility(rows, bench)["wer_corpus"] == 0.0
    assert intelligibility(rows, with_settings(bench, normaliser="whisper"))["wer_corpus"] > 0.0


# Diversity


def test_a_system_that_always_says_the_same_has_no_diversity(bench):
    found = diversity(answers(5, text=lambda *_: "I am here for you today."), bench)
    assert found["same_text"] == found["repeated_openings"] == 1.0
    assert found["self_similarity"] == pytest.approx(1.0, abs=1e-4)
    assert found["distinct_1"] == pytest.approx(6 / 120, abs=1e-4)
    assert found["commonest_opening"] == {"words": "i am here", "share": 1.0}


def test_different_texts_have_it(bench):
    rows = answers(5, text=lambda query, emotion: sentences.query(hash((query, emotion)) % 9973))
    found = diversity(rows, bench)
    vectors = bench.embedder.encode(list(rows["text"])).astype(float)
    cosines = [one @ other for one, other in combinations(vectors, 2)]
    assert found["self_similarity"] == pytest.approx(np.mean(cosines), abs=1e-4)
    assert found["same_text"] < 0.2 and found["distinct_2"] > 0.5
