"""Reads and checks a prompts folder, and has its templates rendered into chat messages.

A prompts folder holds `anchors.yaml`, `topics.yaml`, `rules.yaml` and one folder of templates per
kind of model under `templates/` (bundled: `full` for models that follow instructions, `small` for
models that only continue examples); `corpus.plan.templates` says what a template is. A subset that
not every corpus has brings its templates in a folder of its name, which only who makes it needs:
see `corpus.plan.subsets`. What a model that hears is asked by is under `rubrics/`, and shapes no
corpus: see `corpus.judge.rubrics`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from corpus.errors import InvalidInput
from corpus.plan.templates import SUFFIX, Message, Templates
from corpus.plan.user_input import LONGEST_SAID, Loc, explain, one_line
from corpus.plan.yaml_files import read_yaml
from schemas.prompts import (
    Anchor,
    AnchorFile,
    RuleFile,
    Speaker,
    SpeakerFile,
    TopicFile,
    TrajectoryFile,
)

BUNDLED = Path(__file__).resolve().parents[2] / "prompts"

CAST = "speakers"
"""What prompts are loaded for, too, where a recipe casts speakers: beside a file of who there is, a
folder with the template by which a text model is told who speaks."""
PROFILE = f"{CAST}/profile"

OWN_FILES: Mapping[str, str] = {"dialogue": "trajectories.yaml", CAST: "speakers.yaml"}
"""Files of a prompts folder that only those need who make the optional subset, or cast speakers."""
OWNERS: Mapping[str, str] = {
    "dialogue": "the subset dialogue",
    CAST: "a recipe that casts speakers",
}
"""Who needs them, in words."""
ANNOTATE = "annotate"
"""Folder of the templates that only a corpus with annotations needs."""

Model = TypeVar("Model", bound=BaseModel)


def _read(path: Path, model: type[Model]) -> Model:
    try:
        file = read_yaml(path)
    except FileNotFoundError:
        needs = "a prompts folder needs anchors.yaml, topics.yaml and rules.yaml"
        for more, name in OWN_FILES.items():
            needs = f"{OWNERS[more]} needs it" if name == path.name else needs
        raise InvalidInput(
            f"{path} is missing; {needs} (copy the bundled ones from {BUNDLED})."
        ) from None
    try:
        return model.model_validate(file.data)
    except ValidationError as error:
        problems = explain(
            error,
            file.data,
            lambda loc, words: f"line {file.line(loc)}: {_place(loc, file.data)}{words}",
        )
        raise InvalidInput(f"{path}: {problems}.") from error


def _place(loc: Loc, data: Any) -> str:  # noqa: ANN401  (whatever a file holds)
    """Where a problem lies, as a person would name it: anchors by name, entries from 1."""
    match loc:
        case ("anchors" | "speakers" as kind, int() as number, *rest):
            entry = data[kind][number]
            name = entry.get("name") if isinstance(entry, dict) else None
            said = f"'{one_line(name)}'" if isinstance(name, str) else number + 1
            return f"{kind[:-1]} {said}: {_place(tuple(rest), entry)}"
    place = ""
    for part in loc:
        if isinstance(data, list) and isinstance(part, int):
            place, data = f"{place}, entry {part + 1}", data[part]
        else:
            place = f"{place}.{part}" if place else str(part)
            data = data.get(part) if isinstance(data, dict) else None
    return f"{one_line(place)}: " if place else ""


@dataclass(frozen=True)
class Prompts:
    """A prompts folder, read and validated; templates are compiled on first use.

    `more` names the folders of templates that are needed beside those that every corpus needs;
    `trajectory_file` is read where `more` has `dialogue`.
    """

    folder: Path
    template_set: str
    anchor_file: AnchorFile
    topic_file: TopicFile
    rules: RuleFile
    more: tuple[str, ...] = ()
    trajectory_file: TrajectoryFile | None = None
    speaker_file: SpeakerFile | None = None

    @property
    def speakers(self) -> tuple[Speaker, ...]:
        """Everyone who may be cast, in file order; nobody where the recipe casts nobody."""
        return self.speaker_file.speakers if self.speaker_file else ()

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Every anchor of the folder, in file order."""
        return self.anchor_file.anchors

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of the folder, in file order."""
        return self.topic_file.topics

    def aliases_of(self, anchor: Anchor) -> tuple[str, ...]:
        """Labels of other datasets that stand for an anchor."""
        return tuple(
            label for label, name in self.anchor_file.aliases.items() if name == anchor.name
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of every file that shapes a prompt."""
        digest = hashlib.sha256()
        for path in self._files():
            content = path.read_bytes()
            name = path.relative_to(self.folder).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape"))
            digest.update(content)
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        templates = self.folder / "templates" / self.template_set
        more = (path for name in self.more for path in (templates / name).glob(f"*{SUFFIX}"))
        unused = {file for name, file in OWN_FILES.items() if name not in self.more}
        files = (path for path in self.folder.glob("*.yaml") if path.name not in unused)
        return sorted([*files, *templates.glob(f"*{SUFFIX}"), *more])

    @cached_property
    def _templates(self) -> Templates:
        return Templates(self.folder / "templates" / self.template_set)

    def render(self, template: str, values: Mapping[str, object]) -> list[Message]:
        """The chat messages of one template.

        Raises:
            InvalidInput: the template is missing, does not parse, or names an unknown value.
        """
        return self._templates.render(template, values)

    def with_profile(self, messages: list[Message], speaker: Speaker) -> list[Message]:
        """What asks for a query, with who will say it, where the templates have a profile."""
        if not self._templates.path(PROFILE).is_file():
            return messages
        said = self.render(PROFILE, {"speaker": speaker})[-1]["content"]
        *before, last = messages
        return [*before, last | {"content": f"{last['content']}\n\n{said}"}]

    def emotional_query(self, anchor: Anchor, topic: str) -> list[Message]:
        """Asks for a query spoken in the anchor's emotion about a topic."""
        return self.render("emotional_query", {"anchor": anchor, "topic": topic})

    def neutral_query(self, topic: str) -> list[Message]:
        """Asks for an unemotional query about a topic."""
        neutral = self.anchor_file.neutral_query
        return self.render("neutral_query", {"neutral": neutral, "topic": topic})

    def emotional_response(self, anchor: Anchor, query: str) -> list[Message]:
        """Asks for a response to a query that was spoken in the anchor's emotion."""
        return self.render("emotional_response", {"anchor": anchor, "query": query})

    def neutral_response(self, anchor: Anchor, query: str) -> list[Message]:
        """Asks for a response to a neutral query, given that the user feels as the anchor does."""
        return self.render("neutral_response", {"anchor": anchor, "query": query})

    def judge(
        self,
        anchor: Anchor,
        query: str,
        response: str,
        *,
        in_words: bool,
        said: Sequence[object] = (),
    ) -> list[Message]:
        """Asks for grades of a pair.

        Args:
            anchor: what the response is suited to.
            query: its words.
            response: likewise.
            in_words: whether the query's words show the feeling.
            said: what was said before, in a dialogue, which has a template of its own for that.
        """
        values = {"anchor": anchor, "query": query, "response": response, "in_words": in_words}
        return (
            self.render("dialogue/judge", values | {"said": said})
            if said
            else self.render("judge", values)
        )

    def empathy(
        self,
        anchor: Anchor,
        query: str,
        response: str,
        *,
        in_words: bool,
        said: Sequence[Any] = (),
    ) -> list[Message]:
        """Asks why a pair is said: scenario, cause and goal.

        Args:
            anchor: what the response is suited to.
            query: of the pair.
            response: of the pair.
            in_words: whether the query's words show the feeling.
            said: exchanges before, each with a `query` and a `response`.
        """
        values = {"anchor": anchor, "query": query, "response": response, "in_words": in_words}
        return self.render(f"{ANNOTATE}/empathy", values | {"said": said})


