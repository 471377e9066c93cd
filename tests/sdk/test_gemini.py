"""Google's official Gen AI SDK for Python against the gateway, whatever dialect the provider speaks."""

import pytest
from google import genai
from google.genai import errors, types
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

DECLARATION = types.FunctionDeclaration(
    name="get_weather",
    description="The weather.",
    parameters=types.Schema(
        type=types.Type.OBJECT,
        properties={
            "city": types.Schema(type=types.Type.STRING, description="A city."),
            "days": types.Schema(type=types.Type.INTEGER, minimum=1),
        },
        required=["city", "days"],
    ),
)
JSON_DECLARATION = types.FunctionDeclaration(
    name="get_weather", description="The weather.", parameters_json_schema=WEATHER
)
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


def connect(url, **options):
    return genai.Client(api_key=options.pop("key", "none"), http_options=types.HttpOptions(base_url=url, **options))


@pytest.fixture(scope="module")
def client(stack):
    return connect(stack.open.url)


def with_tools(*declarations, **more):
    tools = [types.Tool(function_declarations=list(declarations))]
    return types.GenerateContentConfig(tools=tools, automatic_function_calling=BY_HAND, **more)


def ask(client, streamed, **request):
    """The chunks of an answer; a whole one is its only chunk."""
    if streamed:
        return list(client.models.generate_content_stream(**request))
    return [client.models.generate_content(**request)]


def parts_of(chunks):
    contents = [candidate.content for chunk in chunks for candidate in chunk.candidates or []]
    return [part for content in contents if content for part in content.parts or []]


def text_of(chunks):
    return "".join(part.text or "" for part in parts_of(chunks) if not part.thought)


def calls_of(chunks):
    return [part.function_call for part in parts_of(chunks) if part.function_call]


def finish_of(chunks):
    reasons = [candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or []]
    assert all(reason is None for reason in reasons[:-1])
    return reasons[-1]


def check_usage(usage):
    assert usage.prompt_token_count > 0
    assert usage.candidates_token_count > 0
    thoughts = usage.thoughts_token_count or 0
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + thoughts


def test_content_is_generated(client, upstream, streamed):
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
            )
        ],
    )
    contents = [
        types.UserContent("Hello."),
        types.ModelContent("Hello!"),
        types.UserContent("Who are you?"),
    ]
    chunks = ask(client, streamed, model=f"via-{upstream}", contents=contents, config=config)
    assert {chunk.model_version for chunk in chunks} == {SERVED[upstream]}
    assert len({chunk.response_id for chunk in chunks}) == 1
    assert f"speaking as {SERVED[upstream]}" in text_of(chunks)
    assert "“Who are you?”" in text_of(chunks)
    assert finish_of(chunks) == types.FinishReason.STOP
    check_usage(chunks[-1].usage_metadata)


def test_a_stream_is_one_answer_in_pieces(client, upstream):
    chunks = ask(client, True, model=f"via-{upstream}", contents="Hello.")
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    assert "“Hello.”" in text_of(chunks)


def test_a_chat_remembers(client, upstream, streamed):
    chat = client.chats.create(model=f"via-{upstream}")
    chat.send_message("Hello.")
    send = chat.send_message_stream if streamed else chat.send_message
    answer = list(send("And you?")) if streamed else [send("And you?")]
    assert "“And you?”" in text_of(answer)
    assert [content.role for content in chat.get_history(curated=True)][:3] == ["user", "model", "user"]


def test_a_short_limit_ends_with_max_tokens(client, upstream, streamed):
    config = types.GenerateContentConfig(max_output_tokens=4)
    chunks = ask(client, streamed, model=f"via-{upstream}", contents="Hello.", config=config)
    assert finish_of(chunks) == types.FinishReason.MAX_TOKENS
    assert chunks[-1].usage_metadata.candidates_token_count == 4


def test_a_stop_sequence_ends_the_answer_before_it(client, upstream, streamed):
    config = types.GenerateContentConfig(stop_sequences=["said"])
    chunks = ask(client, streamed, model=f"via-{upstream}", contents="Hello.", config=config)
    assert text_of(chunks).endswith("You ")
    assert finish_of(chunks) == types.FinishReason.STOP


