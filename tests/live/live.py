"""Cut and resume against one provider: a gateway with the same model as its first target, whose stream is cut on
purpose, and as its second, which goes on. What is asked has one right answer, so that a letter doubled or lost at the
seam is seen.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import anthropic
import openai
from google import genai
from google.genai import types
from samples import WEATHER
from stack import Process, free_port

CATALOGUE = Path(__file__).parents[2] / "crates" / "catalog" / "data" / "providers"
# A small model of each provider, and where some go on natively and some do not, one of each.
# MAINSTAY_LIVE_MODEL_OPENAI and so on name others, with commas between them.
MODELS = {
    "anthropic": ["claude-haiku-4-5", "claude-sonnet-4-6"],
    "dashscope": ["qwen-flash"],
    "deepseek": ["deepseek-v4-flash"],
    "gemini": ["gemini-2.5-flash-lite"],
    "groq": ["llama-3.1-8b-instant"],
    "mistral": ["mistral-small-latest"],
    "openai": ["gpt-4.1-mini"],
    "openrouter": ["openai/gpt-4.1-mini"],
    "xai": ["grok-3-mini"],
}
TENS = ["", "", "twenty", "thirty"]
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
ONES = [*ONES.split(), "eighteen", "nineteen"]
# Bytes of text after which the first target's stream is reset: within the word of a number, and of its second line.
TEXT_CUT, LINE_CUT, ARGUMENTS_CUT = 97, 5, 6
# An answer is some 120 tokens; what thinks first may need more.
MOST_TOKENS = 2000


def words(number):
    if number < len(ONES):
        return ONES[number]
    ten, one = divmod(number, 10)
    return TENS[ten] + (f"-{ONES[one]}" if one else "")


NUMBERS = [words(number) for number in range(1, 40)]
COUNT = (
    "Write the numbers from one to thirty-nine as English words, in lower case, one on each line, with a hyphen where "
    "English has one. Write nothing else: no introduction, no formatting, no remarks."
)
ONE_CITY = "What is the weather in Paris for the next two days? Use the tool, once."


@dataclass(frozen=True)
class Provider:
    """A row of the catalogue."""

    name: str
    dialect: str
    keys: tuple
    # Instead of the catalogue's.
    base_url: str | None = None

    @property
    def key(self):
        """The variable of the environment that holds its key."""
        return next((name for name in self.keys if os.environ.get(name)), None)

    @property
    def models(self):
        named = os.environ.get(f"MAINSTAY_LIVE_MODEL_{self.name.upper()}")
        return named.split(",") if named else MODELS.get(self.name, [])

    @property
    def why_skipped(self):
        if not self.key:
            return f"{self.name}: no {' or '.join(self.keys)} in the environment"
        if not self.models:
            return f"{self.name}: name a model in MAINSTAY_LIVE_MODEL_{self.name.upper()}"
        return None


def providers():
    """Everybody in the catalogue who takes a key."""
    for file in sorted(CATALOGUE.glob("*.yaml")):
        text = file.read_text()
        keys = re.search(r"^key_env: \[(.*)\]", text, re.MULTILINE)
        dialect = re.search(r"^dialect: (\S+)", text, re.MULTILINE)[1]
        if keys:
            yield Provider(file.stem, dialect, tuple(re.split(r", *", keys[1])))


class Gateway(Process):
    """A gateway that breaks the first target of its models on purpose."""

    def __init__(self, folder, provider, model):
        row = {"keys": ["${%s}" % provider.key]} | ({"base_url": provider.base_url} if provider.base_url else {})
        target = f"{provider.name}/{model}"

        def cut(fault):
            injected = {"target": target, "label": "cut", "inject": {"fault": f"{fault},by=reset"}}
            return {"targets": [injected, target]}

        configuration = {
            "providers": {provider.name: row},
            "models": {
                "cut-in-text": cut(f"cut_after_text:bytes={TEXT_CUT}"),
                "cut-at-once": cut(f"cut_after_text:bytes={LINE_CUT}"),
                "cut-in-call": cut(f"cut_after_arguments:bytes={ARGUMENTS_CUT}"),
            },
            # The cuts are ours: the target is not to be rested for them.
            "health": {"consecutive": 1_000_000, "min_samples": 1_000_000},
        }
        file = Path(folder, "live.yaml")
        file.write_text(json.dumps(configuration))
        self.url = f"http://127.0.0.1:{free_port()}"
        arguments = ["serve", "--config", str(file), "--allow-injection", "--listen", self.url.removeprefix("http://")]
        # The machine's own proxies lead to the provider.
        super().__init__(folder, "live", arguments, f"{self.url}/health/ready", {**os.environ, "RUST_LOG": "info"})

    def __enter__(self):
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.ask_to_stop()
        self.end()

    def rescues(self):
        """By which means streams went on so far."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        fields = (line.get("fields", {}) for line in lines)
        return [field["via"] for field in fields if field.get("message") == "the stream goes on"]


