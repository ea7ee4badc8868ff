"""Orders: what a flow is asked to do. The command line fills one in, and so does Prefect's form.

Prefect shows the descriptions and defaults, and refuses what does not fit before a run is made.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.names import DEPLOYMENT, MOST_NEW_TOKENS, STAGES, TAG, TEMPERATURE, TOP_P, Stage
from schemas.slots import Split

ADAPTER_DEPLOYMENT = f"adapter/{DEPLOYMENT}"
RESPONSES_DEPLOYMENT = f"responses/{DEPLOYMENT}"


def _some_path(value: object) -> object:
    if isinstance(value, str) and not value.strip():  # which would be the present folder
        raise ValueError("no path is given; name one, or leave it out")
    return value


SomePath = Annotated[Path, BeforeValidator(_some_path)]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Order):
    """How an adapter is trained, whatever the corpus."""

    base: Annotated[str, Field(description="The base model: a folder, or THUDM/glm-4-voice-9b.")]
    speech_tokenizer: Annotated[
        str | None,
        Field(
            description="Encodes the clips first: a folder, or THUDM/glm-4-voice-tokenizer. "
            "With none, the run's sequences are there already."
        ),
    ] = None
    overrides: Annotated[
        tuple[str, ...], Field(description="Keys of adapter.* to override: KEY=VALUE.")
    ] = ()
    processes: Annotated[
        int | None,
        Field(ge=1, description="One for each GPU; as many as there are if not given."),
    ] = None
    deepspeed: Annotated[SomePath | None, Field(description="A DeepSpeed configuration.")] = None


class Answering(_Order):
    """How a system answers the queries of a corpus, whatever the adapter."""

    base: Annotated[str, Field(description="The base model: a folder, or THUDM/glm-4-voice-9b.")]
    speech_tokenizer: Annotated[
        str, Field(description="What hears: a folder, or THUDM/glm-4-voice-tokenizer.")
    ]
    decoder: Annotated[
        str, Field(description="What speaks: a folder, or THUDM/glm-4-voice-decoder.")
    ]
    conditions: Annotated[
        tuple[Literal["affect", "none", "bare"], ...],
        Field(description="What the model is told of feelings; affect alone if not given."),
    ] = ()
    noise: Annotated[
        tuple[float, ...],
        Field(description="Standard deviations of noise on the point, a condition each."),
    ] = ()
    scales: Annotated[
        tuple[float, ...],
        Field(description="What the point is multiplied with, a condition each: 0 to below 1."),
    ] = ()
    split: Annotated[Split, Field(description="Whose queries are answered.")] = "eval"
    limit: Annotated[
        int | None, Field(ge=1, description="Most pairs of the corpus, evenly spread; all if none.")
    ] = None
    seed: Annotated[int, Field(ge=0, description="Of what is drawn and of the noise.")] = 0
    temperature: Annotated[
        float, Field(ge=0.0, le=2.0, description="0 takes the likeliest token each time.")
    ] = TEMPERATURE
    top_p: Annotated[
        float, Field(gt=0.0, le=1.0, description="Share of the probability that is drawn from.")
    ] = TOP_P
    max_new_tokens: Annotated[
        int, Field(ge=1, le=8192, description="Where a response is cut off.")
    ] = MOST_NEW_TOKENS
    endpoints: Annotated[
        tuple[str, ...],
        Field(description="vLLM servers that write, as http://host:8000/v1; else this machine."),
    ] = ()
    served_model: Annotated[
        str | None, Field(description="What they call the model, if they have several.")
    ] = None
    batch: Annotated[
        int | None,
        Field(ge=1, description="Responses written together: 32 on a GPU, 1 on a CPU by default."),
    ] = None
    device: Annotated[
        str | None, Field(description="cpu, or cuda:0; the first GPU, or the CPU, if not given.")
    ] = None


class ResponsesOrder(Answering):
    """The queries of a corpus, to be answered by a base model with an adapter or without."""

    corpus: Annotated[SomePath, Field(description="A run folder, or a dataset folder.")]
    output: Annotated[
        SomePath, Field(description="The responses folder; continued if it is there.")
    ]
    adapter: Annotated[
        str | None, Field(description="What was trained: a folder, or a name on the Hub.")
    ] = None


class ResponsesAfter(Answering):
    """Responses of an adapter that has been trained, to the queries of its corpus."""

    output: Annotated[
        SomePath | None, Field(description="The responses folder; RUN_DIR/responses if not given.")
    ] = None
    deployment: Annotated[
        str,
        Field(
            pattern=r"^[^/]+/[^/]+$",
            description="The deployment to run. Its work pool says on which machines.",
        ),
    ] = RESPONSES_DEPLOYMENT


class AdapterOrder(Training):
    """An adapter, to be trained on the corpus of a run."""

    run_dir: Annotated[SomePath, Field(description="The run folder, on the machine of the worker.")]
    output: Annotated[
        SomePath | None, Field(description="Where the adapter goes; RUN_DIR/adapter if not given.")
    ] = None
    then_respond: Annotated[
        ResponsesAfter | None,
        Field(description="Have it answer the corpus's queries once it is trained."),
    ] = None


class TrainingAfter(Training):
    """A training that starts when a corpus has passed its checks."""

    deployment: Annotated[
        str,
        Field(
            pattern=r"^[^/]+/[^/]+$",
            description="The deployment to run. Its work pool says on which machines.",
        ),
    ] = ADAPTER_DEPLOYMENT


class ReviewFirst(_Order):
    """What people are to have reviewed before a corpus is packed."""

    required: Annotated[
        float,
        Field(
            gt=0.0,
            le=1.0,
            description="Share of each cell's pairs of which people must have judged every part.",
        ),
    ]
    wait: Annotated[
        bool,
        Field(description="Have the run wait for it, paused; else it fails, and can be continued."),
    ] = True
    days: Annotated[
        float, Field(gt=0.0, le=365.0, description="How long it waits, and fails then.")
    ] = 30.0


class CorpusOrder(_Order):
    """A corpus, to be built or continued."""

    recipe: Annotated[
        str,
        Field(description="A bundled recipe (demo, sympatheia-18k), or a TOML file on the worker."),
    ] = "demo"
    run_dir: Annotated[
        SomePath | None,
        Field(
            description="Where the run keeps its work, on the machine of the worker; runs/NAME if "
            "not given. The same folder again continues the run."
        ),
    ] = None
    overrides: Annotated[
        tuple[str, ...],
        Field(description="Keys of the recipe to override: KEY=VALUE, dotted KEY, TOML VALUE."),
    ] = ()
    until: Annotated[Stage, Field(description="The last stage.")] = STAGES[-1]
    review: Annotated[
        ReviewFirst | None,
        Field(description="Have people review the clips before the dataset is packed."),
    ] = None
    report: Annotated[bool, Field(description="Write report.html, once there is a dataset.")] = True
    check: Annotated[
        bool,
        Field(description="Have the dataset, once there is one, pass every gate, or fail."),
    ] = True
    then_train: Annotated[
        TrainingAfter | None,
        Field(description="Train an adapter once the dataset has passed every gate."),
    ] = None


class EvaluationOrder(_Order):
    """Systems, to be judged side by side by what they have answered."""

    folders: Annotated[
        tuple[SomePath, ...],
        Field(
            min_length=1,
            description="Runs, dataset folders, responses folders, or folders of WAV files with a "
            "manifest.",
        ),
    ]
    output: Annotated[
        SomePath | None,
        Field(description="Where figures and page go; into the first folder if not given."),
    ] = None
    metrics: Annotated[
        tuple[str, ...], Field(description="The measures, by name; all if none is named.")
    ] = ()
    overrides: Annotated[
        tuple[str, ...],
        Field(description="Keys of evaluation.* or compute.* to override: KEY=VALUE."),
    ] = ()


class PublishOrder(_Order):
    """A corpus or an adapter, to be published on the Hugging Face Hub."""

    folder: Annotated[
        SomePath, Field(description="A run folder, or the dataset or adapter folder itself.")
    ]
    repo_id: Annotated[
        str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", description="The repository: NAMESPACE/NAME.")
    ]
    private: Annotated[
        bool, Field(description="Make the repository private, if it is not there yet.")
    ] = False
    tag: Annotated[
        str | None,
        Field(pattern=f"^{TAG}$", description="A name for this version, as v1.2, that stays its."),
    ] = None
