"""Recorded answers, read by the official SDKs: what the SDK of the provider's dialect shows of the recording, the SDK of
the caller's dialect shows of what Mainstay makes of it.

Needs the program `translate` (`cargo build -p dialect --example translate`; MAINSTAY_TRANSLATE names it elsewhere) and
the recordings (MAINSTAY_RECORDINGS, default ../shared/recordings).
"""

import json
import os
import pathlib
import re
from collections import Counter
from dataclasses import dataclass

import anthropic.types
import compare
import corpus
import openai
import openai.types.chat
import pydantic
import pytest
import readers
import yaml

pytestmark = [
    pytest.mark.skipif(not corpus.FOLDER.is_dir(), reason=f"no recordings at {corpus.FOLDER}"),
    # google-genai warns of every enumeration value it does not know; recordings hold some on purpose.
    pytest.mark.filterwarnings("ignore:.* is not a valid .*"),
]

HERE = pathlib.Path(__file__).parent
MOST_EXCEPTIONS = 0.005

# Recordings that show a feature, at least: a comparison of empty views would pass too.
LEAST = {"text": 650, "calls": 230, "parallel calls": 60, "reasoning": 90, "several candidates": 30, "usage": 900}


@dataclass
class Case:
    recording: corpus.Recording
    made: dict
    view: readers.View | None
    """What the provider's own SDK shows; None where it cannot read the body, or shows nothing at all of it."""


def program():
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or corpus.ROOT / "target") / "debug/examples/translate"
    return os.environ.get("MAINSTAY_TRANSLATE") or built


@pytest.fixture(scope="module")
def cases():
    recordings = corpus.load()
    made = corpus.translate(program(), recordings)
    return [Case(recording, made[recording.id], _view(recording)) for recording in recordings]


def _view(recording):
    vertex = recording.provider == "vertex"
    try:
        view = readers.read(recording.dialect, recording.body, recording.streamed, vertex=vertex)
    except readers.Unreadable:
        return None
    return view if view.candidates or view.blocked or view.error else None


@pytest.fixture(scope="module")
def exceptions():
    entries = yaml.safe_load((HERE / "exceptions.yaml").read_text())
    assert all(entry["reason"] for entry in entries)
    return {(entry["id"], entry["target"]): entry["reason"] for entry in entries}


def test_every_body_its_own_sdk_can_read_decodes(cases, capsys):
    readable = [case for case in cases if case.view is not None]
    refused = {case.recording.id: why for case in readable if (why := case.made.get("decode_error"))}
    malformed = {case.recording.id: why for case in readable if (why := case.made.get("malformed"))}
    apart = [case.recording.id for case in cases if case.view is None]
    with capsys.disabled():
        print(f"\nbodies: {len(cases)}; {len(apart)} counted apart, as their own SDK shows nothing of them:")
        print("".join(f"    {id}\n" for id in apart), end="")
    assert not refused and not malformed
    assert len(readable) >= 0.98 * len(cases), "a corpus that its own SDKs cannot read proves nothing"


