"""How each SDK is asked for a stream and what it makes of it; every rule of the dialect's event sequence is checked."""

import json

import anthropic
import openai
from breaks import Heard
from google import genai
from google.genai import errors, types
from samples import WEATHER, Forecast

QUESTION = "Tell me about the harbour."


def one(values):
    """The one value that all of them are."""
    [value] = set(values)
    return value


class OpenAI:
    """`openai`, by its stream helper or by the chunks themselves."""

    ERROR = openai.APIError
    # Whose thoughts it cannot ask for.
    UNSEEN = ("gemini",)

    TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "W.", "parameters": WEATHER}}]

    def __init__(self, url, headers=None):
        self.client = openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, default_headers=headers
        )

    def request(self, model, broken):
        request = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        if broken.calls:
            request["tools"] = self.TOOLS
        if broken.reasoning:
            request["reasoning_effort"] = "low"
        return request

    def helper(self, model, broken):
        request = self.request(model, broken)
        if broken.structured:
            request["response_format"] = Forecast
        chunks, events = [], []
        with self.client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
            for event in stream:
                (chunks if event.type == "chunk" else events).append(event)
            completion = stream.get_final_completion()
            headers = stream._response.headers
        heard = self.chunks([event.chunk for event in chunks])
        kinds = [event.type for event in events]
        if broken.text:
            assert "".join(event.delta for event in events if event.type == "content.delta") == broken.text
            assert kinds.count("content.done") == 1
        assert kinds.count("tool_calls.function.arguments.done") == len(broken.calls)
        [choice] = completion.choices
        assert completion.id == chunks[0].chunk.id
        assert choice.finish_reason == heard.finish
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
        assert min(completion.usage.prompt_tokens, completion.usage.completion_tokens) > 0
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
        assert (choice.message.content or "", calls) == (heard.text, heard.calls)
        heard.parsed, heard.headers = choice.message.parsed, headers
        return heard

    def raw(self, model, broken):
        request = self.request(model, broken)
        if broken.structured:
            schema = {"name": "forecast", "schema": Forecast.model_json_schema()}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        stream = self.client.chat.completions.create(**request, stream=True)
        heard = self.chunks(list(stream))
        heard.headers = stream.response.headers
        if broken.structured:
            heard.parsed = Forecast.model_validate_json(heard.text)
        return heard

    @staticmethod
    def chunks(chunks):
        heard, calls, finishes = Heard(), [], []
        told = [chunk for chunk in chunks if "mainstay" in (chunk.model_extra or {})]
        assert not any(chunk.choices for chunk in told)
        chunks = [chunk for chunk in chunks if chunk not in told]
        one(chunk.id for chunk in chunks)
        one(chunk.created for chunk in chunks)
        one(chunk.model for chunk in chunks)
        for place, chunk in enumerate(chunks):
            if not chunk.choices:
                assert (place, chunk.usage is not None) == (len(chunks) - 1, True)
                continue
            assert chunk.usage is None
            [choice] = chunk.choices
            assert choice.index == 0
            assert not finishes, "something came after the finish reason"
            delta = choice.delta
            assert delta.role in ((None, "assistant") if place else ("assistant",))
            heard.text += delta.content or ""
            heard.reasoning += getattr(delta, "reasoning_content", None) or ""
            for call in delta.tool_calls or []:
                if call.index == len(calls):
                    assert call.id and call.function.name
                    calls.append([call.id, call.function.name, ""])
                else:
                    assert call.index == len(calls) - 1, "calls come one after the other"
                    assert not call.id and not call.function.name
                calls[call.index][2] += call.function.arguments or ""
            finishes += [choice.finish_reason] if choice.finish_reason else []
        [heard.finish] = finishes
        assert len({call[0] for call in calls}) == len(calls)
        heard.calls = [(name, json.loads(arguments)) for _, name, arguments in calls]
        assert heard.finish == ("tool_calls" if calls else "stop")
        return heard


