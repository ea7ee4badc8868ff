import tomllib

import pytest

from corpus.errors import InvalidInput
from corpus.plan.recipe_files import (
    RECIPES,
    bundled,
    dump_recipe,
    load_recipe,
    read_resolved,
    recipe_prompts,
)


def test_bundled_recipes_are_the_contracts(prompts):
    assert bundled() == ["demo", "sympatheia-18k", "sympatheia-plus"]
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


def write(path, **changes):
    """The demo's recipe with some of its lines changed, by key."""
    lines = (RECIPES / "demo.toml").read_text().splitlines()
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines]
    path.write_text("\n".join(lines))
    return str(path)


def test_all_wrong_keys_of_a_recipe_are_told_at_once(tmp_path):
    path = write(tmp_path / "r.toml", temperature="9", top_p="2", backend='"espeak"', r='"8"')
    with pytest.raises(InvalidInput) as caught:
        load_recipe(path, ["emotional.pairs=3", 'anchors="sad"', "colour=1"])
    message = str(caught.value)
    assert message.startswith(f"Recipe {path} with emotional.pairs, anchors, colour: ")
    for key in ("queries.temperature", "responses.temperature", "queries.top_p", "responses.top_p"):
        assert f"llm.{key}: Input should be less than or equal to" in message
    assert "; speech.backend: Input should be 'builtin' or 'openai' (got 'espeak')" in message
    assert "anchors: Input should be 'all' or a list is wanted (got 'sad')" in message
    assert "; adapter.r: Input should be a valid integer (got '8')" in message
    assert "emotional.pairs: unknown key" in message
    assert "colour: unknown key" in message
    with pytest.raises(InvalidInput, match=r"; and 1 more\.$"):
        load_recipe(path, [f"colour{n}=1" for n in range(5)])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("llm.timeout_seconds=inf", "llm.timeout_seconds: a finite number"),
        ("llm.timeout_seconds=true", "llm.timeout_seconds: a number is wanted .got True"),
        ("llm.gpu_hour_price=inf", "llm.gpu_hour_price: a finite number"),
        ("adapter.epochs=inf", "adapter.epochs: a finite number"),
        ("adapter.learning_rate=nan", "adapter.learning_rate: a finite number"),
        ("llm.queries.temperature=true", "temperature: a number is wanted .got True"),
        ('llm.queries.temperature="0.5"', "temperature: a number is wanted .got '0.5'"),
        ('speech.loudness="-20"', "speech.loudness: a number is wanted .got '-20'"),
        ("llm.queries.max_tokens=99999999999999999999", "max_tokens: a whole number has 64 bits"),
        ("llm.queries.max_tokens=4294967296", "max_tokens: .*less than 2147483648"),
        ("adapter.max_steps=99999999999999999999", "max_steps: a whole number has 64 bits"),
        ("seed=-99999999999999999999", "seed: a whole number has 64 bits"),
        ("llm.queries.extra={n=100000000000000000000}", "extra: a whole number has 64 bits"),
        ("llm.queries.extra={a=nan}", "llm.queries.extra: a finite number"),
        ("llm.responses.extra={a=[{b=[-inf]}]}", "llm.responses.extra: a finite number"),
        ('llm.judge.extra={a={b="\\u0000"}}', "llm.judge.extra: it holds the control character"),
        ("llm.queries.extra={a=2026-01-01}", "llm.queries.extra.a: input was not a valid JSON"),
        (f"llm.queries.extra.{'a.' * 300}a=1", "llm.queries.extra.a.a.a"),
        (f"seed={'9' * 5000}", "seed: 999.* is not a TOML value"),
        (f"seed=0x{'9' * 5000}", "seed: a whole number .*thousands of digits"),
        (f"seed={'[' * 2000}", "seed: .* is not a TOML value"),
        ('prompts="a\\u0000b"', "prompts: it holds the control character U.0000"),
        ('llm.model="\\u001b[31m"', "llm.model: it holds the control character U.001B"),
        ('llm.vllm.arguments=["a", "b\\u0007"]', "arguments: it holds the control character"),
        ("llm=3", "llm: keys with their values are wanted"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_wherever_it_stands(override, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        load_recipe("demo", [override])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_whole_numbers_are_fine_where_fractions_are_wanted():
    recipe = load_recipe("demo", ["llm.queries.temperature=1", "adapter.epochs=3"])
    assert (recipe.llm.queries.temperature, recipe.adapter.epochs) == (1.0, 3.0)


def test_an_override_is_one_value():
    for text in ('1\nname="x"', "1\n[llm]\nconcurrency=3", "1\n\n[x]"):
        with pytest.raises(InvalidInput, match="--set seed: more than one value is given"):
            load_recipe("demo", [f"seed={text}"])
    with pytest.raises(InvalidInput, match="write KEY=VALUE"):
        load_recipe("demo", ["se\ned=1"])
    assert load_recipe("demo", ['anchors=[\n"sad",\n"angry"\n]']).anchors == ("sad", "angry")


@pytest.mark.parametrize(
    "override",
    [
        'llm.api_key_env="sk-hidden"',
        "llm.api_key_env=sk-hidden",
        'storage.url="s3://key:sk-hidden@bucket"',
        "storage.url=s3://key:sk-hidden@bucket",
        'llm.api_key="sk-hidden"',
        'llm.endpoints=["user:sk-hidden@host"]',
        f'storage.url="s3://key:sk-hidden{"x" * 100}@bucket"',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(override):
    with pytest.raises(InvalidInput) as caught:
        load_recipe("demo", [override])
    assert "hidden" not in str(caught.value)


def test_recipes_are_utf_8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "r.toml"
    text = (RECIPES / "demo.toml").read_text()
    path.write_text(text, encoding="utf-8-sig")
    assert load_recipe(str(path)) == load_recipe("demo")
    for encoding in ("utf-16", "utf-32"):
        path.write_text(text, encoding=encoding)
        with pytest.raises(InvalidInput, match=f"r.toml is in {encoding.upper()}. Save it as UTF"):
            load_recipe(str(path))
    path.write_text(text, encoding="utf-16-be")
    with pytest.raises(InvalidInput, match="line 1 holds a NUL character, as UTF-16 does"):
        load_recipe(str(path))
    path.write_bytes("# one\n# café\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="r.toml is not in UTF-8: line 2 holds the byte 0xe9"):
        load_recipe(str(path))


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "r.toml", name='"mine"\nprompts = "~/words"\nstorage.url = "~/store"')
    recipe = load_recipe("~/r.toml", ['llm.vllm={python="~/vllm/bin/python"}'])
    assert recipe.prompts == str(tmp_path / "words")
    assert recipe.storage.url == str(tmp_path / "store")
    assert recipe.llm.vllm.python == str(tmp_path / "vllm" / "bin" / "python")
    overridden = load_recipe("demo", ['storage={url="~/shared"}', 'dedup.model="~/minilm"'])
    assert overridden.storage.url == str(tmp_path / "shared")
    assert overridden.dedup.model == str(tmp_path / "minilm")
    with pytest.raises(InvalidInput, match="storage.url: the home folder that '~nobody-at-all/x'"):
        load_recipe("demo", ['storage.url="~nobody-at-all/x"'])


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for folder in ("loop", "x" * 300):
        recipe = load_recipe("demo", [f'prompts="{tmp_path / folder}"'])
        with pytest.raises(InvalidInput, match="Prompts folder"):
            recipe_prompts(recipe)
    for name in ("", str(tmp_path), "x" * 300):
        with pytest.raises(InvalidInput):
            load_recipe(name)


def test_a_resolved_recipe_that_was_edited_is_still_refused_in_words(demo, prompts):
    text = dump_recipe(demo, prompts).decode()
    start = text.index("[resolved]")
    assert read_resolved(b"resolved = 3\n" + text[:start].encode(), "recipe.toml") == demo
    with pytest.raises(InvalidInput, match="begun by sympatheia-corpus another version"):
        read_resolved(f"{text[:start]}[resolved]\nformat = 9\nversions = 3".encode(), "recipe.toml")


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ([], False),
        (["speech.after_texts=true"], True),
        (['llm.vllm.python="python"', "llm.endpoints=[]"], True),
        (['llm.vllm.python="python"', "llm.endpoints=[]", "speech.after_texts=false"], False),
    ],
)
def test_a_voice_waits_by_itself_where_the_run_starts_its_own_vllm(prompts, given, waits):
    recipe = load_recipe("sympatheia-18k", given)
    assert recipe.speech.after_texts is waits
    assert read_resolved(dump_recipe(recipe, prompts), "recipe.toml") == recipe