def test_what_the_sdks_show_is_the_same_in_every_dialect(cases, exceptions, capsys):
    counts, found = Counter(), {}
    for case in cases:
        if case.view is None:
            continue
        shown = Counter(_features(case.view))
        counts.update(shown.keys())
        for target, view, drops in _targets(case):
            kind = "same dialect" if target in ("same", case.recording.dialect) else "cross-dialect"
            counts[f"{kind} pairs"] += 1
            dialect = case.recording.dialect if target == "same" else target
            if differences := compare.differences(case.view, dialect, view, drops):
                found[case.recording.id, target] = differences
    pairs = counts["same dialect pairs"] + counts["cross-dialect pairs"]
    with capsys.disabled():
        print("\n" + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
        print(f"exceptions: {len(exceptions)} of {pairs} pairs = {100 * len(exceptions) / pairs:.2f} %")
    unlisted = {pair: why for pair, why in found.items() if pair not in exceptions}
    assert not unlisted, "\n".join(f"{id} > {target}: {why}" for (id, target), why in unlisted.items())
    assert not set(exceptions) - set(found), "listed, but equal"
    assert len(exceptions) <= MOST_EXCEPTIONS * pairs
    for feature, least in LEAST.items():
        assert counts[f"with {feature}"] >= least, feature


def _targets(case):
    """(target, what its SDK shows, what was dropped); an unreadable output has a view nothing equals."""
    recording = case.recording
    outputs = {target: (out["body"], out["status"], out["drops"]) for target, out in case.made["targets"].items()}
    if recording.streamed and not case.view.error:
        outputs["same"] = (case.made["pass"]["all"], 200, [])
    for target, (body, status, drops) in outputs.items():
        dialect = recording.dialect if target == "same" else target
        vertex = target == "same" and recording.provider == "vertex"
        try:
            view = readers.read(dialect, body, recording.streamed, status=status, vertex=vertex)
        except readers.Unreadable as why:
            view = readers.View(error=f"unreadable: {why}", candidates={-1: readers.Candidate(finish="unreadable")})
        yield target, view, drops


def _features(view):
    for candidate in view.candidates.values():
        for feature in ("text", "refusal", "reasoning", "calls", "finish"):
            if getattr(candidate, feature):
                yield f"with {feature}"
        if len(candidate.calls) > 1:
            yield "with parallel calls"
    if len(view.candidates) > 1:
        yield "with several candidates"
    for what, shown in (("usage", view.usage.input), ("cached tokens", view.usage.cached), ("errors", view.error)):
        if shown:
            yield f"with {what}"


def test_the_same_dialect_passes_byte_for_byte(cases):
    streams = [case for case in cases if case.recording.streamed]
    assert len(streams) >= 300
    for case in streams:
        name, passed = case.recording.id, case.made["pass"]
        kept = [event for event in _events(case.recording.body) if not _malformed(case.recording.dialect, event)]
        broken = next((i for i, event in enumerate(kept) if _is_error(event)), None)
        kept = kept[:broken]
        assert "".join(event.raw for event in kept) == passed["all"], name
        unasked = [event for event in kept if not (case.recording.dialect == "openai-chat" and _only_usage(event))]
        assert "".join(event.raw for event in unasked) == passed["without_usage"], name


@dataclass
class Event:
    raw: str
    name: str
    data: str


def _events(text):
    """The whole events of a stream, comments left out; written after the standard, not after Mainstay's decoder."""
    raw = name = ""
    data = None
    for line in re.findall(r"[^\r\n]*(?:\r\n|\n|\r)", text):
        bare = line.rstrip("\r\n")
        if not bare:
            if data is not None or name:
                yield Event(raw + line, name, data or "")
            raw, name, data = "", "", None
        elif not bare.startswith(":"):
            raw += line
            field, _, value = bare.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data = value if data is None else f"{data}\n{value}"
            elif field == "event":
                name = value


def _json(event):
    try:
        return json.loads(event.data)
    except ValueError:
        return None


def _malformed(dialect, event):
    return _json(event) is None and not (dialect == "openai-chat" and event.data == "[DONE]")


def _is_error(event):
    return event.name == "error" or bool((_json(event) or {}).get("error"))


def _only_usage(event):
    chunk = _json(event) or {}
    return chunk.get("choices") == [] and bool(chunk.get("usage"))


def test_what_is_learned_in_passing_is_what_the_sdk_shows(cases):
    meaning = {"broken_output": readers.FAILED, "provider_error": readers.FAILED, "other": readers.FAILED}
    for case in cases:
        view, name, learned = case.view, case.recording.id, case.made["pass"]
        if view is None:
            continue
        assert bool(view.error) == bool(learned["error"]), name
        if view.error:
            continue
        figures = {"input": "input_tokens", "output": "output_tokens", "cached": "cached_input_tokens"}
        for shown, counted in {**figures, "reasoning": "reasoning_tokens"}.items():
            assert (getattr(view.usage, shown) or 0) == (learned["usage"][counted] or 0), f"{name}: {shown}"
        assert (view.model or None) == learned["model"], name
        if list(view.candidates) == [0]:
            assert view.candidates[0].finish == meaning.get(learned["finish"], learned["finish"]), name


def test_what_is_written_has_the_types_of_the_sdks(cases):
    """The SDKs for Python forgive; typed ones (Java, Go, Rust) refuse what these models refuse."""
    chunk = pydantic.TypeAdapter(anthropic.types.RawMessageStreamEvent)
    checked = 0
    for case in cases:
        for target, out in case.made.get("targets", {}).items():
            # The provider's own dialect may say more than these models know (new blocks, its own service tiers).
            if target in (case.recording.dialect, "gemini") or out["status"] != 200 or out.get("broken"):
                continue
            # An answer that failed keeps the provider's word for it: any word these models know would be a lie.
            if case.view and any(c.finish == readers.FAILED for c in case.view.candidates.values()):
                continue
            try:
                if target == "openai-chat":
                    _validate(case, out, openai.types.chat.ChatCompletion, openai.types.chat.ChatCompletionChunk)
                elif case.recording.streamed:
                    for event in _events(out["body"]):
                        event.name == "ping" or chunk.validate_json(event.data)
                else:
                    anthropic.types.Message.model_validate_json(out["body"])
            except pydantic.ValidationError as why:
                pytest.fail(f"{case.recording.id} > {target}: {why}")
            checked += 1
    assert checked >= 900


def _validate(case, out, whole, piece):
    if not case.recording.streamed:
        whole.model_validate_json(out["body"])
        return
    for event in _events(out["body"]):
        event.data == "[DONE]" or piece.model_validate_json(event.data)


def test_the_stream_helper_of_openai_puts_every_stream_together(cases):
    for case in cases:
        out = case.made.get("targets", {}).get("openai-chat")
        if not case.recording.streamed or out["broken"]:
            continue
        view = readers.read("openai-chat", out["body"], True)
        try:
            choices = readers.openai_helper(out["body"])
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            continue  # The helper's way to say how the answer ended.
        for choice in choices:
            candidate = view.at(choice.index)
            assert (choice.message.content or "") == candidate.text, case.recording.id
            names = [call.function.name for call in choice.message.tool_calls or []]
            assert names == [name for name, _ in candidate.calls], case.recording.id