def read_anchors(folder: Path) -> AnchorFile:
    """The anchors of a prompts folder, without its other files.

    Raises:
        InvalidInput: the file is missing, or a field of it is missing, unknown or out of range.
    """
    return _read(folder / "anchors.yaml", AnchorFile)


def template_sets(folder: Path) -> list[str]:
    """Names of the template sets a prompts folder offers."""
    return sorted(path.name for path in (folder / "templates").glob("*") if path.is_dir())


def load_prompts(folder: Path, template_set: str, more: tuple[str, ...] = ()) -> Prompts:
    """Reads a prompts folder and renders every template for every anchor, and for every topic.

    Args:
        folder: the prompts folder.
        template_set: for which kind of model.
        more: folders of templates of the set that are needed too; they are not rendered here.

    Raises:
        InvalidInput: a file is missing, a field is missing, unknown or out of range, two anchors
            are alike, or a template does not render.
    """
    shown = one_line(str(folder), LONGEST_SAID)
    try:
        there = folder.is_dir()
    except OSError as error:
        raise InvalidInput(f"Prompts folder {shown} cannot be read: {error.strerror}.") from None
    if not there:
        raise InvalidInput(f"Prompts folder {shown} does not exist.")
    sets = template_sets(folder)
    if template_set not in sets:
        raise InvalidInput(
            f"{folder}/templates has no set '{one_line(template_set)}'; it has "
            f"{', '.join(sets) or 'none'}."
        )
    prompts = Prompts(
        folder=folder,
        template_set=template_set,
        anchor_file=_read(folder / "anchors.yaml", AnchorFile),
        topic_file=_read(folder / "topics.yaml", TopicFile),
        rules=_read(folder / "rules.yaml", RuleFile),
        more=more,
        trajectory_file=(
            _read(folder / OWN_FILES["dialogue"], TrajectoryFile) if "dialogue" in more else None
        ),
        speaker_file=_read(folder / OWN_FILES[CAST], SpeakerFile) if CAST in more else None,
    )
    _render_all(prompts)
    return prompts


def _render_all(prompts: Prompts) -> None:
    """Renders every template as a build will: for every anchor, and for every topic."""
    first, query = prompts.anchors[0], "What should I cook tonight?"
    for topic in prompts.topics:
        prompts.neutral_query(topic)
        prompts.emotional_query(first, topic)
    for anchor in prompts.anchors:
        prompts.emotional_query(anchor, prompts.topics[0])
        prompts.emotional_response(anchor, query)
        prompts.neutral_response(anchor, query)
        for in_words in (True, False):
            prompts.judge(anchor, query, "Something that is quickly done.", in_words=in_words)
            if ANNOTATE in prompts.more:
                prompts.empathy(anchor, query, "Something quickly done.", in_words=in_words)
