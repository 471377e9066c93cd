"""The comparison notices each thing it is there for, and lets go only what a dialect cannot say and was reported."""

from copy import deepcopy

import pytest
from compare import differences
from readers import Candidate, Usage, View


def view():
    candidate = Candidate(text="Hi", reasoning="hm", calls=[("f", {"a": 1})], finish="tool_calls")
    return View({0: candidate}, Usage(input=9, output=4, cached=2, reasoning=1), model="m")


def test_equal_views_have_no_differences():
    for dialect in ("openai-chat", "anthropic-messages", "gemini"):
        assert differences(view(), dialect, view(), []) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda v: setattr(v.candidates[0], "text", "Hi!"),
        lambda v: setattr(v.candidates[0], "refusal", "No."),
        lambda v: setattr(v.candidates[0], "reasoning", ""),
        lambda v: setattr(v.candidates[0], "calls", []),
        lambda v: setattr(v.candidates[0], "calls", [("f", {"a": 2})]),
        lambda v: setattr(v.candidates[0], "calls", [("g", {"a": 1})]),
        lambda v: setattr(v.candidates[0], "calls", [("f", {"a": 1})] * 2),
        lambda v: setattr(v.candidates[0], "finish", "stop"),
        lambda v: setattr(v.candidates[0], "finish", None),
        lambda v: setattr(v.usage, "input", None),
        lambda v: setattr(v.usage, "output", 3),
        lambda v: setattr(v.usage, "cached", 3),
        lambda v: setattr(v.usage, "reasoning", 0),
        lambda v: setattr(v, "model", "n"),
        lambda v: setattr(v, "error", "broken"),
        lambda v: v.candidates.clear(),
        lambda v: v.candidates.update({1: Candidate(text="more")}),
    ],
)
def test_each_difference_is_noticed(change):
    changed = view()
    change(changed)
    for dialect in ("openai-chat", "anthropic-messages", "gemini"):
        assert differences(view(), dialect, changed, []) != []


def test_a_candidate_may_be_missing_only_where_there_is_one_and_only_if_reported():
    two = view()
    two.candidates[1] = Candidate(text="more", finish="stop")
    assert differences(two, "anthropic-messages", view(), ["candidates[1]"]) == []
    assert differences(two, "anthropic-messages", view(), []) != []
    assert differences(two, "gemini", view(), ["candidates[1]"]) != []


def test_arguments_may_be_wrapped_only_if_reported():
    text, wrapped = view(), view()
    text.candidates[0].calls = [("f", '{"a": ')]
    wrapped.candidates[0].calls = [("f", {"raw": '{"a": '})]
    assert differences(text, "gemini", wrapped, ["tool_calls.arguments"]) == []
    assert differences(text, "gemini", wrapped, []) != []


def test_cached_tokens_beyond_the_input_may_be_capped_only_if_reported():
    beyond, capped = view(), view()
    beyond.usage.cached, capped.usage.cached = 12, 9
    assert differences(beyond, "anthropic-messages", capped, ["usage.cached_tokens"]) == []
    assert differences(beyond, "anthropic-messages", capped, []) != []


def test_a_finish_without_a_word_in_the_target_is_the_nearest_one():
    full, length = view(), view()
    full.candidates[0].finish, length.candidates[0].finish = "context_full", "length"
    assert differences(full, "openai-chat", length, []) == []
    assert differences(full, "anthropic-messages", length, []) != []
    assert differences(full, "openai-chat", deepcopy(full), []) != []
