// Streams that break after something of them was shown, as the official SDKs for Node see them: their accumulating
// stream helpers are to end in the whole answer. `../breaks.py` has the same answers and more breaks.

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { Forecast, WEATHER } from "./samples.js";
import { startStack, UPSTREAMS } from "./stack.js";

const TEXT =
  "The harbour is quiet. Seven “lanterns” swing — 漢字 and 🦊 wait.\n\n| ferry | hour |\n| --- | --- |\n" +
  "| north | 7:30 |\n\nNobody counts them twice, for the ferry returns at dawn. Then the maps are folded, " +
  "and that is all there is to say about it.";
const REASONING = "Let me think about the harbour first. There is a ferry, and it has an hour. So I shall say when.";
const FORECAST = {
  city: "Paris",
  days: 3,
  wind: { speed: 4.5, from_the_sea: true },
  warnings: ["gusts “of note”", "früh Nebel"],
  note: null,
};
const PARIS = { name: "get_weather", arguments: { city: "Paris", days: 2 } };
const OSLO = { name: "get_weather", arguments: { city: "Oslo", days: 5 } };
const beyondParis = JSON.stringify(PARIS.arguments).length + 9;
const json = JSON.stringify(FORECAST);

// Where the first provider breaks off, and what both are told to say.
const BREAKS = {
  text: ["cut_after_text:bytes=90,by=reset", { text: TEXT }],
  "text in good order": ["cut_after_text:bytes=25,by=close", { text: TEXT }],
  "text by an error": ["cut_after_text:bytes=130,by=error", { text: TEXT }],
  "a call": ["cut_after_arguments:bytes=12,by=reset", { calls: [PARIS] }],
  "parallel calls": [`cut_after_arguments:bytes=${beyondParis},by=reset`, { calls: [PARIS, OSLO] }],
  "text before a call": ["cut_after_text:bytes=70,by=reset", { text: TEXT, calls: [PARIS] }],
  "a call after text": ["cut_after_arguments:bytes=12,by=reset", { text: TEXT, calls: [PARIS] }],
  "JSON by a schema": ["cut_after_text:bytes=40,by=reset", { text: json }],
  reasoning: ["cut_after_reasoning:bytes=40,by=reset", { text: TEXT, reasoning: REASONING }],
};
const user = { role: "user", content: "Tell me about the harbour." };

let stack;
before(async () => (stack = await startStack()));
after(() => stack?.stop());

/** The completion that the helper of `openai` comes to, after its events were looked at. */
async function openai(model, answer) {
  const client = new OpenAI({ baseURL: `${stack.open.url}/v1`, apiKey: "none", maxRetries: 0 });
  const request = { model, messages: [user], stream_options: { include_usage: true } };
  const description = { name: "get_weather", description: "The weather.", parameters: WEATHER };
  if (answer.calls) request.tools = [{ type: "function", function: description }];
  if (answer.reasoning) request.reasoning_effort = "low";
  if (answer.text === json) request.response_format = zodResponseFormat(Forecast, "forecast");
  const seen = { deltas: "", content: [], calls: [], ids: new Set(), finishes: [] };
  const stream = client.chat.completions.stream(request);
  stream.on("content.delta", ({ delta }) => (seen.deltas += delta));
  stream.on("content.done", ({ content }) => seen.content.push(content));
  stream.on("tool_calls.function.arguments.done", (call) => seen.calls.push(call));
  stream.on("chunk", ({ id, choices }) => {
    seen.ids.add(id);
    if (choices[0]?.finish_reason) seen.finishes.push(choices[0].finish_reason);
  });
  const { choices, usage } = await stream.finalChatCompletion();
  assert.equal(choices.length, 1);
  const [{ message, finish_reason }] = choices;
  const expected = answer.calls ? "tool_calls" : "stop";
  assert.equal(finish_reason, expected);
  assert.deepEqual(seen.finishes, [expected]);
  assert.equal(seen.ids.size, 1);
  assert.equal(seen.deltas, message.content ?? "");
  assert.deepEqual(seen.content, answer.text ? [answer.text] : []);
  assert.equal(seen.calls.length, (answer.calls ?? []).length);
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  const calls = (message.tool_calls ?? []).map(({ function: { name, arguments: text } }) => {
    return { name, arguments: JSON.parse(text) };
  });
  return { text: message.content ?? "", calls, parsed: message.parsed };
}

/** The message that the helper of `@anthropic-ai/sdk` comes to, after its events were looked at. */
async function anthropic(model, answer) {
  const client = new Anthropic({ baseURL: stack.open.url, apiKey: "none", maxRetries: 0 });
  const request = { model, max_tokens: 4096, messages: [user] };
  if (answer.calls) request.tools = [{ name: "get_weather", description: "The weather.", input_schema: WEATHER }];
  if (answer.reasoning) request.thinking = { type: "enabled", budget_tokens: 2048 };
  if (answer.text === json) request.output_config = { format: zodOutputFormat(Forecast) };
  const events = [];
  let deltas = "";
  const stream = client.messages.stream(request);
  stream.on("streamEvent", (event) => events.push(event));
  stream.on("text", (delta) => (deltas += delta));
  const message = await stream.finalMessage();
  const kinds = events.map((event) => event.type);
  assert.equal(kinds[0], "message_start");
  assert.deepEqual(kinds.slice(-2), ["message_delta", "message_stop"]);
  // Blocks come one after the other, each begun and ended once.
  let begun = 0;
  let isOpen = false;
  for (const { type, index } of events.slice(1, -2)) {
    if (type === "content_block_start") {
      assert.deepEqual([isOpen, index], [false, begun]);
      begun += 1;
    } else {
      assert.deepEqual([isOpen, index], [true, begun - 1]);
    }
    isOpen = type !== "content_block_stop";
  }
  assert.ok(!isOpen);
  assert.equal(message.stop_reason, answer.calls ? "tool_use" : "end_turn");
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
  const of = (kind) => message.content.filter((block) => block.type === kind);
  const text = of("text")
    .map((block) => block.text)
    .join("");
  assert.equal(deltas, text);
  const calls = of("tool_use").map(({ name, input }) => ({ name, arguments: input }));
  return { text, calls, parsed: message.parsed_output };
}

for (const [sdk, ask] of Object.entries({ openai, anthropic })) {
  for (const [name, [fault, answer]] of Object.entries(BREAKS)) {
    describe(`${sdk}: ${name} that breaks`, () => {
      for (const primary of UPSTREAMS) {
        for (const fallback of UPSTREAMS) {
          test(`goes on from ${primary} to ${fallback}`, async () => {
            const heard = await stack.whileBreaking(primary, fallback, fault, answer, (model) => ask(model, answer));
            assert.equal(heard.text, answer.text ?? "");
            assert.deepEqual(heard.calls, answer.calls ?? []);
            if (answer.text === json) assert.deepEqual(heard.parsed, FORECAST);
          });
        }
      }
    });
  }
}
