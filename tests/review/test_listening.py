"""A blind listening test: how it is drawn, what of it could give a system away, what it finds."""

import json
import re
from collections import Counter

import httpx
import numpy as np
import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.evaluation.systems import open_systems
from corpus.review.listening_pages import application, shown, write_pages
from corpus.review.listening_test import CLIPS, clip_path, draw, opened_test, prepare
from corpus.review.ratings import FOLDER, Ratings, save, summarise
from corpus.run.stage_tables import write_table
from corpus.sound.clip_audio import encode_flac, encode_wav
from corpus.sound.speech_recognition import transcribe
from schemas.recipe_evaluation import Evaluation
from schemas.tables import ANSWERS
from tests.support.browser import CHROMIUM, PHONE, browser_at
from tests.support.line import typed
from tests.support.served_system import serving

EMOTIONS = ("sad", "angry", "tired", "happy")
MEANS = {"ours": 3.9, "theirs": 3.3, "a system of a much longer name": 2.6}
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def tone(number, seconds=0.4, rate=24_000):
    return 0.1 * np.sin(np.arange(round(rate * seconds)) * (0.02 + 0.01 * number)).astype(
        np.float32
    )


def responses_folder(folder, number, emotions=EMOTIONS, silent=False):
    """A folder of a system whose files are of a kind of their own."""
    encode = (lambda sound: encode_wav(sound, 16_000)) if number else encode_flac
    rows = [
        {
            "id": f"neutral-{query:05}-{emotion}/affect",
            "query_id": f"neutral-{query:05}",
            "subset": "neutral",
            "emotion": emotion,
            "target_valence": 0.1,
            "target_arousal": 0.1,
            "condition": "affect",
            "seed": query,
            "status": "ok",
            "text": "Take the bus.",
            "audio": None if silent else {"bytes": encode(tone(number)), "path": f"{number}.x"},
            "seconds": 0.4,
            "model": f"model {number}",
        }
        for query in range(4)
        for emotion in emotions
    ]
    folder.mkdir(parents=True)
    write_table(folder / "responses.parquet", ANSWERS, rows)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("listening")
    return [responses_folder(place / name, number) for number, name in enumerate(MEANS)]


@pytest.fixture(scope="module")
def systems(folders):
    return open_systems(folders, Evaluation())


def test_targets_are_spread_evenly_and_every_system_is_heard_in_each_trial(systems):
    test = draw(systems, raters=20, queries=6)
    assert len(test.trials) == 120
    assert set(Counter(trial.emotion for trial in test.trials).values()) == {30}
    targets = Counter((trial.query_id, trial.emotion) for trial in test.trials)
    assert max(targets.values()) - min(targets.values()) <= 1
    for rater in range(1, 21):
        assert [trial.number for trial in test.of(rater)] == [1, 2, 3, 4, 5, 6]
        heard = Counter(trial.emotion for trial in test.of(rater))
        assert max(heard.values()) <= 3
    for trial in test.trials:
        assert {clip.system for clip in trial.clips} == set(MEANS)


def test_the_order_is_drawn_by_the_seed_and_no_place_tells_the_system(systems):
    def orders(seed, raters=50):
        drawn = draw(systems, raters, 6, seed)
        return [[clip.system for clip in trial.clips] for trial in drawn.trials]

    assert orders(1) == orders(1) != orders(2)
    for place in range(3):
        counts = Counter(order[place] for order in orders(1))
        assert all(70 <= count <= 130 for count in counts.values())


def test_nothing_that_a_rater_gets_tells_whose_a_clip_is(systems, tmp_path):
    test = prepare(tmp_path, systems, raters=3, queries=4)
    names = [clip.name for trial in test.trials for clip in trial.clips]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {16}
    assert not set(names) & {
        clip.name for trial in draw(systems, 3, 4).trials for clip in trial.clips
    }
    # The systems' files were of two kinds and rates; what is heard is of one.
    headers = {clip_path(tmp_path, name).read_bytes()[:4] for name in names}
    assert headers == {b"fLaC"}
    rates = {clip_path(tmp_path, name).read_bytes()[18:21] for name in names}
    assert len(rates) == 1
    pages = list(write_pages(tmp_path, test))
    assert len(pages) == 3
    given = [json.dumps(shown(test, rater, lambda name: name)) for rater in (1, 2, 3)]
    for text in (*given, *(page.read_text() for page in pages)):
        assert not [name for name in (*MEANS, "model 0") if re.search(rf"\b{name}\b", text)]


def test_a_test_that_is_there_is_gone_on_with_and_another_is_refused(systems, tmp_path):
    test = prepare(tmp_path, systems, 2, 2)
    assert prepare(tmp_path, systems, 2, 2) == test == opened_test(tmp_path)
    with pytest.raises(
        InvalidInput, match="holds another listening test, of ours, theirs, .* --out"
    ):
        prepare(tmp_path, systems, 3, 2)


