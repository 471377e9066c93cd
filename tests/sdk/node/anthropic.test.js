// The official Anthropic SDK for Node against the gateway, whatever dialect the provider speaks.

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
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

const TOOLS = [{ name: "get_weather", description: "The weather.", input_schema: WEATHER }];
const THINKING = { type: "enabled", budget_tokens: 2048 };
const user = (content) => ({ role: "user", content });
const connect = (baseURL, apiKey = "none") => new Anthropic({ baseURL, apiKey });
const textOf = (message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");
const callsOf = (message) => message.content.filter((block) => block.type === "tool_use");

let stack;
let client;
before(async () => {
  stack = await startStack();
  client = connect(stack.open.url);
});
after(() => stack?.stop());

/** One message: whole, or put together by the SDK's own stream helper. */
function ask(isStreamed, request, asker = client) {
  const full = { max_tokens: 4096, ...request };
  return isStreamed ? asker.messages.stream(full).finalMessage() : asker.messages.create(full);
}

for (const upstream of UPSTREAMS) {
  const model = `via-${upstream}`;

  for (const isStreamed of [false, true]) {
    describe(`${upstream} upstream, ${isStreamed ? "streamed" : "whole"}`, () => {
      test("a message is answered", async () => {
        const message = await ask(isStreamed, {
          model,
          system: "Be brief.",
          messages: [user("Hello."), { role: "assistant", content: "Hello!" }, user("Who are you?")],
        });
        assert.equal(message.model, SERVED[upstream]);
        assert.ok(textOf(message).includes(`speaking as ${SERVED[upstream]}`));
        assert.ok(textOf(message).includes("“Who are you?”"));
        assert.equal(message.stop_reason, "end_turn");
        assert.ok(message.usage.input_tokens > 0);
        assert.ok(message.usage.output_tokens > 0);
      });

      test("the tool loop comes to its answer", async () => {
        const messages = [user(TWO_CITIES)];
        const first = await ask(isStreamed, { model, messages, tools: TOOLS });
        assert.equal(first.stop_reason, "tool_use");
        const calls = callsOf(first);
        assert.deepEqual(
          calls.map((call) => [call.name, call.input.city]),
          [
            ["get_weather", "Paris"],
            ["get_weather", "Oslo"],
          ],
        );
        const results = calls.map(({ id }, place) => {
          return { type: "tool_result", tool_use_id: id, content: `${RESULT} (${place})` };
        });
        messages.push({ role: "assistant", content: first.content }, user(results));
        const final = await ask(isStreamed, { model, messages, tools: TOOLS });
        assert.equal(final.stop_reason, "end_turn");
        for (const place of [0, 1]) assert.ok(textOf(final).includes(`${RESULT} (${place})`));
      });

      test("a schema is parsed", async () => {
        const request = {
          model,
          max_tokens: 4096,
          messages: [user("The forecast.")],
          output_config: { format: zodOutputFormat(Forecast) },
        };
        const message = isStreamed ? await ask(true, request) : await client.messages.parse(request);
        checkForecast(message.parsed_output);
      });

      test("an image is seen", async () => {
        const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } };
        const message = await ask(isStreamed, { model, messages: [user([{ type: "text", text: "What?" }, image])] });
        assert.ok(textOf(message).includes("I saw 1 image."));
      });

      test("thinking is shown and given back", async () => {
        const messages = [user(ONE_CITY)];
        const first = await ask(isStreamed, { model, messages, thinking: THINKING, tools: TOOLS });
        assert.deepEqual(
          first.content.map((block) => block.type),
          ["thinking", "tool_use"],
        );
        assert.match(first.content[0].thinking, /^Let me think\./);
        const result = { type: "tool_result", tool_use_id: first.content[1].id, content: RESULT };
        messages.push({ role: "assistant", content: first.content }, user([result]));
        const final = await ask(isStreamed, { model, messages, thinking: THINKING, tools: TOOLS });
        assert.ok(textOf(final).includes(RESULT));
      });

      test("the headers say who served", async () => {
        const request = { model, max_tokens: 4096, messages: [user("Hello.")], stream: isStreamed };
        const { response, data } = await client.messages.create(request).withResponse();
        checkStory(response.headers, upstream, SERVED[upstream]);
        if (isStreamed) for await (const event of data) assert.ok(event);
      });

      test("a refused connection is not noticed", async () => {
        for (const first of UPSTREAMS) {
          const request = { model: `dead-${first}-then-${upstream}`, messages: [user("Hello.")] };
          const message = await ask(isStreamed, request);
          assert.ok(textOf(message).includes(`speaking as ${SERVED[upstream]}`));
        }
      });

      for (const fault of ["error_after_prelude", "empty_stream", "error_in_200", "500"]) {
        test(`${fault} before the first content is not noticed`, async () => {
          await stack.whileBroken(upstream, fault, async () => {
            const fallback = UPSTREAMS[(UPSTREAMS.indexOf(upstream) + 1) % UPSTREAMS.length];
            const message = await ask(isStreamed, {
              model: `bad-${upstream}-then-${fallback}`,
              messages: [user("Hello.")],
            });
            assert.ok(textOf(message).includes(`speaking as ${SERVED[fallback]}`));
          });
        });
      }

      test("who gives up after two seconds has its answer while the first target hangs", async () => {
        await stack.whileBroken(upstream, "hang_before_headers", async () => {
          const fallback = UPSTREAMS[(UPSTREAMS.indexOf(upstream) + 1) % UPSTREAMS.length];
          const request = { model: `bad-${upstream}-then-${fallback}`, messages: [user("Hello.")] };
          const message = await ask(isStreamed, request, client.withOptions({ timeout: 2000, maxRetries: 0 }));
          assert.ok(textOf(message).includes(`speaking as ${SERVED[fallback]}`));
        });
      });

      for (const [fault, kind] of [
        ["429:retry_after=30", Anthropic.RateLimitError],
        ["503", Anthropic.InternalServerError],
      ]) {
        test(`when every target fails with ${fault} the caller hears it once`, async () => {
          await stack.whileBroken(upstream, fault, async (broken) => {
            await assert.rejects(ask(isStreamed, { model: broken, messages: [user("Hello.")] }), (error) => {
              assert.ok(error instanceof kind, `${error}`);
              assert.equal(error.headers.get("x-should-retry"), "false");
              assert.equal(error.error.error.metadata.attempts.length, 1);
              return true;
            });
            assert.equal(await stack.calls(upstream, broken), 1);
          });
        });
      }
    });
  }

  describe(`${upstream} upstream`, () => {
    test("the stream helper gives text as it comes", async () => {
      const pieces = [];
      const stream = client.messages.stream({ model, max_tokens: 4096, messages: [user("Hello.")] });
      stream.on("text", (piece) => pieces.push(piece));
      const message = await stream.finalMessage();
      assert.ok(pieces.length > 3);
      assert.equal(pieces.join(""), textOf(message));
    });

    test("a wrong type is a bad request", async () => {
      const call = ask(false, { model, messages: [user("Hello.")], top_k: "few" });
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof Anthropic.BadRequestError, `${error}`);
        assert.match(error.message, /top_k/);
        return true;
      });
    });

    for (const fault of ["cut_mid_text", "cut_inside_event", "missing_terminator"]) {
      test(`a stream that breaks by ${fault} ends in an error`, async () => {
        await stack.whileBroken(upstream, fault, async (broken) => {
          let text = "";
          const stream = client.messages.stream({ model: broken, max_tokens: 4096, messages: [user("Hello.")] });
          stream.on("text", (piece) => (text += piece));
          await assert.rejects(stream.finalMessage(), (error) => {
            assert.ok(error instanceof Anthropic.APIError, `${error}`);
            assert.equal(error.error.error.metadata.fault, "stream_broken");
            return true;
          });
          assert.match(text, /^This is/);
        });
      });
    }

    test("a tool call that is cut is an error", async () => {
      await stack.whileBroken(upstream, "cut_mid_tool_call", async (broken) => {
        const request = { model: broken, messages: [user(ONE_CITY)], tools: TOOLS };
        await assert.rejects(ask(true, request), Anthropic.APIError);
      });
    });
  });
}

test("models are listed", async () => {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  for (const upstream of UPSTREAMS) assert.ok(ids.includes(`via-${upstream}`));
  assert.equal((await client.models.retrieve("via-gemini")).id, "via-gemini");
});

test("an unknown model is not found", async () => {
  await assert.rejects(ask(false, { model: "nobody", messages: [user("Hello.")] }), Anthropic.NotFoundError);
});

test("only the right key is served", async () => {
  const request = { model: "via-openai", max_tokens: 64, messages: [user("Hello.")] };
  assert.ok(textOf(await connect(stack.keyed.url, KEY).messages.create(request)));
  const wrong = connect(stack.keyed.url, "sk-wrong");
  await assert.rejects(wrong.messages.create(request), Anthropic.AuthenticationError);
  await assert.rejects(async () => await wrong.models.list(), Anthropic.AuthenticationError);
});
