// The official OpenAI SDK for Node against the gateway, whatever dialect the provider speaks.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import {
  checkForecast,
  checkStory,
  Forecast,
  ONE_CITY,
  PNG,
  RESULT,
  TWO_CITIES,
  WEATHER,
} from "./samples.js";
import { KEY, SERVED, startStack, UPSTREAMS } from "./stack.js";

const TOOLS = [
  { type: "function", function: { name: "get_weather", description: "The weather.", parameters: WEATHER } },
];
const user = (content) => ({ role: "user", content });
const connect = (url, apiKey = "none") => new OpenAI({ baseURL: `${url}/v1`, apiKey });

let stack;
let client;
before(async () => {
  stack = await startStack();
  client = connect(stack.open.url);
});
after(() => stack?.stop());

/** One completion: whole, or put together by the SDK's own stream helper. */
function ask(isStreamed, request, options = {}) {
  const { completions } = client.chat;
  if (!isStreamed) return completions.create(request, options);
  return completions.stream({ ...request, stream_options: { include_usage: true } }, options).finalChatCompletion();
}

function checkUsage(usage) {
  assert.ok(usage.prompt_tokens > 0);
  assert.ok(usage.completion_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

for (const upstream of UPSTREAMS) {
  const model = `via-${upstream}`;

  for (const isStreamed of [false, true]) {
    describe(`${upstream} upstream, ${isStreamed ? "streamed" : "whole"}`, () => {
      test("chat answers", async () => {
        const messages = [
          { role: "system", content: "Be brief." },
          user("Hello."),
          { role: "assistant", content: "Hello!" },
          user("Who are you?"),
        ];
        const completion = await ask(isStreamed, { model, messages, temperature: 0.5 });
        const [choice] = completion.choices;
        assert.equal(completion.model, SERVED[upstream]);
        assert.match(choice.message.content, new RegExp(`speaking as ${SERVED[upstream]}`));
        assert.match(choice.message.content, /“Who are you\?”/);
        assert.equal(choice.finish_reason, "stop");
        checkUsage(completion.usage);
      });

      test("the tool loop comes to its answer", async () => {
        const messages = [user(TWO_CITIES)];
        const first = await ask(isStreamed, { model, messages, tools: TOOLS });
        const { message, finish_reason } = first.choices[0];
        assert.equal(finish_reason, "tool_calls");
        assert.deepEqual(
          message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments).city]),
          [
            ["get_weather", "Paris"],
            ["get_weather", "Oslo"],
          ],
        );
        // The helpers' own field `parsed` is none of the API's.
        messages.push({ role: "assistant", content: message.content, tool_calls: plain(message.tool_calls) });
        message.tool_calls.forEach((call, place) => {
          messages.push({ role: "tool", tool_call_id: call.id, content: `${RESULT} (${place})` });
        });
        const final = await ask(isStreamed, { model, messages, tools: TOOLS });
        assert.equal(final.choices[0].finish_reason, "stop");
        for (const place of [0, 1]) assert.ok(final.choices[0].message.content.includes(`${RESULT} (${place})`));
      });

      test("a schema is parsed", async () => {
        const request = {
          model,
          messages: [user("The forecast.")],
          response_format: zodResponseFormat(Forecast, "forecast"),
        };
        const completion = isStreamed ? await ask(true, request) : await client.chat.completions.parse(request);
        assert.equal(completion.choices[0].finish_reason, "stop");
        checkForecast(completion.choices[0].message.parsed);
      });

      test("an image is seen", async () => {
        const content = [
          { type: "text", text: "What is this?" },
          { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } },
        ];
        const completion = await ask(isStreamed, { model, messages: [user(content)] });
        assert.match(completion.choices[0].message.content, /I saw 1 image\./);
      });

      test("the headers say who served", async () => {
        const call = client.chat.completions.create({ model, messages: [user("Hello.")], stream: isStreamed });
        const { response, data } = await call.withResponse();
        checkStory(response.headers, upstream, SERVED[upstream]);
        if (isStreamed) for await (const chunk of data) assert.ok(chunk);
      });

      test("a refused connection is not noticed", async () => {
        for (const first of UPSTREAMS) {
          const request = { model: `dead-${first}-then-${upstream}`, messages: [user("Hello.")] };
          const completion = await ask(isStreamed, request);
          assert.match(completion.choices[0].message.content, new RegExp(`speaking as ${SERVED[upstream]}`));
        }
      });

      for (const fault of ["error_after_prelude", "empty_stream", "error_in_200", "500"]) {
        test(`${fault} before the first content is not noticed`, async () => {
          await stack.whileBroken(upstream, fault, async () => {
            const fallback = UPSTREAMS[(UPSTREAMS.indexOf(upstream) + 1) % UPSTREAMS.length];
            const request = { model: `bad-${upstream}-then-${fallback}`, messages: [user("Hello.")] };
            const completion = await ask(isStreamed, request);
            assert.match(completion.choices[0].message.content, new RegExp(`speaking as ${SERVED[fallback]}`));
          });
        });
      }

      test("who gives up after two seconds has its answer while the first target hangs", async () => {
        await stack.whileBroken(upstream, "hang_before_headers", async () => {
          const fallback = UPSTREAMS[(UPSTREAMS.indexOf(upstream) + 1) % UPSTREAMS.length];
          const request = { model: `bad-${upstream}-then-${fallback}`, messages: [user("Hello.")] };
          // What stands at the client this SDK does not announce.
          const completion = await ask(isStreamed, request, { timeout: 2000, maxRetries: 0 });
          assert.match(completion.choices[0].message.content, new RegExp(`speaking as ${SERVED[fallback]}`));
        });
      });

      for (const [fault, kind] of [
        ["429:retry_after=30", OpenAI.RateLimitError],
        ["503", OpenAI.InternalServerError],
      ]) {
        test(`when every target fails with ${fault} the caller hears it once`, async () => {
          await stack.whileBroken(upstream, fault, async (broken) => {
            const request = { model: broken, messages: [user("Hello.")], stream: isStreamed };
            const call = client.chat.completions.create(request);
            await assert.rejects(call, (error) => {
              assert.ok(error instanceof kind, `${error}`);
              assert.equal(error.headers.get("x-should-retry"), "false");
              assert.equal(error.error.metadata.attempts.length, 1);
              return true;
            });
            assert.equal(await stack.calls(upstream, broken), 1);
          });
        });
      }
    });
  }

  describe(`${upstream} upstream`, () => {
    test("a stream is one answer in pieces, without usage that nobody asked for", async () => {
      const chunks = [];
      const stream = await client.chat.completions.create({ model, messages: [user("Hello.")], stream: true });
      for await (const chunk of stream) chunks.push(chunk);
      const pieces = chunks.map((chunk) => chunk.choices[0].delta.content).filter(Boolean);
      assert.ok(pieces.length > 3);
      assert.match(pieces.join(""), /“Hello\.”/);
      assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
      assert.ok(chunks.every((chunk) => !chunk.usage));
    });

    test("tool arguments are parsed", async () => {
      const tools = [zodFunction({ name: "store_forecast", parameters: Forecast })];
      const completion = await client.chat.completions.parse({ model, messages: [user("Use the tool.")], tools });
      checkForecast(completion.choices[0].message.tool_calls[0].function.parsed_arguments);
    });

    test("the SDK runs the tools itself", async () => {
      const asked = [];
      const getWeather = { name: "get_weather", description: "The weather.", parameters: WEATHER, parse: JSON.parse };
      getWeather.function = ({ city }) => (asked.push(city), RESULT);
      const tools = [{ type: "function", function: getWeather }];
      const runner = client.chat.completions.runTools({ model, messages: [user(ONE_CITY)], tools });
      assert.ok((await runner.finalContent()).includes(RESULT));
      assert.deepEqual(asked, ["Paris"]);
    });

    test("a wrong type is a bad request", async () => {
      const call = client.chat.completions.create({ model, messages: [user("Hello.")], temperature: "warm" });
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError, `${error}`);
        assert.match(error.message, /temperature/);
        return true;
      });
    });

    for (const fault of ["cut_mid_text", "cut_inside_event", "missing_terminator"]) {
      test(`a stream that breaks by ${fault} ends in an error`, async () => {
        await stack.whileBroken(upstream, fault, async (broken) => {
          let text = "";
          const reading = async () => {
            const request = { model: broken, messages: [user("Hello.")], stream: true };
            for await (const chunk of await client.chat.completions.create(request)) {
              text += chunk.choices[0].delta.content ?? "";
              assert.equal(chunk.choices[0].finish_reason, null);
            }
          };
          await assert.rejects(reading, (error) => {
            assert.ok(error instanceof OpenAI.APIError, `${error}`);
            assert.equal(error.error.metadata.fault, "stream_broken");
            return true;
          });
          assert.match(text, /^This is/);
        });
      });
    }

    test("a tool call that is cut is an error", async () => {
      await stack.whileBroken(upstream, "cut_mid_tool_call", async (broken) => {
        const request = { model: broken, messages: [user(ONE_CITY)], tools: TOOLS };
        await assert.rejects(ask(true, request), OpenAI.APIError);
      });
    });
  });
}

function plain(calls) {
  return calls.map(({ id, type, function: { name, arguments: text } }) => ({
    id,
    type,
    function: { name, arguments: text },
  }));
}

test("models are listed", async () => {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  for (const upstream of UPSTREAMS) assert.ok(ids.includes(`via-${upstream}`));
  assert.equal((await client.models.retrieve("via-gemini")).id, "via-gemini");
});

test("an unknown model is not found", async () => {
  const call = client.chat.completions.create({ model: "nobody", messages: [user("Hello.")] });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
});

test("only the right key is served", async () => {
  const request = { model: "via-openai", messages: [user("Hello.")] };
  assert.ok((await connect(stack.keyed.url, KEY).chat.completions.create(request)).choices.length);
  const wrong = connect(stack.keyed.url, "sk-wrong");
  await assert.rejects(wrong.chat.completions.create(request), OpenAI.AuthenticationError);
  await assert.rejects(async () => await wrong.models.list(), OpenAI.AuthenticationError);
});
