"""The page that talks to an adapter, in a real browser whose microphone beeps."""

import io
import re
from contextlib import contextmanager

import pytest

from tests.support.browser import CHROMIUM, DESKTOP, browser_at
from tests.support.contrast import contrast
from tests.support.served_system import parts_in, served
from tests.support.voice_server import hum

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]

NARROW = (360, 740)
PATIENCE_MS = 60_000
CLIP = {
    "name": "question.wav",
    "mimeType": "audio/wav",
    "buffer": hum({"input": "What is it like?"}, rate=48_000),
}


@pytest.fixture(scope="module")
def address(tiny):
    with served(parts_in(tiny)) as address:
        yield address


@contextmanager
def opened_at(address, size=DESKTOP, **context):
    with browser_at(address, size, **context) as opened:
        opened.page.set_default_timeout(PATIENCE_MS)
        opened.page.wait_for_selector("body[data-ready]")
        opened.page.get_by_text("Settings").click()
        opened.page.get_by_label("Most tokens of a reply").fill("40")
        yield opened


def status(page, words):
    """Waits until the status says so."""
    page.get_by_role("status").filter(has_text=words).wait_for()


def replies(page):
    return [one.inner_text() for one in page.locator("#replies article").all() if one.is_visible()]


def plane(page, name):
    return page.get_by_role("slider", name=f"Point of {name}")


def told(page, name):
    return plane(page, name).get_attribute("aria-valuetext")


def test_a_recording_is_answered_at_two_points_with_words_and_sound(address):
    with opened_at(address) as opened:
        page = opened.page
        page.get_by_role("button", name="Record").click()
        status(page, "Recording.")
        page.wait_for_timeout(1_500)
        page.get_by_role("button", name=re.compile("Stop")).click()
        status(page, "The question is ready.")
        page.get_by_role("group", name="felt, A").get_by_label("told").select_option("sad")
        page.get_by_role("group", name="felt, B").get_by_label("told").select_option("angry")
        page.get_by_role("button", name="Ask").click()
        status(page, "Both have answered.")
        first, second = replies(page)
        assert "sad: valence -0.75, arousal -0.65" in first
        assert "User emotion (valence=-0.75, arousal=-0.65)" in first
        assert "angry: valence -0.85, arousal 0.85" in second
        players = {player["label"]: player for player in opened.players()}
        assert set(players) == {"The question", "Reply A", "Reply B"}
        assert all(player["error"] is None for player in players.values())
        assert all(player["seconds"] > 0 for player in players.values())
        assert opened.errors == []
        assert all(one.startswith((address, "blob:", "data:")) for one in opened.requests)


