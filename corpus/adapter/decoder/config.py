"""What a decoder's `config.yaml` or `config.json` says of its networks.

The published file is written for a loader that builds any class it names. Here its tags are read as
the data that stands behind them, and nothing is built: what a network may be is written below.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

import orjson
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from corpus.errors import InvalidInput

PUBLISHED = "THUDM/glm-4-voice-decoder"
"""The checkpoint's name on the Hub."""
FILES = ("config.yaml", "config.json")
"""The first that is there is read."""
_DEPTH = 32
"""More levels than any configuration has: references that go in a circle."""


class _Part(BaseModel):
    """A part of the configuration; keys that only training needs are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class EncoderConfig(_Part):
    """The encoder of the tokens; what is a `Literal` is what the network here can do."""

    input_size: PositiveInt
    output_size: PositiveInt
    attention_heads: PositiveInt
    linear_units: PositiveInt
    num_blocks: PositiveInt
    block_size: PositiveInt
    normalize_before: Literal[True]
    input_layer: Literal["linear"]
    pos_enc_layer_type: Literal["rel_pos_espnet"]
    selfattention_layer_type: Literal["block_rel_selfattn"]
    use_cnn_module: Literal[False]
    macaron_style: Literal[False]

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.output_size % (2 * self.attention_heads):
            raise ValueError(f"{self.attention_heads} heads do not share {self.output_size}")
        return self


class RegulatorConfig(_Part):
    """What stretches tokens to frames."""

    channels: PositiveInt
    sampling_ratios: list[Literal[1]]


class SolverConfig(_Part):
    """How the flow is followed."""

    solver: Literal["euler"]
    t_scheduler: Literal["cosine"]
    inference_cfg_rate: NonNegativeFloat


class EstimatorConfig(_Part):
    """The U-Net that gives the flow's direction."""

    in_channels: PositiveInt
    out_channels: PositiveInt
    channels: tuple[PositiveInt, PositiveInt]
    attention_head_dim: PositiveInt
    num_heads: PositiveInt
    n_blocks: PositiveInt
    num_mid_blocks: PositiveInt
    act_fn: Literal["gelu"]

    @model_validator(mode="after")
    def _both_levels_are_as_wide(self) -> Self:
        if self.channels[0] != self.channels[1] or self.channels[0] % 8:
            raise ValueError("channels are to be two equal numbers, a multiple of 8")
        return self


class MatchingConfig(_Part):
    """The flow matching: its solver and its network."""

    cfm_params: SolverConfig
    estimator: EstimatorConfig


class FlowConfig(_Part):
    """Tokens to mel."""

    input_size: PositiveInt
    output_size: PositiveInt
    spk_embed_dim: PositiveInt
    vocab_size: PositiveInt
    input_frame_rate: PositiveFloat
    encoder: EncoderConfig
    length_regulator: RegulatorConfig
    decoder: MatchingConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        mel = self.output_size
        estimator = self.decoder.estimator
        if self.encoder.input_size != self.input_size:
            raise ValueError("encoder.input_size is to be input_size")
        if self.length_regulator.channels != mel or estimator.out_channels != mel:
            raise ValueError("length_regulator.channels and out_channels are to be output_size")
        if estimator.in_channels != 4 * mel:
            raise ValueError("decoder.estimator.in_channels is to be four times output_size")
        return self


class IstftConfig(_Part):
    """The inverse transform at the vocoder's end."""

    n_fft: PositiveInt
    hop_len: PositiveInt


class PitchConfig(_Part):
    """The network that hears the pitch in a mel."""

    num_class: Literal[1]
    in_channels: PositiveInt
    cond_channels: PositiveInt