@pytest.mark.parametrize("declaration", [DECLARATION, JSON_DECLARATION], ids=["schema", "json-schema"])
def test_a_tool_is_called(client, upstream, streamed, declaration):
    chunks = ask(client, streamed, model=f"via-{upstream}", contents=ONE_CITY, config=with_tools(declaration))
    [call] = calls_of(chunks)
    assert call.name == "get_weather"
    assert call.args == {"city": "Paris", "days": 1}
    assert finish_of(chunks) == types.FinishReason.STOP
    check_usage(chunks[-1].usage_metadata)


def test_the_tool_loop_comes_to_its_answer(client, upstream, streamed):
    request = {"model": f"via-{upstream}", "config": with_tools(DECLARATION)}
    contents = [types.UserContent(TWO_CITIES)]
    first = ask(client, streamed, contents=contents, **request)
    calls = calls_of(first)
    assert [call.args["city"] for call in calls] == ["Paris", "Oslo"]
    # Empty pieces of a stream are no part of a history.
    said = [part for part in parts_of(first) if part.text or part.function_call]
    contents.append(types.Content(role="model", parts=said))
    results = [
        types.FunctionResponse(id=call.id, name=call.name, response={"result": f"{RESULT} ({place})"})
        for place, call in enumerate(calls)
    ]
    contents.append(types.Content(role="user", parts=[types.Part(function_response=result) for result in results]))
    final = ask(client, streamed, contents=contents, **request)
    assert finish_of(final) == types.FinishReason.STOP
    for place in range(2):
        assert f"{RESULT} ({place})" in text_of(final)


def test_the_sdk_calls_python_functions_itself(client, upstream):
    asked = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return RESULT

    config = types.GenerateContentConfig(tools=[get_weather])
    answer = client.models.generate_content(model=f"via-{upstream}", contents=ONE_CITY, config=config)
    assert asked == ["Paris"]
    assert RESULT in answer.text


@pytest.mark.parametrize(
    ("mode", "allowed", "expected"),
    [("ANY", None, ["get_weather"]), ("NONE", None, []), ("ANY", ["get_time"], ["get_time"])],
)
def test_the_calling_mode_is_kept(client, upstream, mode, allowed, expected):
    time = types.FunctionDeclaration(name="get_time", description="The time.")
    calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=allowed)
    config = with_tools(DECLARATION, time, tool_config=types.ToolConfig(function_calling_config=calling))
    chunks = ask(client, False, model=f"via-{upstream}", contents="Hello.", config=config)
    assert [call.name for call in calls_of(chunks)] == expected


@pytest.mark.parametrize("kind", ["schema", "json-schema"])
def test_a_schema_is_parsed(client, upstream, kind):
    schema = {"response_schema": Forecast}
    if kind == "json-schema":
        schema = {"response_json_schema": Forecast.model_json_schema()}
    config = types.GenerateContentConfig(response_mime_type="application/json", **schema)
    answer = client.models.generate_content(model=f"via-{upstream}", contents="The forecast.", config=config)
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    check_forecast(answer.parsed if kind == "schema" else Forecast.model_validate(answer.parsed))


def test_a_schema_holds_in_a_stream(client, upstream):
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Forecast)
    chunks = ask(client, True, model=f"via-{upstream}", contents="The forecast.", config=config)
    check_forecast(Forecast.model_validate_json(text_of(chunks)))


def test_an_image_is_seen(client, upstream, streamed):
    image = types.Part(inline_data=types.Blob(mime_type="image/png", data=PNG))
    contents = types.Content(role="user", parts=[types.Part(text="What is this?"), image])
    chunks = ask(client, streamed, model=f"via-{upstream}", contents=contents)
    assert "I saw 1 image." in text_of(chunks)


def test_thoughts_are_shown_when_asked_for(client, upstream, streamed):
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2048), max_output_tokens=8000
    )
    chunks = ask(client, streamed, model=f"via-{upstream}", contents="Think.", config=config)
    thoughts = "".join(part.text or "" for part in parts_of(chunks) if part.thought)
    assert thoughts.startswith("Let me think.")
    assert "“Think.”" in text_of(chunks)
    check_usage(chunks[-1].usage_metadata)


def test_the_headers_say_who_served(client, upstream):
    answer = client.models.generate_content(model=f"via-{upstream}", contents="Hello.")
    check_story(answer.sdk_http_response.headers, upstream, SERVED[upstream])


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_every_version_of_the_api_is_served(stack, version):
    client = connect(stack.open.url, api_version=version)
    assert client.models.generate_content(model="via-openai", contents="Hello.").text
    assert client.models.get(model="via-openai").name == "models/via-openai"


