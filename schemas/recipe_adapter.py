"""The recipe's section `adapter`: how the adapter is trained on the finished corpus."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from schemas.recipe_values import Positive, Section, Share


class Adapter(Section):
    """How the adapter is trained; the defaults are the published ones but for `packing`."""

    r: Annotated[Positive, Field(description="Rank of the LoRA matrices.")] = 32
    alpha: Annotated[
        Positive, Field(description="Scale of the adapter: its output is multiplied by alpha / r.")
    ] = 32
    dropout: Annotated[
        StrictFloat, Field(ge=0.0, lt=1.0, description="Dropout before the LoRA matrices.")
    ] = 0.1
    target_modules: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="Linear layers of the base that get an adapter, by name."),
    ] = (
        "query_key_value",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
    )
    learning_rate: Annotated[
        StrictFloat, Field(gt=0.0, description="Highest learning rate, after the warm-up.")
    ] = 1e-4
    weight_decay: Annotated[StrictFloat, Field(ge=0.0, description="Weight decay of AdamW.")] = 0.01
    max_grad_norm: Annotated[
        StrictFloat, Field(gt=0.0, description="Norm to which gradients are clipped.")
    ] = 1.0
    epochs: Annotated[StrictFloat, Field(gt=0.0, description="Passes over the train split.")] = 5.0
    max_steps: Annotated[
        StrictInt,
        Field(ge=0, description="Optimizer steps after which training ends; 0: no limit."),
    ] = 0
    max_length: Annotated[
        StrictInt,
        Field(
            ge=16,
            description="Tokens of the longest sequence that is trained on; longer ones are left "
            "out whole, counted and named.",
        ),
    ] = 2048
    warmup_steps: Annotated[
        StrictInt, Field(ge=0, description="Optimizer steps in which the learning rate rises.")
    ] = 50
    batch_size: Annotated[Positive, Field(description="Rows in a batch, on each GPU.")] = 1
    gradient_accumulation_steps: Annotated[
        Positive, Field(description="Batches whose gradients make one optimizer step, on each GPU.")
    ] = 4
    packing: Annotated[
        StrictBool,
        Field(description="Whether several sequences share a row, none seeing another."),
    ] = True
    packing_length: Annotated[
        StrictInt,
        Field(ge=16, description="Tokens in a packed row; at least adapter.max_length."),
    ] = 2048
    loss: Annotated[
        Literal["sequence", "response"],
        Field(
            description="Where the loss is taken: over the whole sequence, as published, or over "
            "the response alone."
        ),
    ] = "sequence"
    weighting: Annotated[
        Literal["token", "sample"],
        Field(
            description="What weighs the same in the loss: every token, or, as published, "
            "every sample."
        ),
    ] = "sample"
    save_steps: Annotated[
        Positive,
        Field(
            description="Optimizer steps between checkpoints; a multiple of adapter.eval_steps, so "
            "that the best one is on file."
        ),
    ] = 200
    eval_steps: Annotated[
        Positive, Field(description="Optimizer steps between evaluations on the eval split.")
    ] = 200
    affect_dropout: Annotated[
        Share,
        Field(
            description="Share of the emotional subset's sequences that say 'User emotion N/A' in "
            "place of the coordinates; read by encode, not by train."
        ),
    ] = 1 / 3
    gradient_checkpointing: Annotated[
        StrictBool, Field(description="Whether activations are computed twice to save memory.")
    ] = False
    attention: Annotated[
        Literal["sdpa", "eager", "flash_attention_2", "flex_attention"],
        Field(description="Implementation of attention, by its name in transformers."),
    ] = "sdpa"
    peak_tflops: Annotated[
        StrictFloat,
        Field(
            ge=0.0,
            description="Peak bf16 TFLOP/s of one GPU, for the share that is used to be reported; "
            "0: unknown.",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> "Adapter":
        if self.save_steps % self.eval_steps:
            raise ValueError("adapter.save_steps has to be a multiple of adapter.eval_steps")
        if self.packing and self.packing_length < self.max_length:
            raise ValueError("adapter.packing_length may not be below adapter.max_length")
        return self
