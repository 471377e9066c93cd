"""What an application sees: each official SDK reads a body, and a `View` holds what it shows.

The bodies come to the SDKs through their own HTTP client with the network taken out, so everything an SDK does to a
body (framing, validation, accumulation, raising) is done. Nothing in here knows how Mainstay works; the meaning of
finish reasons and token counts is that of the providers' documentation.
"""

import json
import re
from dataclasses import dataclass, field

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from google.oauth2.credentials import Credentials

STOP, LENGTH, CONTEXT_FULL, TOOL_CALLS = "stop", "length", "context_full", "tool_calls"
FILTERED, PAUSE, FAILED = "content_filter", "pause", "failed"


@dataclass
class Candidate:
    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    details: str = ""  # reasoning that OpenRouter states in its list of details, beside or instead of the text
    calls: list = field(default_factory=list)
    finish: str | None = None

    @property
    def said(self):
        """Text and refusal: dialects without a refusal field show it as text."""
        return self.text + self.refusal


@dataclass
class Usage:
    """Token counts: input with cached tokens, output with reasoning. None: not stated."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


@dataclass
class View:
    candidates: dict = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    blocked: bool = False
    error: str | None = None

    def at(self, index):
        return self.candidates.setdefault(index or 0, Candidate())


class Unreadable(Exception):
    """The SDK cannot read the body at all."""


class Served:
    """The body the next call of a client gets."""

    def __init__(self):
        self.status, self.kind, self.body = 200, "application/json", b""
        self.http = httpx2.Client(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request):
        return httpx2.Response(self.status, headers={"content-type": self.kind}, content=self.body, request=request)

    def set(self, body, streamed, status):
        self.status, self.body = status, body.encode()
        self.kind = "text/event-stream" if streamed else "application/json"


SERVED = Served()
ADDRESS = "http://127.0.0.1:9"
OPENAI = openai.OpenAI(api_key="k", base_url=ADDRESS + "/v1", max_retries=0, http_client=SERVED.http)
ANTHROPIC = anthropic.Anthropic(api_key="k", base_url=ADDRESS, max_retries=0, http_client=SERVED.http)


def _genai(**how):
    options = genai_types.HttpOptions(base_url=ADDRESS, httpx_client=SERVED.http)
    return genai.Client(http_options=options, **how)


GEMINI = _genai(api_key="k")
VERTEX = _genai(vertexai=True, project="p", location="l", credentials=Credentials(token="t"))


def read(dialect, body, streamed, *, status=200, vertex=False):
    """The view an SDK gives of a body; `Unreadable` if it gives none."""
    SERVED.set(body, streamed, status)
    view = View()
    try:
        if dialect == "openai-chat":
            _openai(view, streamed)
        elif dialect == "anthropic-messages":
            _anthropic(view, streamed)
        else:
            _gemini(view, streamed, VERTEX if vertex else GEMINI)
        for candidate in view.candidates.values():
            candidate.reasoning = candidate.reasoning or candidate.details
    except (openai.APIError, anthropic.APIError, genai_errors.APIError) as error:
        view.error = f"{type(error).__name__}: {error}"
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return view


# OpenAI chat completions

OPENAI_FINISH = {
    "stop": STOP,
    "length": LENGTH,
    "model_length": CONTEXT_FULL,
    "tool_calls": TOOL_CALLS,
    "function_call": TOOL_CALLS,
    "content_filter": FILTERED,
}


def _openai(view, streamed):
    messages = [{"role": "user", "content": "?"}]
    if not streamed:
        answer = OPENAI.chat.completions.create(model="m", messages=messages)
        view.model = answer.model
        for choice in answer.choices:
            candidate = view.at(choice.index)
            if choice.message is not None:
                _openai_message(candidate, choice.message)
                candidate.calls = [_openai_call(call) for call in choice.message.tool_calls or []]
                old = choice.message.function_call  # the API's first form of calls, one an answer
                candidate.calls += [(old.name, _arguments(old.arguments))] if old else []
            candidate.finish = _openai_finish(candidate, choice.finish_reason)
        _openai_usage(view, answer)
        return
    words, calls = {}, {}
    for chunk in OPENAI.chat.completions.create(model="m", messages=messages, stream=True):
        view.model = view.model or chunk.model
        for choice in chunk.choices or []:
            candidate = view.at(choice.index)
            if choice.delta is not None:
                _openai_message(candidate, choice.delta)
                pieces = [(piece.index, piece) for piece in choice.delta.tool_calls or []]
                if choice.delta.function_call is not None:  # the API's first form of calls, one an answer
                    pieces.append((None, choice.delta))
                for number, piece in pieces:
                    open_call = calls.setdefault((choice.index or 0, number), ["", ""])
                    named = getattr(piece, "function", None) or getattr(piece, "function_call", None)
                    custom = (piece.model_extra or {}).get("custom") or {}
                    open_call[0] += (named and named.name) or custom.get("name") or ""
                    open_call[1] += (named and named.arguments) or custom.get("input") or ""
            words[choice.index or 0] = choice.finish_reason or words.get(choice.index or 0)
        _openai_usage(view, chunk)
    for (index, _), (name, arguments) in calls.items():
        view.at(index).calls.append((name, _arguments(arguments)))
    for index, word in words.items():
        view.at(index).finish = _openai_finish(view.at(index), word)


def openai_helper(body):
    """The choices that `chat.completions.stream`, the SDK's own accumulation, makes of a stream."""
    SERVED.set(body, True, 200)
    with OPENAI.chat.completions.stream(model="m", messages=[{"role": "user", "content": "?"}]) as stream:
        return stream.get_final_completion().choices


