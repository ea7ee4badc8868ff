"""What other projects do with the same work; run by `client.py` and `near_duplicates.py`.

It runs in an environment of its own (`make peers`) and imports nothing of ours:

    python peers.py chat curator|distilabel URL COUNT IN_FLIGHT
    python peers.py duplicates faiss|semhash VECTORS.npy THRESHOLD

and prints one line of JSON. Requests are prepared and the client is warm before the clock starts.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROMPT = "You are a person who talks to a voice assistant about everyday matters. " * 20
"""As in `client.py`."""


def cpu_seconds() -> float:
    """Of this process and those it waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def timed(act: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What an act returns, and its seconds."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = act()
    return result, {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}


def prompts(count: int, kind: str) -> list[str]:
    """Prompts of which no two are alike, so that no cache answers."""
    return [f"{PROMPT} Topic {kind} {n}." for n in range(count)]


def curator(url: str, in_flight: int) -> Callable[[list[str]], int]:
    """bespokelabs-curator's online requests, its limits out of the way."""
    os.environ |= {
        "TELEMETRY_ENABLED": "0",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "CURATOR_DISABLE_CACHE": "1",
        "CURATOR_CACHE_DIR": tempfile.mkdtemp(),
        "OPENAI_API_KEY": "none",
    }
    # It counts tokens by a vocabulary that it would fetch; its own dependency has it bundled.
    litellm = Path(find_spec("litellm").submodule_search_locations[0])
    os.environ["TIKTOKEN_CACHE_DIR"] = str(litellm / "litellm_core_utils" / "tokenizers")
    from bespokelabs import curator as package

    llm = package.LLM(
        model_name="fake",
        backend="openai",
        backend_params={
            "base_url": url,
            "max_concurrent_requests": in_flight,
            "max_requests_per_minute": 10**7,
            "max_tokens_per_minute": 10**10,
            "max_retries": 0,
        },
        generation_params={"temperature": 0.85, "top_p": 0.95, "max_tokens": 128},
    )
    return lambda texts: len(llm(texts).dataset)


def distilabel(url: str, in_flight: int) -> Callable[[list[str]], int]:
    """The OpenAI client of distilabel, in batches of what may be in flight, as its steps do."""
    from distilabel.models.llms import OpenAILLM

    llm = OpenAILLM(
        model="fake",
        base_url=url,
        api_key="none",
        generation_kwargs={"temperature": 0.85, "top_p": 0.95, "max_new_tokens": 128},
    )
    llm.load()

    def send(texts: list[str]) -> int:
        answered = 0
        for start in range(0, len(texts), in_flight):
            inputs = [[{"role": "user", "content": t}] for t in texts[start : start + in_flight]]
            answered += len(llm.generate_outputs(inputs=inputs, **llm.generation_kwargs))
        return answered

    return send


def chat(name: str, url: str, count: int, in_flight: int) -> dict[str, Any]:
    """Sends requests with one of the clients."""
    send = {"curator": curator, "distilabel": distilabel}[name](url, in_flight)
    send(prompts(in_flight, "warm"))
    answered, seconds = timed(lambda: send(prompts(count, "measured")))
    return {"answered": answered, **seconds}


def faiss_flat(vectors: Any, threshold: float) -> int:  # noqa: ANN401 (numpy is not ours here)
    """The exact greedy on faiss' flat index, in blocks."""
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 256):
        block = vectors[start : start + 256]
        within = block @ block.T
        top = index.search(block, 1)[0][:, 0] if index.ntotal else np.full(len(block), -1.0)
        kept: list[int] = []
        for place in range(len(block)):
            if max(top[place], within[place, kept].max(initial=-1.0)) <= threshold:
                kept.append(place)
        index.add(block[kept])
    return int(index.ntotal)


def semhash(vectors: Any, threshold: float) -> int:  # noqa: ANN401
    """SemHash as it comes, its approximate index included, on vectors made beforehand."""
    import numpy as np
    from semhash import SemHash

    class Given:
        """An encoder that looks its texts up."""

        def encode(self, inputs: Any, **_: Any) -> Any:  # noqa: ANN401
            return np.stack([vectors[int(text)] for text in inputs])

    records = [str(number) for number in range(len(vectors))]
    hashed = SemHash.from_records(records=records, model=Given())
    return len(hashed.self_deduplicate(threshold=threshold).selected)


def duplicates(name: str, path: str, threshold: float) -> dict[str, Any]:
    """Drops near-duplicates with one of the libraries."""
    import numpy as np

    vectors = np.load(path)
    way = {"faiss": faiss_flat, "semhash": semhash}[name]
    way(vectors[:500], threshold)
    accepted, seconds = timed(lambda: way(vectors, threshold))
    return {"accepted": accepted, **seconds}


def main(arguments: list[str]) -> None:
    """Runs what the arguments say."""
    match arguments:
        case ["chat", name, url, count, in_flight]:
            found = chat(name, url, int(count), int(in_flight))
        case ["duplicates", name, path, threshold]:
            found = duplicates(name, path, float(threshold))
        case _:
            raise SystemExit(__doc__)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
