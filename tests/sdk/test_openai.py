"""The official OpenAI SDK for Python against the gateway, whatever dialect the provider speaks."""

import json

import openai
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

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}}
]


@pytest.fixture(scope="module")
def client(stack):
    with openai.OpenAI(base_url=f"{stack.open.url}/v1", api_key="none") as client:
        yield client


def user(text):
    return {"role": "user", "content": text}


def ask(client, streamed, **request):
    """One completion: whole, or put together by the SDK's own stream helper."""
    if not streamed:
        return client.chat.completions.create(**request)
    with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
        return stream.get_final_completion()


def check_usage(usage):
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_chat_answers(client, upstream, streamed):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "And kind."},
        user("Hello."),
        {"role": "assistant", "content": "Hello!"},
        user("Who are you?"),
    ]
    completion = ask(client, streamed, model=f"via-{upstream}", messages=messages, temperature=0.5)
    choice = completion.choices[0]
    assert completion.model == SERVED[upstream]
    assert f"speaking as {SERVED[upstream]}" in choice.message.content
    assert "“Who are you?”" in choice.message.content
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    check_usage(completion.usage)


def test_a_stream_is_one_answer_in_pieces(client, upstream):
    chunks = list(client.chat.completions.create(model=f"via-{upstream}", messages=[user("Hello.")], stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert len(pieces) > 3
    assert "“Hello.”" in "".join(pieces)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"


def test_the_last_chunk_counts_tokens_when_asked_to(client, upstream):
    stream = client.chat.completions.create(
        model=f"via-{upstream}", messages=[user("Hello.")], stream=True, stream_options={"include_usage": True}
    )
    *_, last = stream
    assert last.choices == []
    check_usage(last.usage)


def test_a_short_limit_ends_with_length(client, upstream, streamed):
    if streamed:
        with pytest.raises(openai.LengthFinishReasonError) as caught:
            # The helper parses against the schema, so it refuses what was cut.
            with client.chat.completions.stream(
                model=f"via-{upstream}", messages=[user("Hello.")], max_tokens=4, response_format=Forecast
            ) as stream:
                stream.until_done()
        assert caught.value.completion.choices[0].finish_reason == "length"
        return
    completion = client.chat.completions.create(
        model=f"via-{upstream}", messages=[user("Hello.")], max_completion_tokens=4
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.choices[0].message.content
    assert completion.usage.completion_tokens == 4


def test_a_stop_sequence_ends_the_answer_before_it(client, upstream, streamed):
    completion = ask(client, streamed, model=f"via-{upstream}", messages=[user("Hello.")], stop=["said"])
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content.endswith("You ")


def test_several_choices_come_where_the_provider_has_them(client, upstream):
    raw = client.chat.completions.with_raw_response.create(
        model=f"via-{upstream}", messages=[user("Hello.")], n=2
    )
    choices = raw.parse().choices
    if upstream == "anthropic":
        assert len(choices) == 1
        assert "n" in raw.headers["x-mainstay-dropped"].split(", ")
    else:
        assert [choice.index for choice in choices] == [0, 1]
        assert "candidate 1" in choices[1].message.content


def test_a_tool_is_called(client, upstream, streamed):
    completion = ask(client, streamed, model=f"via-{upstream}", messages=[user(ONE_CITY)], tools=TOOLS)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert call.id
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris", "days": 1}
    check_usage(completion.usage)


def test_the_tool_loop_comes_to_its_answer(client, upstream, streamed):
    request = {"model": f"via-{upstream}", "tools": TOOLS}
    messages = [user(TWO_CITIES)]
    first = ask(client, streamed, messages=messages, **request)
    calls = first.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Oslo"]
    assert len({call.id for call in calls}) == 2
    # The helpers' own fields (`parsed`, `parsed_arguments`) are none of the API's.
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    for place, call in enumerate(calls):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{RESULT} ({place})"})
    final = ask(client, streamed, messages=messages, **request)
    assert final.choices[0].finish_reason == "stop"
    for place in range(2):
        assert f"{RESULT} ({place})" in final.choices[0].message.content


def test_parallel_calls_can_be_turned_off(client, upstream):
    completion = client.chat.completions.create(
        model=f"via-{upstream}", messages=[user(TWO_CITIES)], tools=TOOLS, parallel_tool_calls=False
    )
    # Gemini has no such switch; what it cannot say is reported, not hidden.
    expected = 2 if upstream == "gemini" else 1
    assert len(completion.choices[0].message.tool_calls) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", ["get_weather"]),
        ("none", []),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
    ],
)
def test_tool_choice_is_kept(client, upstream, choice, expected):
    time = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
    completion = client.chat.completions.create(
        model=f"via-{upstream}", messages=[user("Hello.")], tools=[*TOOLS, time], tool_choice=choice
    )
    calls = completion.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == expected


def test_a_schema_is_parsed(client, upstream, streamed):
    request = {"model": f"via-{upstream}", "messages": [user("The forecast.")], "response_format": Forecast}
    if streamed:
        completion = ask(client, streamed, **request)
    else:
        completion = client.chat.completions.parse(**request)
    assert completion.choices[0].finish_reason == "stop"
    check_forecast(completion.choices[0].message.parsed)


def test_tool_arguments_are_parsed(client, upstream):
    tools = [openai.pydantic_function_tool(Forecast, name="store_forecast")]
    completion = client.chat.completions.parse(
        model=f"via-{upstream}", messages=[user("Use the tool.")], tools=tools
    )
    [call] = completion.choices[0].message.tool_calls
    check_forecast(call.function.parsed_arguments)


def test_json_mode_answers_json(client, upstream, streamed):
    request = {
        "model": f"via-{upstream}",
        "messages": [user("Answer in JSON.")],
        "response_format": {"type": "json_object"},
    }
    if upstream == "anthropic":
        # Claude has schemas but no JSON mode: it is asked in words, and what is no JSON is no answer.
        with pytest.raises(openai.InternalServerError, match="did not pass the check `json`"):
            ask(client, streamed, **request)
        return
    completion = ask(client, streamed, **request)
    assert json.loads(completion.choices[0].message.content)["model"] == SERVED[upstream]


def test_an_image_is_seen(client, upstream, streamed):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
    ]
    completion = ask(client, streamed, model=f"via-{upstream}", messages=[{"role": "user", "content": content}])
    assert "I saw 1 image." in completion.choices[0].message.content


