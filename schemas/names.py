"""Names that the command line needs before anything else is imported."""

from typing import Literal, get_args

Stage = Literal["plan", "queries", "responses", "speech", "shards"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""What a build goes through, and where it can be told to end."""

EVALUATION, EVALUATION_PAGE = "evaluation.json", "evaluation.html"
"""What an evaluation leaves beside the files of a run, a dataset or responses."""

TEMPERATURE, TOP_P, MOST_NEW_TOKENS = 0.2, 0.8, 2000
"""How the published scripts draw the tokens of a response, and where they cut it off."""

DEPLOYMENT = "sympatheia"
"""What every deployment is called, beside the name of its flow, and the work pool of them all."""

TAG = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What a tag of a repository may be called here: less than git allows, and no branch's path."""