class VocoderConfig(_Part):
    """Mel to wave."""

    in_channels: PositiveInt
    base_channels: PositiveInt
    nb_harmonics: PositiveInt
    sampling_rate: PositiveInt
    nsf_alpha: PositiveFloat
    nsf_sigma: PositiveFloat
    nsf_voiced_threshold: NonNegativeFloat
    upsample_rates: list[PositiveInt]
    upsample_kernel_sizes: list[PositiveInt]
    istft_params: IstftConfig
    resblock_kernel_sizes: list[PositiveInt]
    resblock_dilation_sizes: list[list[PositiveInt]]
    source_resblock_kernel_sizes: list[PositiveInt]
    source_resblock_dilation_sizes: list[list[PositiveInt]]
    lrelu_slope: PositiveFloat
    audio_limit: PositiveFloat
    f0_predictor: PitchConfig

    @model_validator(mode="after")
    def _lists_are_as_long(self) -> Self:
        stages = len(self.upsample_rates)
        if not stages or self.base_channels % 2**stages:
            raise ValueError(f"base_channels cannot be halved {stages} times")
        of_stages = (
            self.upsample_kernel_sizes,
            self.source_resblock_kernel_sizes,
            self.source_resblock_dilation_sizes,
        )
        if any(len(sizes) != stages for sizes in of_stages):
            raise ValueError("lists of what each of upsample_rates has are not as long as it")
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError("resblock_kernel_sizes and resblock_dilation_sizes are not as long")
        return self


class DecoderConfig(_Part):
    """Both networks."""

    flow: FlowConfig
    hift: VocoderConfig

    @model_validator(mode="after")
    def _one_kind_of_mel(self) -> Self:
        bins = {self.flow.output_size, self.hift.in_channels, self.hift.f0_predictor.in_channels}
        if len(bins) > 1:
            raise ValueError("flow.output_size, hift.in_channels and its f0_predictor's differ")
        return self


class _Reference(str):
    """What `!ref` says."""


class _Loader(yaml.SafeLoader):
    """Reads a tagged value as the value: no class is looked up, nothing is called."""


def _untagged(loader: _Loader, tag: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    text = str(loader.construct_scalar(node))  # type: ignore[arg-type]  # the third kind there is
    return _Reference(text) if tag == "ref" else text


_Loader.add_multi_constructor("!", _untagged)


def read_config(folder: Path) -> tuple[DecoderConfig, Path]:
    """The configuration of a decoder, and the file that it stands in.

    Raises:
        InvalidInput: There is none, or it describes another kind of decoder.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise InvalidInput(
            f"{folder} holds no speech decoder: it has no {' or '.join(FILES)}. Give the folder of "
            f"{PUBLISHED}, with its flow.pt and hift.pt."
        )
    try:
        if path.suffix == ".json":
            data = orjson.loads(path.read_bytes())
        else:
            # The loader is a safe one with one more reading: of tags, as data.
            data = yaml.load(path.read_text("utf-8"), _Loader)
        if not isinstance(data, dict):
            raise ValueError("it holds no keys")
        parts = {key: _resolved(data[key], data) for key in ("flow", "hift") if key in data}
        return DecoderConfig.model_validate(parts), path
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInput(
            f"{path} describes no speech decoder of this kind: {_reason(error)} Give the folder of "
            f"{PUBLISHED}, or one like it."
        ) from error


def _resolved(value: Any, root: dict[str, Any], depth: int = 0) -> Any:  # noqa: ANN401
    """A value with what it refers to in the place of each reference."""
    if depth > _DEPTH:
        raise ValueError("something in it refers back to itself")
    if isinstance(value, _Reference):
        return _resolved(_referred(value, root), root, depth + 1)
    if isinstance(value, list):
        return [_resolved(item, root, depth + 1) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"content"}:  # a wrapper of the published file's
            return _resolved(value["content"], root, depth + 1)
        return {key: _resolved(item, root, depth + 1) for key, item in value.items()}
    return value


def _referred(reference: _Reference, root: dict[str, Any]) -> object:
    """What `<key>` or `<key[key]>` refers to; anything else stays the text that it is."""
    found: Any = root
    for key in re.findall(r"\w+", reference):
        found = found.get(key) if isinstance(found, dict) else None
    known = re.fullmatch(r"<\w+(\[\w+\])*>", reference) and found is not None
    return found if known else str(reference)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        given = f", not {first['input']!r}" if isinstance(first["input"], (str, int, float)) else ""
        return f"{place}: {first['msg']}{given}."
    return f"{' '.join(str(error).split())[:300]}."
