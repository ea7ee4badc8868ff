"""Which Python has the vLLM that a run starts for itself."""

import sys
from importlib.util import find_spec
from pathlib import Path

from corpus.errors import InvalidInput

MADE = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
"""The interpreter of the environment that `make setup-vllm` makes, beside this project's own."""


def vllm_python(named: str) -> str:
    """The Python that vLLM is started with.

    Args:
        named: by the recipe; if it names none, that of `make setup-vllm` is taken, or else this
            one, if it has vLLM.

    Raises:
        InvalidInput: none is named, and there is none.
    """
    if named:
        return named
    if MADE.is_file():
        return str(MADE)
    if find_spec("vllm") is not None:
        return sys.executable
    raise InvalidInput(
        f"llm.vllm.start: there is no vLLM, neither at {MADE} nor beside this Python. Run 'make "
        "setup-vllm' in the project, or name the Python that has it in llm.vllm.python."
    )
