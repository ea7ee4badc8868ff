"""The page of a review, in a real browser, and the server behind it."""

import shutil
import signal
import time

import httpx
import pytest

from corpus.review.desk import Desk
from corpus.review.review_server import application, local_application
from corpus.review.suspicion import suspicion
from corpus.review.verdicts import Reviews, standing_digests
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows, write_table
from schemas.tables import RESPONSES, SOUND
from tests.support.browser import CHROMIUM, DESKTOP, PHONE, browser_at
from tests.support.contrast import contrast
from tests.support.line import start
from tests.support.served_system import serving

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
PATIENCE_MS = 60_000


@pytest.fixture
def run(built, tmp_path):
    return RunFolder(shutil.copytree(built.root, tmp_path / "run"))


@pytest.fixture
def address(run):
    with serving(application(Desk(run), "ada")) as address:
        yield address


def opened_at(address, size=DESKTOP, **context):
    return browser_at(address, size, **context)


def at(page, place):
    page.wait_for_selector(f"body[data-place='{place}']", timeout=PATIENCE_MS)


def said(page, words):
    page.get_by_role("status").filter(has_text=words).wait_for(timeout=PATIENCE_MS)


def on_file(run):
    return {
        (one.id, one.role): (one.verdict, one.ratings, one.note)
        for one in Reviews(run.reviews).verdicts
    }


@in_a_browser
def test_a_review_by_keyboard_alone(run, address):
    with opened_at(address) as opened:
        page = opened.page
        at(page, 0)
        players = opened.players()
        assert [player["label"] for player in players] == ["The query", "The response"]
        assert all(player["seconds"] > 0 and player["error"] is None for player in players)
        page.keyboard.press("Space")
        page.wait_for_function("() => document.getElementById('query-sound').currentTime > 0")
        page.keyboard.press("Space")
        first = page.locator("#place").inner_text().split()[4].strip(",:")
        for key in ("e", "4", "Shift+Digit2", "n"):
            page.keyboard.press(key)
        page.keyboard.type("rude, k")
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        at(page, 1)
        second = page.locator("#place").inner_text().split()[4].strip(",:")
        page.keyboard.press("k")
        at(page, 2)
        page.keyboard.press("ArrowRight")
        at(page, 3)
        page.keyboard.press("ArrowLeft")
        at(page, 2)
        said(page, "Saved.")
        assert "2 of 42 pairs reviewed" in page.locator("#cells").inner_text()
        assert opened.errors == []
        assert all(one.startswith((address, "data:")) for one in opened.requests)
    verdicts = on_file(run)
    assert verdicts[first, "response"] == ("strike", {"fit": 4}, "rude, k")
    assert verdicts[first, "response_clip"] == ("keep", {"naturalness": 2}, "")
    assert verdicts[first, "query"] == ("keep", {}, "")
    assert {verdicts[second, role][0] for role in ("query", "query_clip", "response")} == {"keep"}
    assert len(verdicts) == 8


@in_a_browser
def test_a_reload_in_mid_verdict_loses_nothing(run, address):
    with opened_at(address) as opened:
        page = opened.page
        at(page, 0)
        page.keyboard.press("r")
        page.keyboard.press("3")
        page.locator("#note").fill("clicks")
        page.reload()
        at(page, 0)
        strike = page.get_by_role("button", name="Strike the response's sound")
        assert strike.get_attribute("aria-pressed") == "true"
        assert page.locator("#note").input_value() == "clicks"
        assert not run.reviews.exists()
        page.locator("h1").click()
        page.keyboard.press("Enter")
        at(page, 1)
        page.goto(address)
        at(page, 1)  # where there is no verdict yet
        page.keyboard.press("ArrowLeft")
        at(page, 0)
        assert strike.get_attribute("aria-pressed") == "true"
        strike.click()
        page.get_by_role("button", name="Save and go on").click()
        at(page, 1)
    assert [v.verdict for v in Reviews(run.reviews).verdicts if v.role == "response_clip"] == [
        "strike",
        "keep",
    ]