def _openai_message(candidate, message):
    content = message.content
    if isinstance(content, list):  # Mistral: thinking and text as a list of chunks
        for part in content:
            if part.get("type") == "text":
                candidate.text += part["text"]
            elif part.get("type") == "thinking":
                candidate.reasoning += "".join(piece.get("text", "") for piece in part["thinking"])
    else:
        candidate.text += content or ""
    candidate.refusal += message.refusal or ""
    more = message.model_extra or {}
    candidate.reasoning += more.get("reasoning_content") or more.get("reasoning") or ""
    details = more.get("reasoning_details") or []
    candidate.details += "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


def _openai_call(call):
    if call.type == "custom":
        return (call.custom.name, _arguments(call.custom.input))
    return (call.function.name, _arguments(call.function.arguments))


def _openai_finish(candidate, word):
    if not word:
        return None
    if word == "stop" and candidate.calls:
        return TOOL_CALLS
    if word == "stop" and candidate.refusal:
        return FILTERED
    return OPENAI_FINISH.get(word, FAILED)


def _openai_usage(view, answer):
    more = answer.model_extra or {}
    stated = answer.usage.model_dump() if answer.usage else (more.get("x_groq") or {}).get("usage")
    if not stated:
        return
    usage = view.usage
    usage.input, usage.output = stated.get("prompt_tokens"), stated.get("completion_tokens")
    of_input = stated.get("prompt_tokens_details") or {}
    of_output = stated.get("completion_tokens_details") or {}
    others = [stated.get("prompt_cache_hit_tokens"), stated.get("num_cached_tokens")]
    usage.cached = next((n for n in [of_input.get("cached_tokens"), *others] if n is not None), None)
    usage.reasoning = of_output.get("reasoning_tokens")
    # xAI's models count reasoning beside the completion; the total tells.
    if usage.reasoning and stated.get("total_tokens") == usage.input + usage.output + usage.reasoning:
        usage.output += usage.reasoning


def _arguments(text):
    """Arguments as JSON; those of a call that was cut off, or of a free-text tool, as text."""
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return text


# Anthropic messages

ANTHROPIC_FINISH = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": CONTEXT_FULL,
    "tool_use": TOOL_CALLS,
    "refusal": FILTERED,
    "pause_turn": PAUSE,
}


def _anthropic(view, streamed):
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}
    if streamed:
        with ANTHROPIC.messages.stream(**asked) as stream:
            try:
                message = stream.get_final_message()
            except anthropic.APIError:
                # What had come before the error is what an application has shown.
                try:
                    _anthropic_message(view, stream.current_message_snapshot)
                except AssertionError:
                    pass
                raise
    else:
        message = ANTHROPIC.messages.create(**asked)
    _anthropic_message(view, message)


