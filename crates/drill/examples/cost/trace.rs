//! A day of requests: when they come, what they ask for, and what a provider would count of them.

use crate::text;
use canon::{DialectName, Instant, Usage};
use dialect::PathFacts;
use dialect::scan::{Scan, scan};
use serde_json::{Value, json};
use std::time::Duration;

/// Requests an hour at noon, and at midnight; a cosine between them.
const NOON: f64 = 2_000.0;
const NIGHT: f64 = 200.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;
/// Characters of a token, as the gateway estimates them.
const CHARACTERS: u64 = 4;
/// What a provider counts, of what the gateway estimates: English prose has four to five characters a token, and how
/// many depends on the vendor.
const COUNTED: (f64, f64) = (0.80, 1.10);

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Chat,
    Tools,
    Summarise,
    Classify,
    LongContext,
}

/// A mean with the spread of the logarithm around it, and the most there can be.
#[derive(Debug, Clone, Copy)]
struct Size {
    mean: f64,
    sigma: f64,
    most: u64,
}

impl Size {
    fn draw(self, rng: &mut fastrand::Rng) -> u64 {
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
        whole(self.mean * (self.sigma * normal - self.sigma * self.sigma / 2.0).exp()).clamp(1, self.most)
    }
}

fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of requests, clamped")]
    let whole = number.round().clamp(0.0, 1e9) as u64;
    whole
}

impl Task {
    /// All of them, with the share of the requests in per cent.
    const SHARES: [(Self, u32); 5] =
        [(Self::Chat, 40), (Self::Tools, 20), (Self::Summarise, 15), (Self::Classify, 15), (Self::LongContext, 10)];

    fn drawn(rng: &mut fastrand::Rng) -> Self {
        let mut left = rng.u32(0..100);
        for (task, share) in Self::SHARES {
            if left < share {
                return task;
            }
            left -= share;
        }
        Self::Chat
    }

    /// The lowest tier that does it well; docs/COST.md has the reasons.
    pub(crate) fn floor(self) -> &'static str {
        match self {
            Self::Summarise | Self::Classify => "bulk",
            Self::Chat | Self::LongContext => "standard",
            Self::Tools => "premium",
        }
    }

    /// Tokens of what varies in the prompt, and of the answer; docs/COST.md has the sources. An application that
    /// watches its bill caps its answers: the most of an answer is what the request states.
    fn sizes(self) -> (Size, Size) {
        let size = |mean, sigma, most| Size { mean, sigma, most };
        match self {
            Self::Chat => (size(300.0, 1.0, 8_000), size(440.0, 0.8, 2_048)),
            Self::Tools => (size(857.0, 0.8, 16_000), size(252.0, 0.8, 1_024)),
            Self::Summarise => (size(781.0, 0.5, 8_000), size(56.0, 0.4, 256)),
            Self::Classify => (size(16.0, 0.3, 64), size(4.0, 0.3, 8)),
            Self::LongContext => (size(8_900.0, 0.6, 100_000), size(182.0, 0.8, 1_024)),
        }
    }

    fn body(self, prompt: u64, cap: u64, rng: &mut fastrand::Rng) -> Value {
        let characters = prompt * CHARACTERS;
        let user = |text: String| json!({ "role": "user", "content": text });
        let (messages, tools) = match self {
            Self::Chat => {
                let ask = text::ask(rng);
                let before = text::prose(characters.saturating_sub(ask.len() as u64), rng);
                let history =
                    [user("And what happened?".to_owned()), json!({ "role": "assistant", "content": before })];
                let turns: Vec<Value> = history.into_iter().chain([user(ask.to_owned())]).collect();
                (Value::Array(turns), None)
            }
            Self::Tools => (
                json!([
                    { "role": "system", "content": "You work in the office of a haulier. Use the tools; do not guess." },
                    user("Move the delivery of order 4711 to the first free slot of next week, and tell the customer.".to_owned()),
                    { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1", "type": "function",
                        "function": { "name": "find_orders", "arguments": "{\"number\":\"4711\"}" } }] },
                    { "role": "tool", "tool_call_id": "call_1", "content": text::prose(characters, rng) },
                ]),
                Some(tools()),
            ),
            Self::Summarise => {
                let article = text::prose(characters, rng);
                (json!([user(format!("Summarise this article in three sentences.\n\n{article}"))]), None)
            }
            Self::Classify => (
                json!([
                    { "role": "system", "content": format!(
                        "Say which one of these categories the message belongs to, and nothing else: {}", text::CATEGORIES) },
                    user(text::message(rng).to_owned()),
                ]),
                None,
            ),
            Self::LongContext => {
                let documents = text::prose(characters, rng);
                (json!([user(format!("Documents:\n\n{documents}\n\n{}", text::question(rng)))]), None)
            }
        };
        let mut body =
            json!({ "model": "assistant", "stream": true, "max_completion_tokens": cap, "messages": messages });
        if let (Some(tools), Some(fields)) = (tools, body.as_object_mut()) {
            fields.insert("tools".to_owned(), tools);
        }
        body
    }
}

