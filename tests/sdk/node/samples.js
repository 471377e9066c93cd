// What the tests ask, in no dialect yet, and what they may expect to hear.

import assert from "node:assert/strict";
import { z } from "zod";

export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP438AAAAQBAYDFKhhdAAAAAElFTkSuQmCC";
export const WEATHER = {
  type: "object",
  properties: { city: { type: "string", description: "A city." }, days: { type: "integer", minimum: 1 } },
  required: ["city", "days"],
  additionalProperties: false,
};
export const ONE_CITY = "What is the weather in Paris?";
export const TWO_CITIES = "What is the weather in two cities?";
export const RESULT = "21 degrees and sunny";

/** Nested, with a list and an optional field, as real schemas are. */
export const Forecast = z.object({
  city: z.string(),
  days: z.number().int(),
  wind: z.object({ speed: z.number(), from_the_sea: z.boolean() }),
  warnings: z.array(z.string()),
  note: z.string().nullable(),
});

export function checkForecast(forecast) {
  assert.equal(forecast.city, "Paris");
  assert.ok(forecast.days >= 1);
  assert.equal(forecast.wind.from_the_sea, true);
}

/** The gateway's own headers name who served. */
export function checkStory(headers, upstream, served, attempts = 1) {
  assert.ok(headers.get("x-request-id"));
  assert.equal(headers.get("x-mainstay-provider"), `up-${upstream}`);
  assert.equal(headers.get("x-mainstay-model"), served);
  assert.equal(headers.get("x-mainstay-attempts"), String(attempts));
  assert.equal(headers.get("x-mainstay-fallback"), String(attempts - 1));
}