class Anthropic:
    """`anthropic`, by its stream helper or by the events themselves."""

    ERROR = anthropic.APIStatusError
    UNSEEN = ()

    TOOLS = [{"name": "get_weather", "description": "W.", "input_schema": WEATHER}]

    def __init__(self, url, headers=None):
        self.client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, default_headers=headers)

    def request(self, model, broken):
        request = {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": QUESTION}]}
        if broken.calls:
            request["tools"] = self.TOOLS
        if broken.reasoning:
            request["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        return request

    def helper(self, model, broken):
        request = self.request(model, broken)
        if broken.structured:
            request["output_format"] = Forecast
        with self.client.messages.stream(**request) as stream:
            texts = [event.text for event in stream if event.type == "text"]
            message = stream.get_final_message()
            headers = stream.response.headers
        heard = Heard(text="".join(texts), finish=message.stop_reason, headers=headers)
        assert message.id.startswith("msg_")
        for block in message.content:
            if block.type == "thinking":
                heard.reasoning += block.thinking
            elif block.type == "tool_use":
                heard.calls.append((block.name, block.input))
        assert "".join(block.text for block in message.content if block.type == "text") == heard.text
        assert heard.finish == ("tool_use" if heard.calls else "end_turn")
        assert min(message.usage.input_tokens, message.usage.output_tokens) > 0
        heard.parsed = message.parsed_output if broken.structured else None
        return heard

    def raw(self, model, broken):
        request = self.request(model, broken)
        if broken.structured:
            schema = anthropic.transform_schema(Forecast)
            request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        stream = self.client.messages.create(**request, stream=True)
        heard = self.events(list(stream))
        heard.headers = stream.response.headers
        if broken.structured:
            heard.parsed = Forecast.model_validate_json(heard.text)
        return heard

    @staticmethod
    def events(events):
        heard, calls, blocks, is_open = Heard(), [], [], False
        events = [event for event in events if event.type != "mainstay"]
        assert events[0].type == "message_start"
        assert [event.type for event in events[-2:]] == ["message_delta", "message_stop"]
        for event in events[1:-2]:
            if event.type == "content_block_start":
                assert (is_open, event.index) == (False, len(blocks))
                is_open = True
                blocks.append(event.content_block.type)
                if blocks[-1] == "tool_use":
                    calls.append([event.content_block.id, event.content_block.name, ""])
                continue
            assert (is_open, event.index) == (True, len(blocks) - 1), event
            if event.type == "content_block_stop":
                is_open = False
                continue
            assert event.type == "content_block_delta"
            kinds = {"text": ("text_delta",), "tool_use": ("input_json_delta",)}
            assert event.delta.type in kinds.get(blocks[-1], ("thinking_delta", "signature_delta"))
            if event.delta.type == "text_delta":
                heard.text += event.delta.text
            elif event.delta.type == "thinking_delta":
                heard.reasoning += event.delta.thinking
            elif event.delta.type == "input_json_delta":
                calls[-1][2] += event.delta.partial_json
        assert not is_open
        assert len({call[0] for call in calls}) == len(calls)
        heard.calls = [(name, json.loads(arguments)) for _, name, arguments in calls]
        heard.finish = events[-2].delta.stop_reason
        assert heard.finish == ("tool_use" if calls else "end_turn")
        return heard


class Gemini:
    """`google-genai`, by its stream or by a chat, which keeps what it accumulates as history."""

    ERROR = errors.APIError
    UNSEEN = ()

    def __init__(self, url, headers=None):
        options = types.HttpOptions(base_url=url, headers=headers)
        self.client = genai.Client(api_key="none", http_options=options)

    def config(self, broken):
        settings = {}
        if broken.calls:
            declaration = types.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
            settings["tools"] = [types.Tool(function_declarations=[declaration])]
            settings["automatic_function_calling"] = types.AutomaticFunctionCallingConfig(disable=True)
        if broken.reasoning:
            settings["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
        if broken.structured:
            settings |= {"response_mime_type": "application/json", "response_schema": Forecast}
        return types.GenerateContentConfig(**settings)

    def helper(self, model, broken):
        chat = self.client.chats.create(model=model, config=self.config(broken))
        heard = self.chunks(list(chat.send_message_stream(QUESTION)), broken)
        asked, *said = chat.get_history(curated=True)
        assert asked.role == "user"
        parts = [part for content in said for part in content.parts]
        assert {content.role for content in said} == {"model"}
        assert "".join(part.text or "" for part in parts if not part.thought) == heard.text
        return heard

    def raw(self, model, broken):
        config = self.config(broken)
        chunks = self.client.models.generate_content_stream(model=model, contents=QUESTION, config=config)
        return self.chunks(list(chunks), broken)

    @staticmethod
    def chunks(chunks, broken):
        chunks = [chunk for chunk in chunks if chunk.candidates or chunk.usage_metadata or chunk.prompt_feedback]
        one(chunk.response_id for chunk in chunks)
        one(chunk.model_version for chunk in chunks)
        candidates = [one_candidate(chunk) for chunk in chunks]
        reasons = [candidate.finish_reason for candidate in candidates]
        assert all(reason is None for reason in reasons[:-1])
        assert reasons[-1] == types.FinishReason.STOP
        heard = Heard(finish="STOP", headers=chunks[0].sdk_http_response.headers)
        for part in (part for candidate in candidates for part in (candidate.content and candidate.content.parts) or []):
            if part.function_call:
                heard.calls.append((part.function_call.name, part.function_call.args))
            elif part.thought:
                heard.reasoning += part.text or ""
            else:
                heard.text += part.text or ""
        usage = chunks[-1].usage_metadata
        assert min(usage.prompt_token_count, usage.candidates_token_count) > 0
        heard.parsed = Forecast.model_validate_json(heard.text) if broken.structured else None
        return heard


def one_candidate(chunk):
    [candidate] = chunk.candidates
    return candidate


READERS = {"openai": OpenAI, "anthropic": Anthropic, "gemini": Gemini}
