"""The card of an adapter: metadata that the Hub takes, and what a reader has to be told."""

import json
import math
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from corpus.adapter.handover.adapter_card import (
    PUBLISHED_BASE,
    AdapterFacts,
    read_facts,
    write_adapter_card,
)
from corpus.errors import InvalidInput
from schemas.recipe import Adapter

DIGEST = "5" * 64


def facts(**changes: object) -> AdapterFacts:
    given = {
        "name": "sympatheia-18k",
        "base": PUBLISHED_BASE,
        "base_is_random": False,
        "corpus": "sympatheia-18k",
        "prompts_digest": DIGEST,
        "pairs": {"train": 12_600, "eval": 5_400},
        "settings": Adapter().model_dump(mode="json"),
        "steps": 2800,
        "losses": {"eval_loss": 2.25, "eval_loss_emotional": 2.5, "eval_loss_emotional_sad": 2.75},
    }
    return AdapterFacts(**given | changes)


def card_of(folder: Path, **changes: object) -> ModelCard:
    write_adapter_card(folder, facts(**changes))
    return ModelCard.load(folder / "README.md")


def test_the_metadata_is_the_hubs(tmp_path):
    assert card_of(tmp_path).data.to_dict() == {
        "base_model": PUBLISHED_BASE,
        "base_model_relation": "adapter",
        "language": "en",
        "library_name": "peft",
        "license": "apache-2.0",
        "pipeline_tag": "audio-to-audio",
        "tags": ["lora", "speech", "spoken-dialogue", "emotion", "valence-arousal"],
    }
    named = card_of(tmp_path, datasets=("someone/corpus",))
    assert named.data.datasets == ["someone/corpus"]
    assert "https://huggingface.co/datasets/someone/corpus" in named.text


def test_it_says_what_was_done_with_what(tmp_path):
    text = card_of(tmp_path).text
    for said in (
        f"https://huggingface.co/{PUBLISHED_BASE}",
        f'load_base("{PUBLISHED_BASE}")',
        "| pairs, train | 12,600 |",
        "| pairs, eval | 5,400 |",
        f"SHA-256 {DIGEST}",
        "2,800 steps",
        "| `r` | 32 |",
        "| `learning_rate` | 0.0001 |",
        "| `target_modules` | query_key_value, dense, dense_h_to_4h, dense_4h_to_h |",
        "| `eval_loss` | 2.2500 |",
        "| `eval_loss_emotional_sad` | 2.7500 |",
        "GLM-4-Voice\nlicence",
        "covertly",
        "diagnose",
        "switched it on",
    ):
        assert said in text, said
    assert "random" not in text
    assert "{" not in text and "}" not in text


def test_every_setting_and_loss_is_a_row(tmp_path):
    text = card_of(tmp_path).text
    for name in Adapter.model_fields:
        assert text.count(f"| `{name}` |") == 1
    assert "| loss | value |" not in card_of(tmp_path, losses={}).text


def test_a_random_base_is_a_plain_warning_before_anything_else(tmp_path):
    (tmp_path / "tiny").mkdir()
    card = card_of(tmp_path, base=str(tmp_path / "tiny"), base_is_random=True)
    first = card.text.strip().splitlines()[2]
    assert first.startswith("> **A demonstration, not a model.**")
    assert "random weights" in first
    assert card.data.base_model == "tiny"
    assert 'load_base("path/to/the/base")' in card.text
    assert PUBLISHED_BASE not in card.text


def test_no_path_of_the_machine_is_told(tmp_path):
    base = tmp_path / "models" / "glm-4-voice-9b"
    base.mkdir(parents=True)
    card = card_of(tmp_path, base=base)
    assert card.data.base_model == PUBLISHED_BASE
    for name in ("README.md", "training.json"):
        assert str(tmp_path) not in (tmp_path / name).read_text()
    other = card_of(tmp_path, base="someone/finetuned-voice")
    assert other.data.base_model == "someone/finetuned-voice"
    assert "`someone/finetuned-voice`" in other.text


def test_a_name_that_no_repository_has_is_not_told_to_the_hub(tmp_path):
    (tmp_path / "my base").mkdir()
    card = card_of(tmp_path, base=tmp_path / "my base", base_is_random=True)
    assert card.data.base_model is None
    assert "`my base`" in card.text


def test_the_card_can_be_made_again_from_the_facts(tmp_path):
    card_of(tmp_path, losses={"eval_loss": math.nan, "loss": math.inf})
    first = (tmp_path / "README.md").read_bytes()
    assert b"| `eval_loss` | nan |" in first
    (tmp_path / "README.md").unlink()
    write_adapter_card(tmp_path, read_facts(tmp_path))
    assert (tmp_path / "README.md").read_bytes() == first
    assert json.loads((tmp_path / "training.json").read_bytes())["pairs"]["train"] == 12_600


def test_damaged_facts_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"holds no training\.json"):
        read_facts(tmp_path)
    for text, words in (("{", "training.json is damaged"), ("{}", "name Field required")):
        (tmp_path / "training.json").write_text(text)
        with pytest.raises(InvalidInput, match=words):
            read_facts(tmp_path)
