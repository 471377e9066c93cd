"""The official Anthropic SDK for Python against the gateway, whatever dialect the provider speaks."""

import anthropic
import pytest
from samples import (
    ONE_CITY,
    PNG,
    RESULT,
    TWO_CITIES,
    WEATHER,
    Forecast,
    check_forecast,
    check_story,
)
from stack import KEY, SERVED, UPSTREAMS

TOOLS = [{"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}]
THINKING = {"type": "enabled", "budget_tokens": 2048}


@pytest.fixture(scope="module")
def client(stack):
    with anthropic.Anthropic(base_url=stack.open.url, api_key="none") as client:
        yield client


def user(text):
    return {"role": "user", "content": text}


def ask(client, streamed, **request):
    """One message: whole, or put together by the SDK's own stream helper."""
    request = {"max_tokens": 4096, **request}
    if not streamed:
        return client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message):
    return [block for block in message.content if block.type == "tool_use"]


def check_usage(usage):
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


def test_a_message_is_answered(client, upstream, streamed):
    message = ask(
        client,
        streamed,
        model=f"via-{upstream}",
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[user("Hello."), {"role": "assistant", "content": "Hello!"}, user("Who are you?")],
        metadata={"user_id": "one"},
        # The SDK has no argument for it any more, the API has.
        extra_body={"temperature": 0.5},
    )
    assert message.type == "message"
    assert message.role == "assistant"
    assert message.id.startswith("msg_")
    assert message.model == SERVED[upstream]
    if not streamed:
        assert message._request_id
    assert f"speaking as {SERVED[upstream]}" in text_of(message)
    assert "“Who are you?”" in text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.stop_sequence is None
    check_usage(message.usage)


def test_the_stream_helper_gives_text_as_it_comes(client, upstream):
    with client.messages.stream(model=f"via-{upstream}", max_tokens=4096, messages=[user("Hello.")]) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == text_of(message)
    assert "“Hello.”" in text_of(message)


def test_the_events_of_a_stream_come_in_order(client, upstream):
    stream = client.messages.create(
        model=f"via-{upstream}", max_tokens=4096, messages=[user("Hello.")], stream=True
    )
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens > 0


def test_a_short_limit_ends_with_max_tokens(client, upstream, streamed):
    message = ask(client, streamed, model=f"via-{upstream}", messages=[user("Hello.")], max_tokens=4)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 4


def test_a_stop_sequence_ends_the_answer_before_it(client, upstream, streamed):
    message = ask(client, streamed, model=f"via-{upstream}", messages=[user("Hello.")], stop_sequences=["said"])
    assert text_of(message).endswith("You ")
    if upstream == "anthropic":
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "said")
    else:
        # The others do not tell a stop sequence from a natural end.
        assert message.stop_reason in ("stop_sequence", "end_turn")


def test_a_tool_is_called(client, upstream, streamed):
    message = ask(client, streamed, model=f"via-{upstream}", messages=[user(ONE_CITY)], tools=TOOLS)
    assert message.stop_reason == "tool_use"
    [call] = calls_of(message)
    assert call.id
    assert call.name == "get_weather"
    assert call.input == {"city": "Paris", "days": 1}
    check_usage(message.usage)


def test_the_tool_loop_comes_to_its_answer(client, upstream, streamed):
    request = {"model": f"via-{upstream}", "tools": TOOLS}
    messages = [user(TWO_CITIES)]
    first = ask(client, streamed, messages=messages, **request)
    calls = calls_of(first)
    assert [call.input["city"] for call in calls] == ["Paris", "Oslo"]
    assert len({call.id for call in calls}) == 2
    messages.append({"role": "assistant", "content": first.content})
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"{RESULT} ({place})"}
        for place, call in enumerate(calls)
    ]
    messages.append({"role": "user", "content": results})
    final = ask(client, streamed, messages=messages, **request)
    assert final.stop_reason == "end_turn"
    for place in range(2):
        assert f"{RESULT} ({place})" in text_of(final)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "any", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "none"}, []),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
    ],
)
def test_tool_choice_is_kept(client, upstream, choice, expected):
    time = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
    message = ask(
        client, False, model=f"via-{upstream}", messages=[user("Hello.")], tools=[*TOOLS, time], tool_choice=choice
    )
    assert [call.name for call in calls_of(message)] == expected


