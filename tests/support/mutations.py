"""What may become of a body on its way, of a file in an editor or on a disk: drawn by a seed."""

import json
import random
from typing import Any

from corpus.errors import SympatheiaError

STRANGE = (
    *(None, True, False, 0, -1, 2**63, 10**30, 1.5, float("nan"), float("inf")),
    *("", " ", "\0", "\ud800", "\x1b[2J", "a" * 5000, "\ufeff", "200", "stop", "</think>"),
    *([], {}, [None], [[]], [{}], {"": ""}, {"text": "a"}, [{"type": "text", "text": None}]),
    *({"message": "no", "code": 404}, {"code": "sk-1"}, [{"type": 1}], "success", "error"),
)


def mutated(body: bytes, chance: random.Random) -> bytes:
    """A JSON body with up to three changes to its values, and often one to its bytes."""
    reply = json.loads(body)
    for _ in range(chance.randrange(4)):
        reply = _with_a_change(reply, chance)
    content = json.dumps(reply, ensure_ascii=chance.random() < 0.5)
    found = content.encode("utf-8", "surrogatepass")
    return found if chance.random() < 0.6 else broken(found, chance)


def broken(content: bytes, chance: random.Random) -> bytes:
    """Bytes that were cut, repeated, wrapped, recoded or changed here and there."""
    at = chance.randrange(len(content) + 1)
    match chance.randrange(7):
        case 0:
            return content[:at]
        case 1:
            return content[at:]
        case 2:
            return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
        case 3:
            return content + content
        case 4:
            return b"data: " + content + b"\n\ndata: [DONE]\n\n"
        case 5:
            return chance.choice((b"\xef\xbb\xbf", b"\n", b"\0", b"<html>")) + content
    return content.decode("latin-1").encode(chance.choice(("utf-8", "utf-16", "utf-32")))


def _with_a_change(reply: Any, chance: random.Random) -> Any:
    """A copy in which one value is strange, gone, wrapped or given again under another name."""
    if isinstance(reply, dict) and reply and chance.random() < 0.85:
        key = chance.choice(sorted(reply))
        rest = {name: value for name, value in reply.items() if name != key}
        match chance.randrange(8):
            case 0:
                return rest
            case 1:
                return rest | {chance.choice(("error", "detail", "code", "index")): reply[key]}
            case 2:
                return reply | {chance.choice(("error", "status", "object")): strange(chance)}
        return reply | {key: _with_a_change(reply[key], chance)}
    if isinstance(reply, list) and reply and chance.random() < 0.85:
        at = chance.randrange(len(reply))
        match chance.randrange(6):
            case 0:
                return reply[:at] + reply[at + 1 :]
            case 1:
                return [*reply, reply[at]]
        return [*reply[:at], _with_a_change(reply[at], chance), *reply[at + 1 :]]
    return [reply] if chance.random() < 0.1 else strange(chance)


def strange(chance: random.Random) -> Any:
    """A value that nobody expects."""
    return chance.choice(STRANGE)


# Files

LONGEST = 3000
"""Characters of a message: ten problems, each with two names, and the path of a file."""

BYTES = [
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\r", b"\n", b"\t", b"\x1b", b"\x7f"),
    *(b"&a ", b"*a", b"<<: *a", b"!!int ", b"!!set {a}", b"{{ topic }}", b"- [", b"{a: ", b"%TAG"),
    *(b"[[user]]", b"---\n", b": ", b"'", b'"', b'"""', b"\\ud800", b"\\x00", b"#", b"=", b"[["),
    *(b"9" * 5000, b"0x" + b"f" * 5000, b"[" * 400, b"nan", b"-inf", b".inf", b"2026-99-99", b"~"),
]
VALUES = [
    *(True, False, 0, -1, 1, 10**20, 10**400, 0.5, -0.0, 1e300, float("nan"), float("inf")),
    *("", " ", "0.5", "yes", "a\0b", "\x07", "\n[[user]]\n", "~", "~nobody-at-all/x", "x" * 5000),
    *("http://", "s3://key:word@bucket", "../..", "[[assistant]]", "all", "happy", "sad", "\u2028"),
    *([], {}, [[]], [{}], {"a": {}}, ["a", 1], {"": ""}, {"a\0": 1}, ["sad", "sad"]),
]
YAML_VALUES = [*VALUES, None, "\ud800", {1: 2}, {None: None}, {True: "x"}]


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 5))):
        start = chance.randrange(len(content) + 1)
        end = min(len(content), start + chance.choice((0, 0, 1, 1, 8, 40)))
        content = content[:start] + chance.choice([b"", *BYTES]) + content[end:]
    return content


def mutate_value(data: dict, chance: random.Random, values: list) -> None:
    """Changes, takes away, doubles or adds something at some depth."""
    place = data
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chance.choice(keys)
        if not isinstance(place[key], (dict, list)) or chance.random() < 0.2:
            break
        place = place[key]
    match chance.randrange(4):
        case 0:
            del place[key]
        case 1 if isinstance(place, list):
            place.append(place[key])
        case 1:
            place[chance.choice(["a", "a\nb", "x" * 5000, str(key).upper()])] = place[key]
        case _:
            place[key] = chance.choice(values)


def in_words(error: SympatheiaError) -> bool:
    message = str(error)
    return message.isprintable() and message.endswith(".") and len(message) < LONGEST