def _anthropic_message(view, message):
    view.model = message.model
    candidate = view.at(0)
    for block in message.content:
        if block.type == "text":
            candidate.text += block.text
        elif block.type == "thinking":
            candidate.reasoning += block.thinking
        elif block.type == "tool_use":
            candidate.calls.append((block.name, block.input))
    details = getattr(message, "stop_details", None)
    explanation = getattr(details, "explanation", None)
    if explanation and explanation not in candidate.text:
        candidate.refusal = explanation
    if message.stop_reason:
        candidate.finish = ANTHROPIC_FINISH.get(message.stop_reason, FAILED)
    usage = message.usage
    written, cached = usage.cache_creation_input_tokens, usage.cache_read_input_tokens
    view.usage = Usage(
        input=None if usage.input_tokens is None else usage.input_tokens + (written or 0) + (cached or 0),
        output=usage.output_tokens,
        cached=cached,
        reasoning=usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else None,
    )


# Gemini

GEMINI_FILTERED = (
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT "
    "IMAGE_RECITATION MODEL_ARMOR ESCALATION"
).split()


def _gemini(view, streamed, client):
    if streamed:
        answers = client.models.generate_content_stream(model="m", contents="?")
    else:
        answers = [client.models.generate_content(model="m", contents="?")]
    words = {}
    for answer in answers:
        view.model = view.model or answer.model_version
        for candidate in answer.candidates or []:
            index = candidate.index or 0
            _gemini_parts(view.at(index), candidate)
            if candidate.finish_reason is not None:
                words[index] = candidate.finish_reason.name
        feedback = answer.prompt_feedback
        view.blocked |= bool(feedback and (feedback.block_reason or feedback.block_reason_message))
        if answer.usage_metadata is not None:
            _gemini_usage(view.usage, answer.usage_metadata)
    for index, word in words.items():
        view.at(index).finish = _gemini_finish(view.at(index), word)


def _gemini_parts(seen, candidate):
    for part in (candidate.content and candidate.content.parts) or []:
        if part.function_call is not None:
            call = part.function_call
            # Vertex may send arguments piece by piece: calls without a name go on with the one before.
            if call.name is not None:
                seen.calls.append((call.name, call.args or {}))
            for piece in call.partial_args or []:
                _put(seen.calls[-1][1], piece)
        elif part.text and part.thought:
            seen.reasoning += part.text
        elif part.text:
            seen.text += part.text


def _put(arguments, piece):
    """Puts a piece of the arguments where its path says; pieces of one string are joined."""
    steps = [int(number) if number else name for name, number in re.findall(r"\.([^.\[]+)|\[(\d+)\]", piece.json_path)]
    at = arguments
    for step, following in zip(steps, steps[1:], strict=False):
        empty = [] if isinstance(following, int) else {}
        if isinstance(step, int) and step == len(at):
            at.append(empty)
        at = at[step] if isinstance(step, int) else at.setdefault(step, empty)
    values = (piece.string_value, piece.number_value, piece.bool_value)
    value = next((value for value in values if value is not None), None)
    last = steps[-1]
    if isinstance(last, int) and last == len(at):
        at.append(value)
    elif isinstance(value, str) and isinstance(at[last] if isinstance(last, int) else at.get(last), str):
        at[last] += value
    else:
        at[last] = value


def _gemini_finish(candidate, word):
    if word == "STOP":
        return TOOL_CALLS if candidate.calls else STOP
    if word in ("MAX_TOKENS", "CONTINUATION"):
        return LENGTH
    return FILTERED if word in GEMINI_FILTERED else FAILED


def _gemini_usage(usage, stated):
    def total(*counts):
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    usage.input = total(stated.prompt_token_count, stated.tool_use_prompt_token_count)
    usage.output = total(stated.candidates_token_count, stated.thoughts_token_count)
    usage.cached = stated.cached_content_token_count
    usage.reasoning = stated.thoughts_token_count
