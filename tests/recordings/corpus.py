"""The recorded answers of the providers Mainstay ships, and what Mainstay makes of each."""

import json
import os
import pathlib
import subprocess
from dataclasses import dataclass
from functools import cache

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(os.environ.get("MAINSTAY_RECORDINGS") or ROOT / "../shared/recordings")
CHAT = "openai azure deepseek mistral groq xai openrouter dashscope ollama".split()
DIALECTS = ["openai-chat", "anthropic-messages", "gemini"]


@dataclass
class Recording:
    id: str
    provider: str
    dialect: str
    streamed: bool
    body: str


def load():
    """Every answer (status 200) to a chat, messages or generateContent request."""
    found = []
    for provider in [*CHAT, "anthropic", "gemini", "vertex"]:
        for path in sorted((FOLDER / provider).glob("*.json")):
            exchange = json.loads(path.read_text())
            dialect = _dialect(provider, exchange["endpoint"])
            if dialect is None or exchange["response"]["status"] != 200:
                continue
            body, streamed = _body(dialect, exchange["response"])
            streamed = streamed or exchange["endpoint"] == "streamGenerateContent"
            found.append(Recording(f"{provider}/{path.stem}", provider, dialect, streamed, body))
    return found


def _dialect(provider, endpoint):
    if provider in CHAT and endpoint == "chat.completions":
        return "openai-chat"
    if (provider, endpoint) == ("anthropic", "messages"):
        return "anthropic-messages"
    if provider in ("gemini", "vertex") and endpoint in ("generateContent", "streamGenerateContent"):
        return "gemini"
    return None


def _body(dialect, response):
    """The bytes as they came: streams whose framing was not recorded get the one their provider uses."""
    if "sse" in response:
        return response["sse"], True
    if "body" in response:
        return json.dumps(response["body"], ensure_ascii=False), False
    return "".join(_frame(dialect, chunk) for chunk in response["chunks"]), True


def _frame(dialect, chunk):
    named = f"event: {json.loads(chunk)['type']}\n" if dialect == "anthropic-messages" else ""
    return f"{named}data: {chunk}\n\n"


@cache
def _counts_reasoning_apart(provider):
    """What the catalogue says of how the provider counts; the one deviation that changes how an answer is read."""
    row = ROOT / f"crates/catalog/data/providers/{provider}.yaml"
    quirks = (yaml.safe_load(row.read_text()).get("quirks") if row.exists() else None) or {}
    return quirks.get("reasoning_outside_output", False)


def translate(program, recordings):
    """What Mainstay makes of each recording, by id."""
    lines = [
        json.dumps(
            {
                "id": recording.id,
                "dialect": recording.dialect,
                "kind": "stream" if recording.streamed else "answer",
                "body": recording.body,
                "profile": {"reasoning_outside_output": _counts_reasoning_apart(recording.provider)},
            }
        )
        for recording in recordings
    ]
    done = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return {result["id"]: result for result in results}