/// Three tools with their schemas.
fn tools() -> Value {
    let tool = |name: &str, about: &str, properties: Value| {
        json!({ "type": "function", "function": { "name": name, "description": about,
            "parameters": { "type": "object", "properties": properties } } })
    };
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!([
        tool(
            "find_orders",
            "Finds orders by number, by customer or by day of delivery, the newest first.",
            json!({ "number": text("The order's number"), "customer": text("The customer's name, or a part of it"),
                    "day": text("The day of delivery, as YYYY-MM-DD") }),
        ),
        tool(
            "find_slots",
            "Lists the free slots of a depot between two days, with the vehicles that can serve them.",
            json!({ "depot": text("Which depot"), "from": text("The first day"), "to": text("The last day"),
                    "vehicle": { "type": "string", "enum": ["van", "lorry", "trailer"] } }),
        ),
        tool(
            "book_slot",
            "Books a slot for an order, and writes to the customer when asked to.",
            json!({ "order": text("The order's number"), "slot": text("The slot's id"),
                    "notify": { "type": "boolean", "description": "Whether the customer is written to" } }),
        ),
    ])
}

/// One request of the day.
pub(crate) struct Request {
    /// When it comes, from midnight on.
    pub(crate) at: Instant,
    pub(crate) task: Task,
    pub(crate) body: Vec<u8>,
    pub(crate) scan: Scan,
    /// What a provider counts and bills.
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

impl Request {
    /// What a whole answer is billed for.
    pub(crate) fn usage(&self) -> Usage {
        Usage { input_tokens: Some(self.input_tokens), output_tokens: Some(self.output_tokens), ..Usage::default() }
    }
}

/// Requests as they come; the same for the same seed.
pub(crate) struct Trace {
    rng: fastrand::Rng,
    /// Seconds from midnight.
    clock: f64,
    until: f64,
    /// Of the traffic, 0 to 1.
    share: f64,
}

impl Trace {
    /// From one hour of the day to another. A `share` of the traffic below one makes a shorter run of the same mix.
    pub(crate) fn new(seed: u64, hours: (f64, f64), share: f64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), clock: hours.0 * HOUR, until: hours.1 * HOUR, share }
    }

    /// Requests a second at a time of the day.
    fn rate(&self, clock: f64) -> f64 {
        let by_day = (1.0 - (std::f64::consts::TAU * clock / DAY).cos()) / 2.0;
        self.share * (NIGHT + (NOON - NIGHT) * by_day) / HOUR
    }
}

impl Iterator for Trace {
    type Item = Request;

    /// A Poisson stream at the rate of noon, thinned out to that of the hour.
    fn next(&mut self) -> Option<Request> {
        let densest = self.share * NOON / HOUR;
        loop {
            self.clock += -(1.0 - self.rng.f64()).ln() / densest;
            if self.clock >= self.until {
                return None;
            }
            if self.rng.f64() * densest < self.rate(self.clock) {
                break;
            }
        }
        let rng = &mut self.rng;
        let task = Task::drawn(rng);
        let (prompt, answer) = task.sizes();
        let body = task.body(prompt.draw(rng), answer.most, rng).to_string().into_bytes();
        let scan = scan(DialectName::OpenaiChat, &PathFacts::default(), &body).unwrap_or_default();
        let counted = COUNTED.0 + (COUNTED.1 - COUNTED.0) * rng.f64();
        Some(Request {
            at: Instant::from_origin(Duration::from_secs_f64(self.clock)),
            task,
            input_tokens: whole(scan.estimated_tokens as f64 * counted),
            output_tokens: answer.draw(rng),
            body,
            scan,
        })
    }
}
