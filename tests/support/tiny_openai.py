"""A server of OpenAI's wire in one file of the standard library: what a command of the operator's may be.

``python tiny_openai.py --socket PATH --model FILE`` or ``--port N --key K``. It recites words that depend
on prompt and seed, one every few milliseconds, and keeps to its context and slots. As ``vllm`` or
``sglang`` (the name it is called by, or --like) it takes the flags of those servers, no others, and answers
in their words: it plays what was recorded of them.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import random
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any

PACE = 0.004
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "grey",
    "cats",
    "watch",
    "from",
    "some",
    "old",
    "wall",
]
FLAGS = {
    "plain": ["--socket", "--port", "--model", "--key", "--context", "--slots", "--threads", "--name"],
    "vllm": [
        "serve", "model", "--served-model-name", "--uds", "--max-model-len", "--max-num-seqs",
        "--gpu-memory-utilization", "--tensor-parallel-size", "--generation-config",
        "--structured-outputs-config", "--uvicorn-log-level", "--tool-call-parser", "--chat-template",
        "--runner", "?--enable-prompt-tokens-details", "?--enable-auto-tool-choice",
    ],
    "sglang": [
        "serve", "--config", "--model-path", "--served-model-name", "--host", "--port", "--context-length",
        "--max-running-requests", "--mem-fraction-static", "--tp-size", "--grammar-backend",
        "--sampling-defaults", "--log-level", "--tool-call-parser", "--chat-template", "?--is-embedding",
        "?--enable-cache-report",
    ],
}  # fmt: skip
"""Arguments; ``?`` marks flags without a value. Sources: vllm/entrypoints/openai/cli_args.py and
engine/arg_utils.py; docs.sglang.io, Server Arguments."""


class Tiny:
    """What the server knows: how it speaks (``like``), the context, the slots in use."""

    def __init__(self, like: str, given: argparse.Namespace) -> None:
        values = vars(given)
        self.like = like
        self.key = values.get("key") or os.environ.get("TINY_KEY", "")
        if values.get("config"):
            self.key = Path(values["config"]).read_text().partition("api-key: ")[2].strip()
        longest = values.get("context") or values.get("max_model_len") or values.get("context_length") or 4096
        slots = values.get("slots") or values.get("max_num_seqs") or values.get("max_running_requests") or 4
        self.context = int(longest)
        self.slots = threading.Semaphore(int(slots))
        self.name = values.get("served_model_name") or values.get("name") or values.get("model")
        self.ready_at = time.monotonic() + float(os.environ.get("TINY_DELAY", "0"))

    @property
    def ready(self) -> bool:
        return time.monotonic() >= self.ready_at


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tiny: Tiny

    def log_message(self, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "-"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(200 if self.tiny.ready else 503, {})
        elif self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": self.tiny.name, "object": "model"}]})
        else:
            self.fail(404, "Not Found")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.tiny.key and self.headers.get("authorization") != f"Bearer {self.tiny.key}":
            return self.fail(401, "Unauthorized")
        body = json.loads(raw)
        if body.get("model") != self.tiny.name:
            return self.fail(404, f"The model `{body.get('model')}` does not exist.")
        if self.path == "/tokenize" and self.tiny.like == "vllm":
            ids = list(range(len(self.prompt(body).split())))
            return self.send(200, {"count": len(ids), "max_model_len": self.tiny.context, "tokens": ids})
        if self.path == "/v1/embeddings":
            data = [
                {"object": "embedding", "index": i, "embedding": [1.0, 2.0]}
                for i in range(len(body["input"]))
            ]
            return self.send(200, {"data": data, "usage": {"prompt_tokens": len(data), "total_tokens": 1}})
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            return self.fail(404, "Not Found")
        with contextlib.suppress(OSError), self.tiny.slots:
            self.generate(body)

    @staticmethod
    def prompt(body: dict[str, Any]) -> str:
        if "messages" not in body:
            return str(body["prompt"])
        return " ".join(str(message["content"]) for message in body["messages"])

    def generate(self, body: dict[str, Any]) -> None:
        chat, prompt = self.path.startswith("/v1/chat"), self.prompt(body)
        used, longest = len(prompt.split()) + 4, self.tiny.context
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if used >= longest:
            return self.fail(400, TOO_LONG[self.tiny.like].format(longest=longest, used=used))
        most = min(limit or longest, longest - used)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        n, total = body.get("n", 1), 0
        if chat:
            for i in range(n):
                self.choice(i, {"role": "assistant", "content": ""}, chat=chat)
        for i in range(n):
            total += self.answer(body, prompt, i, most, chat=chat)
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": used, "completion_tokens": total, "total_tokens": used + total}
            self.chunk({"choices": [], "usage": {**usage, "prompt_tokens_details": None}})
        self.line(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, body: dict[str, Any], prompt: str, index: int, most: int, *, chat: bool) -> int:
        """Recite one choice; the tokens it took."""
        seed = (body.get("seed"), index) if body.get("temperature", 1) else 0
        dice = (
            random.Random(f"{prompt}|{seed}") if body.get("seed") is not None or not seed else random.Random()
        )
        stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
        words = [("" if not i else " ") + dice.choice(WORDS) for i in range(most)]
        whole = "".join(words)
        end, stop = min(
            ((at, one) for one in stops if (at := whole.find(one)) >= 0), default=(len(whole), None)
        )
        said = count = 0
        while said < end or (stop is None and count < most):
            word = words[count][: end - said]
            self.choice(index, {"content": word}, chat=chat)
            said, count = said + len(word), count + 1
            time.sleep(PACE)
        self.choice(index, {}, chat=chat, reason="length" if stop is None else "stop", stop=stop)
        return count

    def choice(
        self, index: int, delta: dict[str, Any], *, chat: bool, reason: str | None = None, stop: Any = None
    ) -> None:
        one: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": reason}
        one |= {"delta": delta} if chat else {"text": delta.get("content", "")}
        if self.tiny.like == "vllm":
            one |= {"stop_reason": stop, "token_ids": None}
        elif self.tiny.like == "sglang":
            one |= {"matched_stop": stop}
            if chat:
                one["delta"] = {"role": None, "reasoning_content": None, "tool_calls": None, **delta}
        self.chunk({"choices": [one], "usage": None})

    def chunk(self, fields: dict[str, Any]) -> None:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.tiny.name}
        self.line(b"data: " + json.dumps({**head, **fields}).encode() + b"\n\n")

    def line(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status: int, message: str) -> None:
        error: dict[str, Any] = {"message": message, "type": "BadRequestError", "param": None, "code": status}
        self.send(status, {"object": "error", **error} if self.tiny.like == "sglang" else {"error": error})


TOO_LONG = {
    "plain": "This model's maximum context length is {longest} tokens. However, your messages resulted in {used}"
    " tokens.",
    "vllm": "This model's maximum context length is {longest} tokens. However, your request has {used} input"
    " tokens. Please reduce the length of the input messages.",
    "sglang": "The input ({used} tokens) is longer than the model's context length ({longest} tokens).",
}


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    like = Path(sys.argv[0]).stem if Path(sys.argv[0]).stem in FLAGS else "plain"
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in FLAGS[like]:
        if flag.startswith("?"):
            parser.add_argument(flag[1:], action="store_true")
        else:
            parser.add_argument(flag)
    given = parser.parse_args()
    Handler.tiny = Tiny(like, given)
    path = getattr(given, "socket", None) or getattr(given, "uds", None)
    server = _UnixServer(path, Handler) if path else _Server(("127.0.0.1", int(given.port)), Handler)
    with server:
        server.serve_forever(0.05)


if __name__ == "__main__":
    main()
