"""A server that completes prompts of token ids as vLLM does, with our own model behind it."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from corpus.adapter.inference.language_model import LanguageModel, Sampling


class CompletionsServer:
    """Answers at `/v1/completions`; while `trouble` has something, it answers that instead."""

    def __init__(self, models: dict[str, LanguageModel]) -> None:
        self.bodies: list[dict] = []
        self.trouble: deque[tuple[int, bytes]] = deque()
        at_work = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                listed = [{"id": name, "object": "model"} for name in models]
                self.reply(200, json.dumps({"object": "list", "data": listed}).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with at_work:
                    owner.bodies.append(body)
                    if owner.trouble:
                        self.reply(*owner.trouble.popleft())
                        return
                    ids = completed(models[body["model"]], body)
                ended = ids[-1] in body["stop_token_ids"]
                choice = {"text": "", "finish_reason": "stop" if ended else "length"}
                choice |= {"token_ids": ids, "stop_reason": ids[-1] if ended else None}
                self.reply(200, json.dumps({"choices": [choice]}).encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "CompletionsServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def completed(model: LanguageModel, body: dict) -> list[int]:
    """What the model writes after a prompt of ids."""
    prompt = model.tokenizer.decode(body["prompt"], skip_special_tokens=False)
    text = prompt.removeprefix("[gMASK]<sop>")
    assert model.tokenizer(text)["input_ids"] == body["prompt"]
    sampling = Sampling(body["temperature"], body["top_p"], body["max_tokens"])
    return model.continued([text], [body["seed"]], sampling)[0]