def test_reasoning_is_counted_or_shown(client, upstream, streamed):
    completion = ask(
        client, streamed, model=f"via-{upstream}", messages=[user("Think.")], reasoning_effort="low", max_tokens=8000
    )
    assert "“Think.”" in completion.choices[0].message.content
    if upstream == "openai":
        assert completion.choices[0].message.reasoning_content.startswith("Let me think.")
    if upstream != "anthropic":
        # Anthropic's usage does not tell reasoning tokens apart.
        assert completion.usage.completion_tokens_details.reasoning_tokens > 0
    check_usage(completion.usage)


def test_the_headers_say_who_served(client, upstream, streamed):
    raw = client.chat.completions.with_raw_response.create(
        model=f"via-{upstream}", messages=[user("Hello.")], stream=streamed
    )
    check_story(raw.headers, upstream, SERVED[upstream])
    if streamed:
        list(raw.parse())


def test_models_are_listed(client):
    models = {model.id: model for model in client.models.list()}
    assert {f"via-{upstream}" for upstream in UPSTREAMS} <= set(models)
    assert models["via-openai"].object == "model"
    assert models["via-openai"].owned_by
    assert client.models.retrieve("via-gemini").id == "via-gemini"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_an_unknown_model_is_not_found(client, streamed):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=[user("Hello.")], stream=streamed)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "nobody" in caught.value.message


@pytest.mark.parametrize("key", [KEY, "sk-wrong"])
def test_only_the_right_key_is_served(stack, key):
    client = openai.OpenAI(base_url=f"{stack.keyed.url}/v1", api_key=key)
    if key == KEY:
        assert client.chat.completions.create(model="via-openai", messages=[user("Hello.")]).choices
        return
    for call in (client.models.list, lambda: client.chat.completions.create(model="via-openai", messages=[])):
        with pytest.raises(openai.AuthenticationError) as caught:
            call()
        assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("bad", [{"temperature": "warm"}, {"messages": "Hello."}, {"tools": {"a": 1}}])
def test_a_wrong_type_is_a_bad_request(client, upstream, bad):
    request = {"model": f"via-{upstream}", "messages": [user("Hello.")], **bad}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**request)
    [field] = bad
    assert field in caught.value.message


