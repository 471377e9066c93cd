//! Answers that are none: what fails over, what is written down, and what is left alone.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/heard.rs"]
mod read;

mod checks;
mod evaluation;

use crate::read::hear;
use crate::support::memory::{Answer, read as read_to_end};
use crate::support::transports::Spy;
use crate::support::{body, request, row, snapshot};
use canon::DialectName;
use gateway::Gateway;
use health::Health;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use simulator::{Behaviour, InMemory, Pace, Provider, Simulator};
use std::sync::Arc;

/// A gateway with the model `chat`, served by `primary/m-1`, then `fallback/m-2`, and a provider `judge`.
struct World {
    gateway: Arc<Gateway>,
    primary: Simulator,
    fallback: Simulator,
    judge: Simulator,
    spy: Spy,
}

impl World {
    /// `lines` are more lines of the model `chat`.
    fn new(primary: DialectName, fallback: DialectName, lines: &[&str]) -> Self {
        let simulator = |name: &str, dialect| Simulator::new(Provider::new(name, dialect).at_pace(Pace::default()));
        let (primary_is, fallback_is) = (primary, fallback);
        let (primary, fallback) = (simulator("primary", primary), simulator("fallback", fallback));
        let judge = simulator("judge", DialectName::OpenaiChat);
        let yaml = format!(
            "providers:\n{}{}{}models:\n  critic: {{ targets: [judge/j-1], evaluate: {{ model: critic }} }}\n  \
             chat:\n    targets: [primary/m-1, fallback/m-2]\n{}",
            row("primary", primary_is, "http://primary", "[sk-1]"),
            row("fallback", fallback_is, "http://fallback", "[sk-f]"),
            "  judge:\n    dialect: openai-chat\n    base_url: http://judge/v1\n    keys: [sk-j]\n    models: [{ id: \
             j-1, prices: { input: 1000000, output: 1000000 } }]\n",
            lines.iter().fold(String::new(), |text, line| text + "    " + line + "\n"),
        );
        let spy = Spy::over(InMemory::new().with(&primary).with(&fallback).with(&judge));
        let gateway = Gateway::new(snapshot(&yaml, &Arc::new(Health::new(1))), Arc::new(spy.clone()), 1).unwrap();
        Self { gateway: Arc::new(gateway), primary, fallback, judge, spy }
    }

    /// The same with this many bytes for everything the gateway holds.
    fn with_byte_budget(self, bytes: usize) -> Self {
        let gateway = Gateway::new(self.gateway.snapshot(), Arc::new(self.spy.clone()), 1).unwrap();
        Self { gateway: Arc::new(gateway.with_byte_budget(bytes)), ..self }
    }

    /// The primary says the one, the fallback the other.
    fn saying(self, primary: &str, fallback: &str) -> Self {
        self.primary.set_behaviour(says(primary));
        self.fallback.set_behaviour(says(fallback));
        self
    }

    async fn send(&self, mut request: Request<Full<bytes::Bytes>>) -> Answer {
        request.headers_mut().insert("x-mainstay-trace", HeaderValue::from_static("1"));
        read_to_end(self.gateway.handle(request).await).await
    }

    /// What a caller hears.
    async fn ask(&self, dialect: DialectName, body: Value, stream: bool) -> Told {
        let answer = self.send(request(dialect, body, stream)).await;
        let text = if !stream || answer.status != 200 {
            text_of(dialect, &answer.json())
        } else {
            let heard = hear(dialect, &answer);
            assert!(heard.is_complete() && heard.oddities.is_empty(), "{heard:#?}");
            heard.text
        };
        let story = story(&answer, stream && answer.status == 200);
        Told {
            text,
            status: answer.status,
            by: answer.header("x-mainstay-provider").map(str::to_owned),
            checks: story["checks"].as_array().cloned().unwrap_or_default(),
            story,
        }
    }

    async fn hello(&self, dialect: DialectName, stream: bool) -> Told {
        self.ask(dialect, body(dialect, "Hello"), stream).await
    }

    /// Calls of primary, fallback and judge.
    fn calls(&self) -> (usize, usize, usize) {
        (self.primary.journal().len(), self.fallback.journal().len(), self.judge.journal().len())
    }
}

/// A provider that says this.
fn says(text: &str) -> Behaviour {
    Behaviour { answer: simulator::Answer::exactly(text), pace: Pace::instant(), ..Behaviour::default() }
}

#[derive(Debug)]
struct Told {
    text: String,
    status: u16,
    by: Option<String>,
    /// Of the trace.
    checks: Vec<Value>,
    story: Value,
}

impl Told {
    /// Check and outcome of each record.
    fn outcomes(&self) -> Vec<(&str, &str)> {
        self.checks.iter().map(|it| (it["check"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect()
    }
}

fn text_of(dialect: DialectName, answer: &Value) -> String {
    let text = match dialect {
        DialectName::OpenaiChat => &answer["choices"][0]["message"]["content"],
        DialectName::AnthropicMessages => &answer["content"][0]["text"],
        DialectName::Gemini => &answer["candidates"][0]["content"]["parts"][0]["text"],
    };
    text.as_str().unwrap_or_default().to_owned()
}

fn story(answer: &Answer, stream: bool) -> Value {
    if !stream {
        return answer.json()["mainstay"].clone();
    }
    let events = answer.events();
    let mut told = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok()?.get("mainstay").cloned());
    told.next().expect("a stream tells its story")
}

/// The same request with a cap on its output.
fn capped(dialect: DialectName, mut body: Value, tokens: u64) -> Value {
    match dialect {
        DialectName::OpenaiChat => body["max_completion_tokens"] = json!(tokens),
        DialectName::AnthropicMessages => body["max_tokens"] = json!(tokens),
        DialectName::Gemini => body["generationConfig"]["maxOutputTokens"] = json!(tokens),
    }
    body
}

/// The same request for JSON that follows a schema.
fn structured(dialect: DialectName, mut body: Value) -> Value {
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" } },
        "required": ["name"],
        "additionalProperties": false,
    });
    match dialect {
        DialectName::OpenaiChat => {
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}});
        }
        DialectName::AnthropicMessages => {
            body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
        }
        DialectName::Gemini => {
            let config = &mut body["generationConfig"];
            config["responseMimeType"] = json!("application/json");
            config["responseJsonSchema"] = schema;
        }
    }
    body
}

/// Every way in and out, streamed and not.
fn ways() -> impl Iterator<Item = (DialectName, DialectName, bool)> {
    DialectName::ALL.into_iter().flat_map(|caller| {
        DialectName::ALL.into_iter().flat_map(move |target| [false, true].map(|stream| (caller, target, stream)))
    })
}
