"""How quick a review of 18,000 pairs is for who reviews it, and what memory its server takes.

The tables are those of a whole run in which almost all has been reviewed; its clips are not there,
for a step waits for none. Writes review.json beside this file.
"""

import json
import os
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import httpx
import psutil

from corpus.plan.blueprint import Blueprint
from corpus.review.pairs import pairs_to_review
from corpus.review.verdicts import Reviews, Verdict, now
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import write_table
from schemas.tables import CLIPS, QUERIES, RESPONSES
from tests.support.browser import browser_at
from tests.support.line import SYMPATHEIA

REVIEWED = 17_000
STEPS = 20
PORT = 8_997
WORDS = "I have been waiting here for an hour and nobody tells me anything at all."
RESULT = Path(__file__).with_suffix(".json")


def digest(*parts: str) -> str:
    """One that stands for a text or a clip."""
    return sha256("/".join(parts).encode()).hexdigest()


def write_run(root: Path) -> RunFolder:
    """The tables and the verdicts of a run of the published size."""
    run = RunFolder(root)
    plan = run.adopt(Blueprint.named("sympatheia-18k")).plan
    text = {"attempt": 0, "text": WORDS, "topic": "waiting"}
    queries = [
        {"query_id": q.id, "subset": q.subset, "split": q.split, "emotion": q.emotion, **text}
        | {"digest": digest("query", q.id)}
        for q in plan.queries()
    ]
    responses = [
        {"id": p.id, "query_id": p.query.id, "emotion": p.anchor, "attempt": 0, "text": WORDS}
        | {"digest": digest("response", p.id)}
        for p in plan.pairs()
    ]
    clips = [
        {"id": row[key], "role": role, "attempt": 0, "digest": digest(role, "clip", row[key])}
        for role, key, rows in (("query", "query_id", queries), ("response", "id", responses))
        for row in rows
    ]
    write_table(run.queries, QUERIES, queries)
    write_table(run.responses, RESPONSES, responses)
    write_table(run.clips, CLIPS, clips)
    Reviews(run.reviews).add(
        Verdict(id=p.id, role=role, digest=of, reviewer="ada", verdict="keep", at=now())
        for p in pairs_to_review(run)[:REVIEWED]
        for role, of in p.digests.items()
    )
    return run


def step(client: httpx.Client, place: int) -> tuple[float, int]:
    """The seconds from a verdict to the next pair, and its place."""
    who = {"reviewer": "ada"}
    shown = client.get(f"/api/pairs/{place}", params=who).json()
    parts = [{"role": p["role"], "digest": p["digest"], "verdict": "keep"} for p in shown["parts"]]
    begun = time.perf_counter()
    said = client.post("/api/verdicts", json={"id": shown["id"], "parts": parts, **who}).json()
    client.get(f"/api/pairs/{said['next']}", params=who).raise_for_status()
    return time.perf_counter() - begun, said["next"]


def measure(run: RunFolder) -> dict[str, object]:
    """What a reviewer waits for, in seconds, and the memory of the server."""
    command = [SYMPATHEIA, "review", run.root, "--reviewer", "ada", "--port", str(PORT)]
    begun = time.perf_counter()
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        while not server.stderr.readline().startswith("Ready"):
            assert server.poll() is None
        started = time.perf_counter() - begun
        with browser_at(f"http://127.0.0.1:{PORT}/") as opened:
            waited = time.perf_counter()
            opened.page.wait_for_selector("body[data-ready]")
            page = opened.load_seconds + time.perf_counter() - waited
        seconds, place = [], REVIEWED
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}") as client:
            for _ in range(STEPS):
                took, place = step(client, place)
                seconds.append(took)
        megabytes = psutil.Process(server.pid).memory_info().rss / 2**20
    finally:
        server.terminate()
        server.wait()
    return {
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}",
        "pairs": 18_000,
        "reviewed": REVIEWED,
        "server_starts_seconds": round(started, 1),
        "page_opens_seconds": round(page, 2),
        "step_seconds": {
            "median": round(sorted(seconds)[STEPS // 2], 3),
            "most": round(max(seconds), 3),
        },
        "server_megabytes": round(megabytes),
    }


def main() -> None:
    """Measures, prints it and writes it down."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(write_run(Path(folder) / "run"))
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