@pytest.mark.parametrize(
    ("fault", "error", "named"),
    [
        ("429:retry_after=30", openai.RateLimitError, "rate_limited"),
        ("overloaded_529", openai.InternalServerError, "overloaded"),
        ("503", openai.InternalServerError, "overloaded"),
    ],
)
def test_when_every_target_fails_the_caller_hears_it_once(
    client, stack, upstream, streamed, broken, fault, error, named
):
    model = broken(fault)
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=[user("Hello.")], stream=streamed)
    headers = caught.value.response.headers
    if error is openai.RateLimitError:
        assert 0 < float(headers["retry-after"]) <= 31
    assert headers["x-should-retry"] == "false"
    assert len(stack.bad[upstream].calls(model.partition("/")[2])) == 1
    metadata = caught.value.body["metadata"]
    assert metadata["fault"] == named
    assert [attempt["target"] for attempt in metadata["attempts"]] == [model]


def test_a_prompt_that_is_too_long_says_so_in_openais_words(client, upstream, broken):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=broken("bad_request_context_length"), messages=[user("Hello.")])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.body["metadata"]["fault"] == "context_exceeded"


def test_a_prompt_against_policy_gets_the_reason(client, upstream, broken):
    request = {"model": broken("content_policy_400"), "messages": [user("Hello.")]}
    if upstream == "gemini":
        # Gemini blocks a prompt with a 200, which is an answer in OpenAI's dialect too.
        choice = client.chat.completions.create(**request).choices[0]
        assert choice.finish_reason == "content_filter"
        assert "PROHIBITED_CONTENT" in choice.message.refusal
        return
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**request)
    assert caught.value.body["metadata"]["fault"] == "content_blocked"


@pytest.mark.parametrize("first", UPSTREAMS)
def test_a_refused_connection_is_not_noticed(client, upstream, streamed, first):
    raw = client.chat.completions.with_raw_response.create(
        model=f"dead-{first}-then-{upstream}", messages=[user("Hello.")], stream=streamed
    )
    check_story(raw.headers, upstream, SERVED[upstream], attempts=2)
    answer = raw.parse()
    text = "".join(c.choices[0].delta.content or "" for c in answer) if streamed else answer.choices[0].message.content
    assert f"speaking as {SERVED[upstream]}" in text


@pytest.mark.parametrize("fault", ["error_after_prelude", "empty_stream", "error_in_200", "500", "html_in_200"])
def test_a_fault_before_the_first_content_is_not_noticed(client, stack, upstream, streamed, fault):
    stack.bad[upstream].set_faults(fault)
    try:
        # Another dialect takes over.
        fallback = UPSTREAMS[UPSTREAMS.index(upstream) - 1]
        completion = ask(client, streamed, model=f"bad-{upstream}-then-{fallback}", messages=[user("Hello.")])
    finally:
        stack.bad[upstream].set_faults()
    assert f"speaking as {SERVED[fallback]}" in completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"


def test_who_gives_up_after_two_seconds_has_its_answer_while_the_first_target_hangs(client, stack, streamed):
    impatient = client.with_options(timeout=2.0, max_retries=0)
    stack.bad["openai"].set_faults("hang_before_headers")
    try:
        completion = ask(impatient, streamed, model="bad-openai-then-anthropic", messages=[user("Hello.")])
    finally:
        stack.bad["openai"].set_faults()
    assert f"speaking as {SERVED['anthropic']}" in completion.choices[0].message.content


def test_who_gives_up_after_a_second_hears_before_that_that_nobody_answers(client, stack, streamed):
    impatient = client.with_options(timeout=1.0, max_retries=0)
    stack.bad["openai"].set_faults("hang_before_headers")
    try:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(impatient, streamed, model=f"bad-openai/{SERVED['openai']}", messages=[user("Hello.")])
    finally:
        stack.bad["openai"].set_faults()
    assert caught.value.status_code == 504
    assert "x-stainless-read-timeout" in caught.value.message


@pytest.mark.parametrize("fault", ["cut_mid_text", "cut_inside_event", "missing_terminator"])
def test_a_stream_that_breaks_ends_in_an_error(client, upstream, broken, fault):
    text, finishes = "", []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model=broken(fault), messages=[user("Hello.")], stream=True):
            text += chunk.choices[0].delta.content or ""
            finishes.append(chunk.choices[0].finish_reason)
    assert text.startswith("This is")
    assert set(finishes) == {None}
    assert caught.value.body["metadata"]["fault"] == "stream_broken"


def test_an_answer_that_is_cut_is_an_error(client, upstream, broken):
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=broken("cut_mid_text"), messages=[user("Hello.")])


def test_a_tool_call_that_is_cut_is_an_error(client, upstream, broken):
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model=broken("cut_mid_tool_call"), messages=[user(ONE_CITY)], tools=TOOLS, stream=True
            )
        )