def test_fewer_than_two_systems_or_nothing_in_common_is_a_sentence(folders, systems, tmp_path):
    with pytest.raises(InvalidInput, match="at least two systems"):
        draw(systems[:1], 2, 2)
    strange = responses_folder(tmp_path / "strange", 0, emotions=("bored",))
    with pytest.raises(InvalidInput, match="no query with an emotion that all"):
        draw(open_systems([folders[0], strange], Evaluation()), 2, 2)
    mute = open_systems(
        [folders[0], responses_folder(tmp_path / "mute", 0, silent=True)], Evaluation()
    )
    with pytest.raises(SympatheiaError, match="of mute has no sound"):
        prepare(tmp_path / "test", mute, 2, 2)


def drawn_rating(chance, mean):
    """From 1 to 5, of a known mean: one of its two neighbours, or further out on both sides."""
    low = int(mean)
    value = low + (chance.random() < mean - low)
    spread = int(chance.integers(-1, 2)) if 2 <= value <= 4 else 0
    return value + spread


def simulate(folder, test, seed=0, raters=None):
    chance = np.random.default_rng(seed)
    for rater in raters or range(1, test.raters + 1):
        trials = {
            trial.number: {
                clip.name: drawn_rating(chance, MEANS[clip.system]) for clip in trial.clips
            }
            for trial in test.of(rater)
        }
        save(folder, test, Ratings(test=test.test, rater=rater, at="2026-01-01", trials=trials))


def test_known_means_of_twenty_raters_are_within_their_intervals(systems, tmp_path):
    test = prepare(tmp_path, systems, raters=20, queries=6)
    simulate(tmp_path, test)
    found = summarise(tmp_path)
    assert (found["answered"], found["ratings"], found["expected"]) == (20, 360, 360)
    for name, mean in MEANS.items():
        overall = found["systems"][name]["all"]
        assert overall["low"] <= mean <= overall["high"]
        assert overall["high"] - overall["low"] < 0.5
        assert set(found["systems"][name]["emotions"]) == set(EMOTIONS)
    for one in found["differences"]:
        difference = one["difference"]
        assert difference["low"] <= MEANS[one["a"]] - MEANS[one["b"]] <= difference["high"]
        assert difference["low"] > 0
    assert found["published"]["Sympatheia"] == 3.86


def test_attention_checks_look_like_other_trials_and_say_which_number_to_give(systems, tmp_path):
    test = prepare(tmp_path, systems, raters=2, queries=4, checks=True)
    plain = draw(systems, raters=2, queries=4)
    for rater in (1, 2):
        checks = [trial for trial in test.of(rater) if any(clip.asked for clip in trial.clips)]
        assert len(checks) == 1
        assert checks[0].number > 1
        assert all(1 <= clip.asked <= 5 and clip.system == "" for clip in checks[0].clips)
        # All others are those of the test without checks.
        others = [trial for trial in test.of(rater) if trial not in checks]
        assert [t.query_id for t in others] == [t.query_id for t in plain.of(rater)]
        page = shown(test, rater, lambda name: name)["trials"]
        assert len({frozenset(trial) for trial in page}) == 1
        assert len({len(trial["clips"]) for trial in page}) == 1
        assert {frozenset(clip) for trial in page for clip in trial["clips"]} == {
            frozenset({"name", "source"})
        }
    clip = checks[0].clips[0]
    said = transcribe(clip_path(tmp_path, clip.name).read_bytes())["text"]
    words = ("one", "two", "three", "four", "five")
    assert {str(clip.asked), words[clip.asked - 1]} & set(re.findall(r"\w+", said.lower()))


def test_raters_who_fail_a_check_are_named_and_left_out_on_request(folders, systems, tmp_path):
    test = prepare(tmp_path, systems, raters=3, queries=2, checks=True)
    for rater in (1, 2, 3):
        trials = {
            trial.number: {
                clip.name: (clip.asked or 5) if rater != 2 else 1 + (clip.asked or 0) % 5
                for clip in trial.clips
            }
            for trial in test.of(rater)
        }
        save(tmp_path, test, Ratings(test=test.test, rater=rater, at="2026-01-01", trials=trials))
    found = summarise(tmp_path)
    assert (found["answered"], found["ratings"], found["expected"]) == (3, 18, 18)
    assert found["checks"] == {"rated": 9, "failed": {"2": 3}, "left_out": False}
    kept = summarise(tmp_path, leave_out_failed=True)
    assert (kept["answered"], kept["ratings"]) == (2, 12)
    assert {one["all"]["mean"] for one in kept["systems"].values()} == {5}
    said = typed("listen", "--summary", "--output", tmp_path, "--leave-out-failed")
    assert "Attention checks: 9 clips rated; raters who failed one, left out here: 2" in said.stdout
    with pytest.raises(InvalidInput, match="2 queries each and attention checks"):
        prepare(tmp_path, systems, raters=3, queries=2)
    assert typed("listen", *folders, "--leave-out-failed").returncode == 2