def test_a_schema_is_parsed(client, upstream, streamed):
    request = {
        "model": f"via-{upstream}",
        "max_tokens": 4096,
        "messages": [user("The forecast.")],
        "output_format": Forecast,
    }
    if streamed:
        with client.messages.stream(**request) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.parse(**request)
    assert message.stop_reason == "end_turn"
    check_forecast(message.parsed_output)


def test_an_image_and_a_document_are_seen(client, upstream, streamed):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}},
    ]
    message = ask(client, streamed, model=f"via-{upstream}", messages=[{"role": "user", "content": content}])
    assert "I saw 1 image." in text_of(message)
    assert "I saw 1 document." in text_of(message)


def test_thinking_is_shown_and_given_back(client, upstream, streamed):
    request = {"model": f"via-{upstream}", "thinking": THINKING}
    messages = [user("Think.")]
    first = ask(client, streamed, messages=messages, **request)
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].thinking.startswith("Let me think.")
    assert "“Think.”" in text_of(first)
    if upstream == "anthropic":
        assert first.content[0].signature
    check_usage(first.usage)
    messages += [{"role": "assistant", "content": first.content}, user("And again.")]
    assert "“And again.”" in text_of(ask(client, streamed, messages=messages, **request))


def test_thinking_between_tools_is_given_back(client, upstream, streamed):
    request = {"model": f"via-{upstream}", "thinking": THINKING, "tools": TOOLS}
    messages = [user(ONE_CITY)]
    first = ask(client, streamed, messages=messages, **request)
    [call] = calls_of(first)
    assert first.content[0].type == "thinking"
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]},
    ]
    assert RESULT in text_of(ask(client, streamed, messages=messages, **request))


def test_thoughts_of_one_provider_do_not_upset_another(client, upstream):
    first = ask(client, False, model="via-anthropic", messages=[user(ONE_CITY)], tools=TOOLS, thinking=THINKING)
    [call] = calls_of(first)
    messages = [
        user(ONE_CITY),
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]},
    ]
    final = ask(client, False, model=f"via-{upstream}", messages=messages, tools=TOOLS, thinking=THINKING)
    assert RESULT in text_of(final)


def test_the_headers_say_who_served(client, upstream, streamed):
    raw = client.messages.with_raw_response.create(
        model=f"via-{upstream}", max_tokens=4096, messages=[user("Hello.")], stream=streamed
    )
    check_story(raw.headers, upstream, SERVED[upstream])
    if streamed:
        list(raw.parse())


def test_models_are_listed(client):
    models = {model.id: model for model in client.models.list()}
    assert {f"via-{upstream}" for upstream in UPSTREAMS} <= set(models)
    assert models["via-openai"].type == "model"
    assert models["via-openai"].display_name
    assert client.models.retrieve("via-gemini").id == "via-gemini"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")


def test_an_unknown_model_is_not_found(client, streamed):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(client, streamed, model="nobody", messages=[user("Hello.")])
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id
    assert "nobody" in caught.value.api_message


@pytest.mark.parametrize("key", [KEY, "sk-wrong"])
def test_only_the_right_key_is_served(stack, key):
    client = anthropic.Anthropic(base_url=stack.keyed.url, api_key=key)
    if key == KEY:
        assert text_of(ask(client, False, model="via-openai", messages=[user("Hello.")]))
        return
    for call in (client.models.list, lambda: ask(client, False, model="via-openai", messages=[user("Hello.")])):
        with pytest.raises(anthropic.AuthenticationError) as caught:
            call()
        assert caught.value.type == "authentication_error"


def test_an_auth_token_is_a_key_too(stack):
    client = anthropic.Anthropic(base_url=stack.keyed.url, auth_token=KEY)
    assert text_of(ask(client, False, model="via-openai", messages=[user("Hello.")]))


