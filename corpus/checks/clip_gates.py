"""Gates about the clips of a dataset folder, each decoded and measured anew on every core."""

from collections.abc import Iterable, Mapping
from statistics import median

from corpus.checks.gates import (
    ENDS_TOLERANCE,
    FASTEST_MEDIAN,
    LOUDNESS_TOLERANCE,
    PEAK_TOLERANCE,
    SECONDS_TOLERANCE,
    SLOWEST_MEDIAN,
)
from corpus.checks.inspection import CLIPS, Inspection
from corpus.checks.measured_clips import measured_clips
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.plan.subsets.subset import Manner
from corpus.sound.clip_audio import HIGHEST_PEAK, MARGIN_SECONDS
from corpus.sound.clip_rejection_rules import CLIP_RULES, HeardClip, clip_rules, judge
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.voices.affect_to_prosody import style_loudness
from schemas.recipe import RuleSetting
from schemas.slots import PairSlot


def check_clips(look: Inspection) -> None:
    """Every clip is one that a run would accept, as loud and as long as it should be, and its own.

    Raises:
        SympatheiaError: a process died, for want of memory perhaps.
    """
    dataset, gates = look.dataset, look.gates
    gates.open("clip", "clip_seconds", "clip_loudness", "clip_ends", "clip_twice")
    gates.open("query_clip_not_shared")
    rules = clip_rules(_of_finished(dataset.blueprint.recipe.speech.rules))
    texts: dict[str, str] = {}
    of_query: dict[str, str] = {}
    rates: list[float] = []
    for clip in measured_clips(look, (QUERY, RESPONSE)):
        slot = dataset.slots.get(clip.row_id)
        if slot is None:
            continue
        look.progress.filled(CLIPS, slot.query.subset)
        name, measures = f"{clip.row_id}, {clip.role}", clip.measures
        reason = judge(rules, HeardClip(measures, clip.words)).reason
        if reason:
            gates.offend("clip", f"{name}: {reason}")
        if not abs(clip.said_seconds - measures.seconds) <= SECONDS_TOLERANCE:  # what is no number
            gates.offend(
                "clip_seconds", f"{name}: {measures.seconds:.2f} s, not {clip.said_seconds:.2f}"
            )
        targets = _loudness_of(dataset, slot, clip.role)
        target = min(targets, key=lambda one: abs(one - measures.loudness))
        held_back = measures.peak >= HIGHEST_PEAK - PEAK_TOLERANCE
        too_soft = measures.loudness < target - LOUDNESS_TOLERANCE and not held_back
        if too_soft or measures.loudness > target + LOUDNESS_TOLERANCE:
            gates.offend("clip_loudness", f"{name}: {measures.loudness:.1f} LUFS, not {target:.1f}")
        silence = max(measures.leading_silence, measures.trailing_silence)
        if silence > MARGIN_SECONDS + ENDS_TOLERANCE:
            gates.offend("clip_ends", f"{name}: {silence:.2f} s of silence")
        if texts.setdefault(clip.digest, clip.text_digest) != clip.text_digest:
            gates.offend("clip_twice", f"{name}: another text has the same clip")
        if clip.role == QUERY and of_query.setdefault(slot.query.id, clip.digest) != clip.digest:
            gates.offend("query_clip_not_shared", name)
        if measures.seconds > 0:
            rates.append(clip.words / measures.seconds)
    middle = median(rates) if rates else 0.0
    off = max(SLOWEST_MEDIAN - middle, middle - FASTEST_MEDIAN, 0.0)
    gates.measure("words_per_second_off", off, f"the median is {middle:.2f}")


def _of_finished(settings: Mapping[str, RuleSetting]) -> dict[str, RuleSetting]:
    """What a recipe says of rules, for clips that have their style's loudness by now.

    How loud they came is not known any more: a limit above the rule's own would refuse what the
    run kept.
    """
    said = settings.get("silent")
    own = next(rule.limit for rule in CLIP_RULES if rule.name == "silent")
    if isinstance(said, float) and own is not None:
        return dict(settings) | {"silent": min(said, own)}
    return dict(settings)


def _loudness_of(dataset: DatasetFolder, slot: PairSlot, role: str) -> list[float]:
    """The loudness that a clip is to have, LUFS; several where what was heard before decides."""
    blueprint, plain = dataset.blueprint, dataset.manifest.voice.loudness
    manners: Iterable[Manner] = (blueprint.query_manner(slot.query),)
    if role == RESPONSE:
        manners = blueprint.room(slot).response_manners(slot)
    points = (manner.point for manner in manners)
    return [style_loudness(plain, point.valence, point.arousal) for point in points]
