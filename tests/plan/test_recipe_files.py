import tomllib

import pytest

from corpus.errors import InvalidInput
from corpus.plan.recipe_files import RECIPES, bundled, dump_recipe, load_recipe, read_resolved


def test_bundled_recipes_are_the_contracts(prompts):
    assert bundled() == ["demo", "sympatheia-18k"]
    full = load_recipe("sympatheia-18k")
    assert full.llm.model == "Qwen/Qwen3-32B"
    queries, responses = full.llm.queries, full.llm.responses
    assert (queries.temperature, queries.top_p, queries.max_tokens) == (0.85, 0.95, 128)
    assert (responses.temperature, responses.top_p, responses.max_tokens) == (0.7, 0.95, 4096)
    assert (queries.thinking, responses.thinking) == (False, True)
    assert (full.speech.query_voice, full.speech.response_voice) == ("Ryan", "Vivian")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("emotional.pairs_per_anchr=3", "emotional.pairs_per_anchr: unknown key"),
        ("colour=1", "colour: unknown key"),
        ("emotional.pairs_per_anchor=-1", "pairs_per_anchor: .*greater than or equal to 0.*-1"),
        ("emotional.pairs_per_anchor='many'", "pairs_per_anchor: .*integer.*'many'"),
        ("emotional.pairs_per_anchor=true", "pairs_per_anchor: .*integer.*True"),
        ("llm.queries.thinking='yes'", "thinking: .*boolean.*'yes'"),
        ("split.eval_fraction=0.25", "eval_fraction: must be a whole number of tenths.*0.25"),
        ("split.eval_fraction=1.0", "eval_fraction: .*less than 1"),
        ("dedup.threshold=1.5", "threshold: .*less than or equal to 1"),
        ("llm.concurrency=0", "concurrency: .*greater than or equal to 1"),
        ('llm.endpoints=["localhost:8000"]', "llm.endpoints.0: "),
        ("llm.queries.temperature=9", "llm.queries.temperature: .*less than or equal to 2"),
        ("llm.queries.extra={seed=1}", "'seed' is set by the pipeline"),
        ('speech.backend="espeak"', "speech.backend: .*'builtin' or 'openai'"),
        ('speech.backend="openai"', "needs speech.endpoints"),
        ('speech.model="x"', "takes no speech.endpoints"),
        ("shards.max_bytes=5", "max_bytes: .*greater than or equal to"),
        ('name="../up"', "name: "),
        ('anchors="some"', "anchors"),
        ("neutral.queries=0", None),
    ],
)
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(override, says):
    if says is None:
        assert load_recipe("demo", [override]).neutral.queries == 0
        return
    with pytest.raises(InvalidInput, match=says):
        load_recipe("demo", [override])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "write KEY=VALUE"),
        ("=3", "write KEY=VALUE"),
        ("name=demo", "text needs quotes, as in --set 'name=\"demo\"'"),
        ("seed.more=1", "'seed' is not a section"),
    ],
)
def test_a_bad_override_is_explained(override, says):
    with pytest.raises(InvalidInput, match=says):
        load_recipe("demo", [override])


def test_nothing_to_make_is_refused():
    with pytest.raises(InvalidInput, match="nothing to make"):
        load_recipe("demo", ["emotional.pairs_per_anchor=0", "neutral.queries=0"])


def test_an_unknown_recipe_names_those_there_are(tmp_path):
    with pytest.raises(InvalidInput, match="no recipe 'dmo'.*demo, sympatheia-18k"):
        load_recipe("dmo")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(InvalidInput, match="broken.toml is not valid TOML"):
        load_recipe(str(broken))


def test_a_recipe_may_give_some_keys_of_a_section(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nprompts = "words"\n[llm.queries]\nmax_tokens = 50\n'
        '[speech]\nquery_voice = "heron"\nresponse_voice = "wren"\n'
    )
    recipe = load_recipe(str(path))
    assert recipe.llm.queries.max_tokens == 50
    assert recipe.llm.queries.temperature == 0.85
    assert recipe.prompts == str(tmp_path / "words")


def test_the_resolved_recipe_reads_back(demo, prompts):
    content = dump_recipe(demo, prompts)
    assert read_resolved(content, "recipe.toml") == demo
    resolved = tomllib.loads(content.decode())["resolved"]
    assert resolved["prompts_digest"] == prompts.digest
    assert "sympatheia-corpus" in resolved["versions"]


def test_a_shared_folder_means_the_same_wherever_a_run_goes_on(tmp_path, monkeypatch):
    recipe = tmp_path / "here" / "r.toml"
    recipe.parent.mkdir()
    text = (RECIPES / "demo.toml").read_text() + '\n[storage]\nurl = "../shared"\n'
    recipe.write_text(text)
    assert load_recipe(str(recipe)).storage.url == str(tmp_path / "shared")
    monkeypatch.chdir(tmp_path)
    overridden = load_recipe("demo", ['storage.url="shared"'])
    assert overridden.storage.url == str(tmp_path / "shared")
    assert load_recipe("demo", ['storage.url="s3://b/c"']).storage.url == "s3://b/c"
