"""What other projects do with the same work; run by `client.py` and `near_duplicates.py`.

`ask` runs this file in an environment of theirs (`make peers`), so it imports nothing of ours:

    python peers.py chat curator|distilabel URL COUNT IN_FLIGHT
    python peers.py duplicates faiss|semhash VECTORS.npy THRESHOLD
    python peers.py versions NAME

and prints one line of JSON. Prompts are made and the client is warm before the clock starts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / ".venv-peers"
INSTALLED = (FOLDER / ".ready").exists()
MISSING = "not installed (make peers)"
PACKAGES = {
    "curator": ("bespokelabs-curator", "aiohttp"),
    "distilabel": ("distilabel", "openai"),
    "faiss": ("faiss-cpu",),
    "semhash": ("semhash", "usearch"),
}
"""By peer, what decides how fast it is."""
# About as long as the prompts of the corpus.
PROMPT = "You are a person who talks to a voice assistant about everyday matters. " * 20


def ask(*arguments: object, timeout: float | None = None) -> dict[str, Any]:
    """Runs this file in the environment of a peer.

    Args:
        *arguments: As in the head of this file; the second names the peer.
        timeout: Seconds until it is given up.

    Returns:
        What it printed.

    Raises:
        subprocess.TimeoutExpired: If it is given up.
        SystemExit: If it fails; its last words go along.
    """
    # curator holds the openai client back at a release that takes several times as much CPU.
    folder = FOLDER / "distilabel" if arguments[1] == "distilabel" else FOLDER
    command = [folder / "bin" / "python", __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def versions(names: Iterable[str]) -> dict[str, Any] | str:
    """The versions of peers, by name, or that there are none."""
    return {name: ask("versions", name) for name in names} if INSTALLED else MISSING


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
    """bespokelabs-curator's online requests, its limits out of the way.

    It sends one request more, when it is made, to learn of limits from the answer's headers.
    """
    os.environ |= {
        "TELEMETRY_ENABLED": "0",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "CURATOR_DISABLE_CACHE": "1",
        # Else it redraws a progress bar six times per request, even where nobody sees it.
        "TQDM_DISABLE": "1",
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
    """The OpenAI client of distilabel, in batches of what may be in flight.

    So its steps use it: a batch (`input_batch_size`) is sent at once, and the next follows when
    all of it is answered. The pipeline around them, with its processes, is left out.
    """
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
    """Sends requests with one of the clients; `begun` is time.monotonic()."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home  # where curator keeps what it sent, and an identity
        send = {"curator": curator, "distilabel": distilabel}[name](url, in_flight)
        send(prompts(in_flight, "warm"))
        texts = prompts(count, "measured")
        begun = time.monotonic()
        answered, seconds = timed(lambda: send(texts))
    return {"answered": answered, "begun": begun, **seconds}


def faiss_flat(vectors: Any, threshold: float) -> int:  # noqa: ANN401 (numpy is not ours here)
    """The exact greedy on faiss' flat index, in blocks.

    Of 1,024: with 256 queries at once faiss takes several times as long for each.
    """
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 1024):
        block = vectors[start : start + 1024]
        within = block @ block.T
        top = index.search(block, 1)[0][:, 0] if index.ntotal else np.full(len(block), -1.0)
        kept: list[int] = []
        for place in range(len(block)):
            if max(top[place], within[place, :place].max(initial=-1.0)) <= threshold:
                kept.append(place)
            else:
                within[:, place] = -1.0  # later ones are not compared with it
        index.add(block[kept])
    return int(index.ntotal)


def semhash(vectors: Any, threshold: float) -> int:  # noqa: ANN401
    """SemHash as it comes, its approximate index included, on vectors made beforehand."""
    from semhash import SemHash

    records = [str(number) for number in range(len(vectors))]
    # Its encoder is never asked when the vectors are given and nothing new comes.
    hashed = SemHash.from_embeddings(vectors, records, model=None)
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
        case ["versions", name]:
            found = {package: version(package) for package in PACKAGES[name]}
        case _:
            raise SystemExit(__doc__)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