def test_files_that_were_sent_in_count_and_the_newest_word_of_a_rater(systems, tmp_path):
    test = prepare(tmp_path, systems, raters=2, queries=1)
    simulate(tmp_path, test, raters=[1])
    (trial,) = test.of(1)
    again = Ratings(
        test=test.test,
        rater=1,
        at="2026-01-02",
        trials={1: {clip.name: 5 for clip in trial.clips}},
    )
    (tmp_path / FOLDER / "ratings-01 (1).json").write_text(again.model_dump_json())
    found = summarise(tmp_path)
    assert (found["answered"], found["ratings"]) == (1, 3)
    assert {one["all"]["mean"] for one in found["systems"].values()} == {5}
    (tmp_path / FOLDER / "zz.json").write_text('{"test": 3}')
    with pytest.raises(InvalidInput, match="zz.json holds no ratings"):
        summarise(tmp_path)
    (tmp_path / FOLDER / "zz.json").write_text(
        again.model_copy(update={"test": "x"}).model_dump_json()
    )
    with pytest.raises(InvalidInput, match="is of another listening test"):
        summarise(tmp_path)


def test_the_command_writes_pages_and_prints_what_came_of_them(folders, tmp_path):
    output = tmp_path / "out"
    options = ("--raters", 2, "--queries", 2, "--output", output)
    made = typed("listen", *folders, *options)
    assert made.returncode == 0, made.stderr
    assert [line.rpartition("/")[2] for line in made.stdout.split()] == [
        "rater-01.html",
        "rater-02.html",
    ]
    simulate(output, opened_test(output))
    said = typed("listen", *folders, "--summary", "--output", output)
    assert said.returncode == 0, said.stderr
    assert "2 of 2 raters have answered: 12 of 12 ratings" in said.stdout
    assert "Sympatheia 3.86" in said.stdout
    found = typed("listen", "--summary", "--output", output, "--json")
    assert json.loads(found.stdout) == summarise(output)
    assert typed("listen").returncode == 2
    none = typed("listen", folders[0], "--summary")
    assert (none.returncode, "holds no listening test" in none.stderr) == (2, True)


def rate_all(page, grade):
    for box in page.locator("fieldset").all():
        box.get_by_label(str(grade), exact=True).check()


@in_a_browser
def test_a_rater_answers_at_the_server_and_goes_on_after_a_reload(systems, tmp_path):
    test = prepare(tmp_path, systems, raters=2, queries=2)
    with serving(application(tmp_path, test)) as address, browser_at(address, PHONE) as opened:
        page = opened.page
        page.get_by_label("Your number").fill("2")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-at='0']")
        players = opened.players()
        assert len(players) == 3
        assert all(player["seconds"] > 0 and player["error"] is None for player in players)
        page.get_by_role("button", name="Next").click()
        page.get_by_text("Rate each answer first.").wait_for()
        rate_all(page, 4)
        page.get_by_role("button", name="Next").click()
        page.wait_for_selector("body[data-at='1']")
        page.locator("fieldset").first.get_by_label("2", exact=True).check()
        page.reload()
        page.wait_for_selector("body[data-at='1']")
        assert page.locator("fieldset").first.get_by_label("2", exact=True).is_checked()
        rate_all(page, 3)
        page.get_by_role("button", name="Finish").click()
        page.get_by_text("That was all.").wait_for()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
        assert opened.errors == []
        assert all(one.startswith((address, "data:")) for one in opened.requests)
        assert httpx.get(f"{address}/clips/{'0' * 16}").status_code == 404
        assert httpx.get(f"{address}/api/trials/3").status_code == 404
        assert httpx.get(address, headers={"Host": "rebound.example"}).status_code == 403
    found = summarise(tmp_path)
    assert (found["answered"], found["ratings"]) == (1, 6)
    assert {one["all"]["mean"] for one in found["systems"].values()} == {3.5}


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_page_passes_wcag_aa_contrast_among_it(systems, tmp_path, scheme):
    (path,) = write_pages(tmp_path, prepare(tmp_path, systems, raters=1, queries=1))
    with browser_at(path, color_scheme=scheme) as opened:
        assert opened.offences() == []
        rate_all(opened.page, 5)
        opened.page.get_by_role("button", name="Finish").click()
        assert opened.offences() == []


@in_a_browser
def test_a_page_that_was_handed_out_saves_a_file_that_counts(systems, tmp_path):
    test = prepare(tmp_path, systems, raters=1, queries=1)
    (path,) = write_pages(tmp_path, test)
    with browser_at(path) as opened:
        page = opened.page
        assert all(player["seconds"] > 0 for player in opened.players())
        rate_all(page, 5)
        page.get_by_role("button", name="Finish").click()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save my ratings").click()
        (tmp_path / FOLDER).mkdir()
        saved.value.save_as(tmp_path / FOLDER / saved.value.suggested_filename)
        assert opened.errors == []
        assert all(one.startswith(("file:", "data:", "blob:")) for one in opened.requests)
    assert summarise(tmp_path)["ratings"] == 3
    assert not list((tmp_path / CLIPS).glob("*.tmp"))