@in_a_browser
def test_a_server_that_is_killed_loses_nothing_and_the_page_goes_on_with_the_next(run, tmp_path):
    port = httpx.URL(_free_address()).port
    command = ("review", run.root, "--port", port)
    process = _started(command, tmp_path / "log", port)
    address = f"http://127.0.0.1:{port}"
    try:
        with opened_at(address) as opened:
            page = opened.page
            page.get_by_label("Your name").fill("grace")
            page.keyboard.press("Enter")
            at(page, 0)
            page.keyboard.press("k")
            at(page, 1)
            process.kill()
            process.wait()
            page.keyboard.press("q")
            page.keyboard.press("Enter")
            said(page, "The server does not answer.")
            process = _started(command, tmp_path / "log2", port)
            page.keyboard.press("Enter")
            at(page, 2)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    verdicts = Reviews(run.reviews).verdicts
    assert [one.verdict for one in verdicts] == ["keep"] * 4 + ["strike", "keep", "keep", "keep"]
    assert {one.reviewer for one in verdicts} == {"grace"}


def _free_address():
    with serving(local_application([])) as address:
        return address


def _started(command, log, port):
    process = start(*command, log=log)
    while process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


@in_a_browser
def test_it_fits_a_phone_and_every_control_has_a_name(address):
    with opened_at(address, PHONE) as opened:
        page = opened.page
        at(page, 0)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('button, input, textarea, audio, section')]
              .filter((one) => !one.labels?.length && !one.ariaLabel && !one.textContent.trim() &&
                !one.getAttribute('aria-labelledby')).map((one) => one.outerHTML)"""
        )
        assert unnamed == []
        small = page.evaluate(
            """() => [...document.querySelectorAll('button')].filter((one) => one.offsetParent &&
              one.offsetHeight < 44).map((one) => one.textContent)"""
        )
        assert small == []


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_passes_wcag_aa_contrast_among_it(address, scheme):
    with opened_at(address, color_scheme=scheme) as opened:
        at(opened.page, 0)
        assert opened.offences() == []
        opened.page.get_by_role("button", name="Strike the response's sound").click()
        assert opened.offences() == []
        colours = opened.colours("line", "paper")
    assert contrast(colours["line"], colours["paper"]) >= 3  # which axe leaves out


def parts_of(shown, verdict="keep"):
    return [
        {"role": one["role"], "digest": one["digest"], "verdict": verdict} for one in shown["parts"]
    ]


def post(address, content, **headers):
    return httpx.post(f"{address}/api/verdicts", json=content, headers=headers)


def test_two_reviewers_at_once_each_see_their_own(run, address):
    for name, verdict in (("ada", "keep"), ("bob", "strike")):
        shown = httpx.get(f"{address}/api/pairs/0", params={"reviewer": name}).json()
        assert {part["verdict"] for part in shown["parts"]} == {None}
        said = {"id": shown["id"], "reviewer": name, "parts": parts_of(shown, verdict)}
        assert post(address, said).json()["next"] == 1
    with serving(application(Desk(run))) as other:  # and at another server of the same run
        for name, verdict in (("ada", "keep"), ("bob", "strike")):
            shown = httpx.get(f"{other}/api/pairs/0", params={"reviewer": name}).json()
            assert {part["verdict"] for part in shown["parts"]} == {verdict}
        shown = httpx.get(f"{other}/api/pairs/1").json()
        post(other, {"id": shown["id"], "reviewer": "bob", "parts": parts_of(shown)})
    answer = httpx.get(f"{address}/api/run", params={"reviewer": "bob"}).json()
    assert answer["next"] == 2
    assert sum(cell["reviewed"] for cell in answer["cells"]) == 2
    assert [one.reviewer for one in Reviews(run.reviews).verdicts] == ["ada"] * 4 + ["bob"] * 8


def test_what_was_struck_and_replaced_can_be_taken_back_on_the_page(run, line):
    desk = Desk(run)
    shown = desk.shown(0, "ada")
    body = {"id": shown["id"], "reviewer": "ada", "parts": parts_of(shown, "strike")[2:3]}
    before = standing_digests(run)
    with serving(application(desk)) as address:
        assert post(address, body).status_code == 200
        line.build(run.root)
        again = httpx.get(f"{address}/api/pairs/0", params={"reviewer": "ada"}).json()
        assert again["parts"][2]["digest"] != shown["parts"][2]["digest"]
        assert [one["digest"] for one in again["struck_before"]] == [shown["parts"][2]["digest"]]
        stale = post(address, body)
        assert (stale.status_code, "is another one by now" in stale.text) == (400, True)
        body["parts"][0]["verdict"] = "keep"
        assert post(address, body).status_code == 200
    line.build(run.root)
    assert standing_digests(run) == before


def test_pairs_are_drawn_by_cell_and_so_many_of_each(run):
    desk = Desk(run, per_cell=2)
    assert {cell["pairs"] for cell in desk.progress("ada")} == {2}
    cells = [pair.cell for pair in desk.pairs]
    assert len(set(cells[:6])) == 6  # a cell after the other, in turns
    everything = Desk(run).pairs
    assert [pair.id for pair in everything[:12]] == [pair.id for pair in desk.pairs]


def with_column(path, schema, **changes):
    """A table with other values of a column in some rows, by the row's id."""
    for name, values in changes.items():
        found = [
            row | ({name: values[row["id"]]} if row.get("id") in values else {})
            for row in read_rows(path)
        ]
        write_table(path, schema, found)