def test_models_are_listed(client):
    models = {model.name: model for model in client.models.list()}
    assert {f"models/via-{upstream}" for upstream in UPSTREAMS} <= set(models)
    assert models["models/via-openai"].supported_actions
    assert client.models.get(model="via-gemini").name == "models/via-gemini"
    with pytest.raises(errors.ClientError) as caught:
        client.models.get(model="nobody")
    assert caught.value.code == 404


def test_an_unknown_model_is_not_found(client, streamed):
    with pytest.raises(errors.ClientError) as caught:
        ask(client, streamed, model="nobody", contents="Hello.")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert "nobody" in caught.value.message


@pytest.mark.parametrize("key", [KEY, "sk-wrong"])
def test_only_the_right_key_is_served(stack, key):
    client = connect(stack.keyed.url, key=key)
    if key == KEY:
        assert client.models.generate_content(model="via-openai", contents="Hello.").text
        return
    for call in (lambda: client.models.list(), lambda: ask(client, False, model="via-openai", contents="Hello.")):
        with pytest.raises(errors.ClientError) as caught:
            call()
        assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    "bad", [{"generationConfig": {"temperature": "warm"}}, {"contents": 7}, {"systemInstruction": 7}]
)
def test_a_wrong_type_is_a_bad_request(client, upstream, bad):
    config = types.GenerateContentConfig(http_options=types.HttpOptions(extra_body=bad))
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model=f"via-{upstream}", contents="Hello.", config=config)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("fault", "error", "named"),
    [
        ("429:retry_after=30", errors.ClientError, "rate_limited"),
        ("overloaded_529", errors.ServerError, "overloaded"),
        ("503", errors.ServerError, "overloaded"),
    ],
)
def test_when_every_target_fails_the_caller_hears_it_once(
    client, stack, upstream, streamed, broken, fault, error, named
):
    model = broken(fault)
    with pytest.raises(error) as caught:
        ask(client, streamed, model=model, contents="Hello.")
    assert (caught.value.code == 429) is (named == "rate_limited")
    assert len(stack.bad[upstream].calls(model.partition("/")[2])) == 1
    assert named in str(caught.value.details)


@pytest.mark.parametrize("first", UPSTREAMS)
def test_a_refused_connection_is_not_noticed(client, upstream, streamed, first):
    chunks = ask(client, streamed, model=f"dead-{first}-then-{upstream}", contents="Hello.")
    assert f"speaking as {SERVED[upstream]}" in text_of(chunks)
    check_story(chunks[0].sdk_http_response.headers, upstream, SERVED[upstream], attempts=2)


@pytest.mark.parametrize("fault", ["error_after_prelude", "empty_stream", "error_in_200", "500", "html_in_200"])
def test_a_fault_before_the_first_content_is_not_noticed(client, stack, upstream, streamed, fault):
    stack.bad[upstream].set_faults(fault)
    try:
        # Another dialect takes over.
        fallback = UPSTREAMS[UPSTREAMS.index(upstream) - 1]
        chunks = ask(client, streamed, model=f"bad-{upstream}-then-{fallback}", contents="Hello.")
    finally:
        stack.bad[upstream].set_faults()
    assert f"speaking as {SERVED[fallback]}" in text_of(chunks)
    assert finish_of(chunks) == types.FinishReason.STOP


@pytest.mark.parametrize("fault", ["cut_mid_text", "cut_inside_event", "missing_terminator"])
def test_a_stream_that_breaks_ends_in_an_error(client, upstream, broken, fault):
    chunks = []
    with pytest.raises(errors.APIError) as caught:
        for chunk in client.models.generate_content_stream(model=broken(fault), contents="Hello."):
            chunks.append(chunk)
    assert text_of(chunks).startswith("This is")
    assert finish_of(chunks) is None
    assert "stream_broken" in str(caught.value.details)


def test_an_answer_that_is_cut_is_an_error(client, upstream, broken):
    with pytest.raises(errors.ServerError):
        ask(client, False, model=broken("cut_mid_text"), contents="Hello.")


def test_a_tool_call_that_is_cut_is_an_error(client, upstream, broken):
    with pytest.raises(errors.APIError):
        ask(client, True, model=broken("cut_mid_tool_call"), contents=ONE_CITY, config=with_tools(DECLARATION))