def test_a_file_is_answered_by_keyboard_alone(address):
    with opened_at(address) as opened:
        page = opened.page
        page.get_by_label("A sound file").set_input_files(CLIP)
        status(page, "The question is ready.")

        def tab_to(role, name):
            wanted = page.get_by_role(role, name=name)
            for _ in range(40):
                if wanted.evaluate("(one) => one === document.activeElement"):
                    outline = wanted.evaluate("(one) => getComputedStyle(one).outlineStyle")
                    assert outline == "solid"
                    return
                page.keyboard.press("Tab")
            raise AssertionError(f"Tab does not reach {role} {name}")

        tab_to("checkbox", "second point")
        page.keyboard.press("Space")
        tab_to("slider", "Point of A")
        assert told(page, "A") == "not told"
        for key in ("ArrowUp", "Shift+ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)
        assert told(page, "A") == "valence -0.30, arousal 0.05"
        tab_to("button", "Ask")
        page.keyboard.press("Enter")
        status(page, "The reply is there.")
        (reply,) = replies(page)
        assert "(valence=-0.30, arousal=0.05)" in reply
        assert opened.errors == []


def test_a_query_of_the_corpus_is_asked_without_a_feeling(tiny, whole):
    with served(parts_in(tiny), whole) as address, opened_at(address) as opened:
        page = opened.page
        page.get_by_label("A query of the corpus").select_option(index=1)
        status(page, "The question is ready.")
        page.get_by_label("second point").uncheck()
        page.get_by_role("button", name="Ask").click()
        status(page, "The reply is there.")
        assert "User emotion N/A" in replies(page)[0]
        assert opened.errors == []


def test_the_plane_follows_the_mouse_the_numbers_and_the_list(address):
    with opened_at(address) as opened:
        page, group = opened.page, opened.page.get_by_role("group", name="felt, A")
        box = plane(page, "A").bounding_box()
        scale = box["width"] / 320

        def at(valence, arousal):
            return (
                box["x"] + (160 + 140 * valence) * scale,
                box["y"] + (160 - 140 * arousal) * scale,
            )

        page.mouse.click(*at(0.86, 0.34))
        assert told(page, "A") == "happy: valence 0.85, arousal 0.35"  # an anchor draws to itself
        page.mouse.move(*at(0, 0))
        page.mouse.down()
        page.mouse.move(*at(-0.5, 0.25))
        page.mouse.up()
        page.mouse.move(*at(0.9, 0.9))
        assert re.fullmatch(r"valence -0\.(49|50|51), arousal 0\.2[456]", told(page, "A"))
        group.get_by_label("Arousal").fill("3")
        group.get_by_label("Arousal").press("Enter")
        assert told(page, "A").endswith("arousal 1.00")
        group.get_by_label("told").select_option("")
        assert told(page, "A") == "not told"
        assert group.get_by_label("Valence").input_value() == ""


def test_what_goes_wrong_is_a_sentence_and_the_next_question_is_answered(address):
    with opened_at(address) as opened:
        page = opened.page
        page.get_by_role("button", name="Ask").click()
        status(page, "First record a question")
        page.get_by_label("A sound file").set_input_files(CLIP | {"buffer": b"words"})
        status(page, "finds no sound in it")
        long = hum({"input": "long"}, rate=8_000, seconds=70)
        page.get_by_label("A sound file").set_input_files(CLIP | {"buffer": long})
        status(page, "lasts 70 seconds; a question has at most 60")
        silent = io.BytesIO(hum({"input": "x"}))
        quiet = silent.getvalue()[:44] + bytes(len(silent.getvalue()) - 44)
        page.get_by_label("A sound file").set_input_files(CLIP | {"buffer": quiet})
        page.get_by_role("button", name="Ask").click()
        status(page, "silent")
        page.get_by_label("A sound file").set_input_files(CLIP)
        status(page, "The question is ready.")
        page.get_by_role("button", name="Ask").click()
        status(page, "Both have answered.")


def test_it_says_what_is_given_what_is_kept_and_that_the_weights_are_random(address):
    with opened_at(address) as opened:
        said = opened.page.locator("header").inner_text()
        assert "given, not sensed" in said
        assert "Nothing is kept" in said
        assert "The weights are random." in said


def test_it_fits_a_narrow_window_and_every_control_has_a_name(address):
    with opened_at(address, NARROW) as opened:
        page = opened.page
        page.get_by_label("A sound file").set_input_files(CLIP)
        status(page, "The question is ready.")
        page.get_by_role("button", name="Ask").click()
        status(page, "Both have answered.")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW[0]
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, audio, svg, section')]
              .filter((one) => !one.labels?.length && !one.ariaLabel && !one.textContent.trim() &&
                !one.getAttribute('aria-labelledby')).map((one) => one.outerHTML)"""
        )
        assert unnamed == []
        assert opened.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_passes_wcag_aa_contrast_among_it(address, scheme):
    with opened_at(address, color_scheme=scheme) as opened:
        assert opened.offences() == []
        colours = opened.colours("line", "paper")
    assert contrast(colours["line"], colours["paper"]) >= 3  # which axe leaves out