def test_what_came_nearest_to_being_refused_is_shown_first(run):
    desk = Desk(run, suspicious_first=True)
    order = [pair.id for pair in desk.pairs]
    assert sorted(order) == sorted(pair.id for pair in Desk(run).pairs)
    nearness = suspicion(run, desk.pairs)
    assert all(0 <= value <= 1 for value in nearness.values())
    assert [nearness[one] for one in order] == sorted(nearness.values(), reverse=True)
    # A grade at the threshold, and a word error at the limit, are as near as can be.
    last, before = order[-1], order[-2]
    with_column(run.responses, RESPONSES, answer={last: 3})
    with_column(run.sound, SOUND, word_error_rate={before: 0.25})
    nearness = suspicion(run, desk.pairs)
    assert nearness[last] == nearness[before] == 1
    few = Desk(run, per_cell=1, suspicious_first=True)
    assert {cell["pairs"] for cell in few.progress("ada")} == {1}
    assert nearness[few.pairs[0].id] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example"}, 403),
        ({"Origin": "http://other.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
def test_no_other_site_may_use_it(run, address, headers, status):
    shown = httpx.get(f"{address}/api/pairs/0").json()
    said = {"id": shown["id"], "reviewer": "eve", "parts": parts_of(shown, "strike")}
    assert post(address, said, **headers).status_code == status
    assert not run.reviews.exists()


def test_nothing_but_the_clips_of_the_review_is_served(run, address):
    stray = run.store / "clips" / "ab"
    stray.mkdir(exist_ok=True)
    (stray / ("ab" * 32 + ".flac")).write_bytes(b"not of the tables")
    digest = httpx.get(f"{address}/api/pairs/0").json()["parts"][1]["digest"]
    assert httpx.get(f"{address}/clips/{digest}").content.startswith(b"fLaC")
    for path in ("/clips/" + "ab" * 32, "/clips/..%2f..%2frecipe.toml", "/recipe.toml", "/clips/"):
        assert httpx.get(address + path).status_code == 404
    assert httpx.get(f"{address}/api/pairs/42").status_code == 400
    policy = httpx.get(address).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy


@pytest.mark.parametrize(
    "change",
    [
        {"reviewer": ""},
        {"id": "another"},
        {"parts": []},
        {"parts": [{"role": "voice", "digest": "a" * 64, "verdict": "keep"}]},
        {"parts": [{"role": "query", "digest": "a" * 64, "verdict": "keep"}]},
        {"parts": [{"role": "query", "digest": "a" * 64, "verdict": "perhaps"}]},
    ],
)
def test_what_is_no_verdict_on_the_pair_is_refused_with_a_sentence(run, address, change):
    shown = httpx.get(f"{address}/api/pairs/0").json()
    said = {"id": shown["id"], "reviewer": "ada", "parts": parts_of(shown)} | change
    answer = post(address, said)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert not run.reviews.exists()