@dataclass
class Answer:
    text: str
    calls: list
    finishes: list
    # Attempts before the first content.
    attempts: int


def ask(dialect, url, model, prompt, with_tool=False):
    """Streams one answer with the official SDK of the dialect."""
    return {"openai-chat": ask_openai, "anthropic-messages": ask_anthropic, "gemini": ask_gemini}[dialect](
        url, model, prompt, with_tool
    )


def ask_openai(url, model, prompt, with_tool):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    request = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": MOST_TOKENS}
    if with_tool:
        request["tools"] = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    finishes = []
    with client.chat.completions.stream(**request) as stream:
        for event in stream:
            if event.type == "chunk":
                finishes += [choice.finish_reason for choice in event.chunk.choices if choice.finish_reason]
        message = stream.get_final_completion().choices[0].message
        attempts = stream._response.headers["x-mainstay-attempts"]
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    return Answer(message.content or "", calls, finishes, int(attempts))


def ask_anthropic(url, model, prompt, with_tool):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    request = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": MOST_TOKENS}
    if with_tool:
        request["tools"] = [{"name": "get_weather", "input_schema": WEATHER}]
    with client.messages.stream(**request) as stream:
        finishes = [event.delta.stop_reason for event in stream if event.type == "message_delta"]
        content = stream.get_final_message().content
        attempts = stream.response.headers["x-mainstay-attempts"]
    text = "".join(block.text for block in content if block.type == "text")
    calls = [(block.name, block.input) for block in content if block.type == "tool_use"]
    return Answer(text, calls, finishes, int(attempts))


def ask_gemini(url, model, prompt, with_tool):
    client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url))
    config = types.GenerateContentConfig(max_output_tokens=MOST_TOKENS)
    if with_tool:
        declaration = types.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
        config.tools = [types.Tool(function_declarations=[declaration])]
        config.automatic_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
    chunks = list(client.models.generate_content_stream(model=model, contents=prompt, config=config))
    candidates = [candidate for chunk in chunks for candidate in chunk.candidates or []]
    parts = [part for candidate in candidates for part in (candidate.content and candidate.content.parts) or []]
    text = "".join(part.text or "" for part in parts if not part.thought)
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    finishes = [candidate.finish_reason for candidate in candidates if candidate.finish_reason]
    return Answer(text, calls, finishes, int(chunks[0].sdk_http_response.headers["x-mainstay-attempts"]))


def numbers_go_on(gateway, dialect, model):
    """A count is cut and goes on: every number once and in its place; says by which means."""
    earlier = len(gateway.rescues())
    answer = ask(dialect, gateway.url, model, COUNT)
    lines = [line.strip().lower() for line in answer.text.strip().splitlines()]
    assert lines == NUMBERS
    assert len(answer.finishes) == 1
    assert answer.attempts == 1, "the first target had begun to answer"
    [means] = gateway.rescues()[earlier:]
    return means


def call_is_made_again(gateway, dialect):
    """A call is cut in its arguments: the caller has it whole, once."""
    answer = ask(dialect, gateway.url, "cut-in-call", ONE_CITY, with_tool=True)
    [(name, arguments)] = answer.calls
    assert name == "get_weather"
    assert "paris" in arguments["city"].lower()
    assert isinstance(arguments["days"], int)
    assert len(answer.finishes) == 1
