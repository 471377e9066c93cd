//! Two simulated providers in memory behind a gateway: minutes of outage take milliseconds.

use super::transports::Spy;
use super::{row, snapshot};
use bytes::Bytes;
use canon::DialectName;
use gateway::{Gateway, GatewayBody};
use health::Health;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use simulator::{FaultKind, FaultRule, InMemory, Pace, Provider, Simulator};
use std::sync::Arc;
use std::time::Duration;

/// A gateway with the model `chat`, served by `primary/m-1`, then `fallback/m-2`.
pub(crate) struct World {
    /// The gateway.
    pub(crate) gateway: Arc<Gateway>,
    /// The first target's provider.
    pub(crate) primary: Simulator,
    /// The second's.
    pub(crate) fallback: Simulator,
    /// What was sent upstream.
    pub(crate) spy: Spy,
    /// What is known of targets and credentials.
    pub(crate) health: Arc<Health>,
}

/// How a [`World`] is made.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) primary: DialectName,
    pub(crate) fallback: DialectName,
    pub(crate) keys: &'static str,
    /// The same of the fallback.
    pub(crate) fallback_keys: &'static str,
    pub(crate) targets: &'static str,
    /// More lines of the model: `    on: …`.
    pub(crate) model: String,
    /// More lines at the top.
    pub(crate) top: String,
    pub(crate) seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            primary: DialectName::OpenaiChat,
            fallback: DialectName::OpenaiChat,
            keys: "[sk-1]",
            fallback_keys: "[sk-f]",
            targets: "[primary/m-1, fallback/m-2]",
            model: String::new(),
            top: String::new(),
            seed: 1,
        }
    }
}

impl Plan {
    /// Both providers speak this dialect.
    pub(crate) fn of(dialect: DialectName) -> Self {
        Self { primary: dialect, fallback: dialect, ..Self::default() }
    }

    /// Only the primary serves.
    pub(crate) fn alone(self) -> Self {
        Self { targets: "[primary/m-1]", ..self }
    }

    /// With this line in the model.
    pub(crate) fn model(mut self, line: &str) -> Self {
        self.model.push_str("    ");
        self.model.push_str(line);
        self.model.push('\n');
        self
    }

    /// With this line at the top of the file.
    pub(crate) fn top(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// The configuration, with the providers at these addresses.
    pub(crate) fn yaml(&self, primary: &str, fallback: &str) -> String {
        format!(
            "{}providers:\n{}{}models:\n  chat:\n    targets: {}\n{}",
            self.top,
            row("primary", self.primary, primary, self.keys),
            row("fallback", self.fallback, fallback, self.fallback_keys),
            self.targets,
            self.model,
        )
    }

    /// Builds it.
    pub(crate) fn build(self) -> World {
        let simulator = |name: &str, dialect| {
            let mut provider = Provider::new(name, dialect).at_pace(Pace::default());
            provider.behaviour.seed = self.seed;
            Simulator::new(provider)
        };
        let (primary, fallback) = (simulator("primary", self.primary), simulator("fallback", self.fallback));
        let spy = Spy::over(InMemory::new().with(&primary).with(&fallback));
        let health = Arc::new(Health::new(self.seed));
        let snapshot = snapshot(&self.yaml("http://primary", "http://fallback"), &health);
        let gateway = Arc::new(Gateway::new(snapshot, Arc::new(spy.clone()), self.seed).unwrap());
        World { gateway, primary, fallback, spy, health }
    }
}

impl World {
    /// The same world behind a gateway with this many bytes for everything it holds.
    pub(crate) fn with_byte_budget(&self, bytes: usize) -> Arc<Gateway> {
        let gateway = Gateway::new(self.gateway.snapshot(), Arc::new(self.spy.clone()), 1).unwrap();
        Arc::new(gateway.with_byte_budget(bytes))
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        read(self.gateway.handle(request).await).await
    }

    /// `Hello` on the `openai-chat` surface, not streamed.
    pub(crate) async fn hello(&self) -> Answer {
        self.send(super::hello(DialectName::OpenaiChat, false)).await
    }

    /// The primary fails so from now on.
    pub(crate) fn break_primary(&self, fault: &str) {
        self.primary.set_faults([rule(fault)]);
    }

    /// The fallback fails so from now on.
    pub(crate) fn break_fallback(&self, fault: &str) {
        self.fallback.set_faults([rule(fault)]);
    }

    /// Makes three requests that fail on the primary, so that its breaker opens.
    pub(crate) async fn open_primary(&self) {
        self.break_primary("unavailable_503");
        for _ in 0..3 {
            self.hello().await;
        }
        let calls = self.primary.journal().len();
        self.hello().await;
        assert_eq!(self.primary.journal().len(), calls, "the breaker is open");
    }
}

/// A rule from its one-line form.
pub(crate) fn rule(fault: &str) -> FaultRule {
    FaultRule::new(fault.parse::<FaultKind>().unwrap())
}

/// When each request reached a provider.
pub(crate) fn times(simulator: &Simulator) -> Vec<Duration> {
    simulator.journal().iter().map(|entry| entry.at).collect()
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts that this provider served.
    pub(crate) fn served_by(&self, provider: &str) {
        assert_eq!((self.status, self.header("x-mainstay-provider")), (200, Some(provider)), "{}", self.text());
    }

    /// The data of every event of a stream; panics where an event is not whole.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = self.text().replace("\r\n", "\n");
        assert!(text.is_empty() || text.ends_with("\n\n"), "the last event is whole: {text:?}");
        text.split("\n\n")
            .filter(|event| !event.is_empty())
            .map(|event| {
                let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event has data");
                assert!(data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok(), "{data}");
                data.to_owned()
            })
            .collect()
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<GatewayBody>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    };
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}
