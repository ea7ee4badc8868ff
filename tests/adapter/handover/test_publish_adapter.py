"""Publishing an adapter: what is seen to before, what is sent, and what stays here."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from corpus.adapter.handover.adapter_card import AdapterFacts, write_adapter_card
from corpus.adapter.handover.adapter_folder import find_adapter
from corpus.adapter.handover.adapter_upload import FILES, publication_of, require_whole
from corpus.errors import InvalidInput, SympatheiaError
from tests.adapter.test_model import ADAPTER
from tests.support.hub_client import hub_environment, hub_of_this_process
from tests.support.hub_server import TOKEN, Hub
from tests.support.line import sympatheia, typed

REPO = "someone/adapter"
LAYER = "base_model.model.transformer.encoder.layers.1"
DENSE_A = f"{LAYER}.self_attention.dense.lora_A.weight"
DENSE_B = f"{LAYER}.self_attention.dense.lora_B.weight"

FACTS = AdapterFacts(
    name="small",
    base="tiny",
    base_is_random=True,
    corpus="small",
    prompts_digest="5" * 64,
    pairs={"train": 7, "eval": 3},
    settings={"r": 4},
    steps=5,
    losses={"eval_loss": 2.5},
)


@pytest.fixture
def adapter(tmp_path) -> Path:
    """The adapter of a run, and what else a training leaves there."""
    folder = tmp_path / "run" / "adapter"
    shutil.copytree(ADAPTER, folder)
    write_adapter_card(folder, FACTS)
    checkpoint = folder / "checkpoints" / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    for name in FILES:
        (checkpoint / name).write_text("of a checkpoint")
    (checkpoint / "optimizer.pt").write_bytes(b"o" * 1000)
    (folder / "train.log").write_text("what it said")
    return folder


@pytest.fixture
def hub(monkeypatch):
    with hub_of_this_process(monkeypatch) as hub:
        yield hub


def publish(folder: Path, **settings) -> bool:
    """The steps of the flow, without Prefect; whether the Hub has changed."""
    require_whole(folder)
    publication = publication_of(folder, REPO, **settings)
    before = publication.create()
    commit = publication.upload()
    publication.verify(commit)
    return commit != before


def sent(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


# What is sent


def test_the_hub_holds_the_adapter_and_nothing_else(hub, adapter):
    assert publish(adapter)
    assert hub.held(REPO, "models") == sent(adapter)
    repository = hub.repository(REPO, "models")
    assert [message for message, _ in repository.commits] == [
        "initial commit",
        "Publish the adapter",
    ]
    assert repository.files["adapter_model.safetensors"].lfs
    assert not repository.private
    assert publication_of(adapter, REPO).url == f"{hub.url}/{REPO}"


def test_publishing_again_changes_nothing(hub, adapter):
    publish(adapter)
    received = hub.received
    (adapter / "checkpoints" / "more.pt").write_bytes(b"more")
    assert not publish(adapter)
    assert (hub.count("commit"), hub.received) == (1, received)


def test_only_what_changed_is_sent_again(hub, adapter):
    publish(adapter)
    files = hub.repository(REPO, "models").files
    files["figure.png"] = files["README.md"]  # not ours to remove
    puts = hub.count("put")
    write_adapter_card(adapter, FACTS.model_copy(update={"steps": 6}))
    assert publish(adapter)
    assert hub.count("put") == puts
    assert hub.held(REPO, "models").keys() == {*FILES, "figure.png"}
    (adapter / "training.json").unlink()
    assert publish(adapter)
    assert hub.held(REPO, "models").keys() == {*FILES, "figure.png"} - {"training.json"}


def test_a_private_repository_is_asked_for(hub, adapter):
    publish(adapter, private=True)
    assert hub.repository(REPO, "models").private


def test_a_failure_is_the_same_sentence_as_for_a_corpus(hub, adapter):
    hub.fail("commit", 403, times=50)
    with pytest.raises(SympatheiaError, match=r"Uploading to someone/adapter.*may write to"):
        publish(adapter)
    hub.recover()
    assert publish(adapter)
    assert hub.held(REPO, "models") == sent(adapter)


# What is seen to before


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change) -> None:
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def zero(weights: dict[str, torch.Tensor]) -> None:
    for name in weights:
        if ".lora_B." in name:
            weights[name].zero_()


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def remove_layer(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if name.startswith(LAYER)]:
        del weights[name]


DAMAGE = {
    "no configuration": (lambda f: (f / "adapter_config.json").unlink(), "is missing"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "is missing"),
    "no card": (lambda f: (f / "README.md").unlink(), "README.md is missing"),
    "broken configuration": (
        lambda f: (f / "adapter_config.json").write_text("{"),
        "no configuration of an adapter",
    ),
    "a list": (
        lambda f: (f / "adapter_config.json").write_text("[]"),
        "no configuration of an adapter",
    ),
    "unknown kind": (lambda f: change_config(f, peft_type="NEW"), "no configuration of an"),
    "another kind": (lambda f: change_config(f, peft_type="IA3"), "not that of a LoRA adapter"),
    "cut": (cut, "cannot be read"),
    "rank": (lambda f: change_config(f, r=8), "at a rank of 8"),
    "a target too many": (
        lambda f: change_config(f, target_modules=["dense"]),
        "belongs to no LoRA of dense",
    ),
    "a target too few": (
        lambda f: change_config(
            f,
            target_modules=["dense", "query_key_value", "dense_h_to_4h", "dense_4h_to_h", "gate"],
        ),
        "gate of layer 0 is missing",
    ),
    "half": (lambda f: change_weights(f, lambda w: w.pop(DENSE_B)), f"{DENSE_B} is missing"),
    "a layer": (lambda f: change_weights(f, remove_layer), "of layer 1 is missing"),
    "shape": (
        lambda f: change_weights(f, lambda w: w.update({DENSE_A: torch.ones(4, 63)})),
        "has another shape than dense of other layers",
    ),
    "a number": (
        lambda f: change_weights(f, lambda w: w.update({DENSE_A: torch.tensor(1.0)})),
        "has the shape []",
    ),
    "name": (
        lambda f: change_weights(f, lambda w: w.update({"lm_head.weight": torch.ones(2)})),
        "lm_head.weight belongs to no LoRA",
    ),
    "not finite": (
        lambda f: change_weights(f, lambda w: w[DENSE_A][0].fill_(torch.nan)),
        "not finite, in dense of layer 1",
    ),
    "never trained": (lambda f: change_weights(f, zero), "every lora_B is zero"),
    "no metadata": (
        lambda f: (f / "README.md").write_text("# An adapter\n"),
        "does not say license and library_name",
    ),
    "broken metadata": (
        lambda f: (f / "README.md").write_text("---\nlicense: [\n---\n"),
        "README.md is not in order",
    ),
    "no dictionary": (
        lambda f: (f / "README.md").write_text("---\n- license\n---\n"),
        "should be a dict",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_an_adapter_that_is_not_in_order_is_a_sentence(hub, adapter, damage, words):
    require_whole(adapter)
    damage(adapter)
    with pytest.raises(SympatheiaError) as caught:
        publish(adapter)
    said = str(caught.value)
    assert words in said
    assert str(adapter) in said
    assert "\n" not in said
    assert said.endswith(".")
    assert hub.requests == []


def test_an_adapter_is_found_in_its_run_folder_and_alone(adapter):
    assert find_adapter(adapter.parent) == adapter
    assert find_adapter(adapter) == adapter
    with pytest.raises(InvalidInput, match="holds no adapter"):
        find_adapter(adapter / "nowhere")


# The command line


@pytest.fixture
def env(tmp_path):
    with Hub() as hub:
        yield hub_environment(hub, tmp_path / "home") | {"hub": hub}


def test_publish_adapter_as_a_command(shared_prefect, env, adapter):
    server = env.pop("hub")
    order = ("publish-adapter", adapter.parent, "--repo-id", REPO)
    server.fail("commit", 500)
    failed = sympatheia(*order, "--private", **env)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "\nError: Uploading to someone/adapter failed at" in failed.stderr

    done = sympatheia(*order, "--private", **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{server.url}/{REPO}\n"
    assert "4 files" in done.stderr
    assert "Published and verified: commit" in done.stderr
    assert server.held(REPO, "models") == sent(adapter)
    assert server.repository(REPO, "models").private

    again = sympatheia("publish-adapter", adapter, "--repo-id", REPO, **env)
    assert again.returncode == 0, again.stderr
    assert "nothing to send" in again.stderr
    assert len(server.repository(REPO, "models").commits) == 2
    for run in (failed, done, again):
        assert TOKEN not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


def test_a_dry_run_needs_no_token_and_sends_nothing(hub, adapter, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(adapter.parent / "no token"))
    order = ("publish-adapter", adapter.parent, "--repo-id", REPO)
    run = typed(*order, "--dry-run")
    assert run.returncode == 0, run.stderr
    for name, content in sent(adapter).items():
        assert f"{len(content):>15,}  {name}\n" in run.stdout
    assert "4 files" in run.stdout
    assert (adapter / "README.md").read_text() in run.stdout
    assert run.stderr == f"Nothing was sent to {hub.url}/{REPO}.\n"

    run = typed(*order)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: There is no token for the Hub.")

    change_weights(adapter, zero)
    run = typed(*order, "--dry-run")
    assert (run.returncode, run.stdout) == (1, "")
    assert "every lora_B is zero" in run.stderr
    assert hub.requests == []


def test_wrong_usage_has_its_own_exit_code(hub, adapter):
    for arguments in (
        (adapter, "--repo-id", "a/b/c", "--dry-run"),
        (adapter / "checkpoints", "--repo-id", REPO),
        (adapter,),
    ):
        run = typed("publish-adapter", *arguments)
        assert run.returncode == 2, run.stderr
        assert "Traceback" not in run.stderr