@pytest.mark.parametrize("bad", [{"top_k": "few"}, {"messages": 7}, {"max_tokens": -1}])
def test_a_wrong_type_is_a_bad_request(client, upstream, bad):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, False, model=f"via-{upstream}", messages=[user("Hello.")], extra_body=bad)
    [field] = bad
    assert caught.value.type == "invalid_request_error"
    assert field in caught.value.api_message


@pytest.mark.parametrize(
    ("fault", "error", "kind", "named"),
    [
        ("429:retry_after=30", anthropic.RateLimitError, "rate_limit_error", "rate_limited"),
        ("overloaded_529", anthropic.InternalServerError, "api_error", "overloaded"),
        ("503", anthropic.InternalServerError, "api_error", "overloaded"),
    ],
)
def test_when_every_target_fails_the_caller_hears_it_once(
    client, stack, upstream, streamed, broken, fault, error, kind, named
):
    model = broken(fault)
    with pytest.raises(error) as caught:
        ask(client, streamed, model=model, messages=[user("Hello.")])
    assert caught.value.type == kind
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(stack.bad[upstream].calls(model.partition("/")[2])) == 1
    metadata = caught.value.body["error"]["metadata"]
    assert metadata["fault"] == named
    assert [attempt["target"] for attempt in metadata["attempts"]] == [model]


@pytest.mark.parametrize("first", UPSTREAMS)
def test_a_refused_connection_is_not_noticed(client, upstream, streamed, first):
    raw = client.messages.with_raw_response.create(
        model=f"dead-{first}-then-{upstream}", max_tokens=4096, messages=[user("Hello.")], stream=streamed
    )
    check_story(raw.headers, upstream, SERVED[upstream], attempts=2)
    answer = raw.parse()
    if streamed:
        deltas = [event.delta.text for event in answer if event.type == "content_block_delta"]
        assert f"speaking as {SERVED[upstream]}" in "".join(deltas)
    else:
        assert f"speaking as {SERVED[upstream]}" in text_of(answer)


@pytest.mark.parametrize("fault", ["error_after_prelude", "empty_stream", "error_in_200", "500", "html_in_200"])
def test_a_fault_before_the_first_content_is_not_noticed(client, stack, upstream, streamed, fault):
    stack.bad[upstream].set_faults(fault)
    try:
        # Another dialect takes over.
        fallback = UPSTREAMS[UPSTREAMS.index(upstream) - 1]
        message = ask(client, streamed, model=f"bad-{upstream}-then-{fallback}", messages=[user("Hello.")])
    finally:
        stack.bad[upstream].set_faults()
    assert f"speaking as {SERVED[fallback]}" in text_of(message)
    assert message.stop_reason == "end_turn"


def test_who_gives_up_after_two_seconds_has_its_answer_while_the_first_target_hangs(client, stack, streamed):
    impatient = client.with_options(timeout=2.0, max_retries=0)
    stack.bad["anthropic"].set_faults("hang_before_headers")
    try:
        message = ask(impatient, streamed, model="bad-anthropic-then-openai", messages=[user("Hello.")])
    finally:
        stack.bad["anthropic"].set_faults()
    assert f"speaking as {SERVED['openai']}" in text_of(message)


@pytest.mark.parametrize("fault", ["cut_mid_text", "cut_inside_event", "missing_terminator"])
def test_a_stream_that_breaks_ends_in_an_error(client, upstream, broken, fault):
    text = ""
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(model=broken(fault), max_tokens=4096, messages=[user("Hello.")]) as stream:
            for piece in stream.text_stream:
                text += piece
    assert text.startswith("This is")
    assert caught.value.type
    assert caught.value.body["error"]["metadata"]["fault"] == "stream_broken"


def test_an_answer_that_is_cut_is_an_error(client, upstream, broken):
    with pytest.raises(anthropic.InternalServerError):
        ask(client, False, model=broken("cut_mid_text"), messages=[user("Hello.")])


def test_a_tool_call_that_is_cut_is_an_error(client, upstream, broken):
    with pytest.raises(anthropic.APIStatusError):
        ask(client, True, model=broken("cut_mid_tool_call"), messages=[user(ONE_CITY)], tools=TOOLS)
