//! The simulated providers that stand in when nothing is configured: three, one a dialect, behind the model `demo`.
//!
//! They say the same to the same prompt, so that one can go on where another broke off; who served is in the headers.

use canon::DialectName;
use history::Recorder;
use simulator::{Answer, Pace, Provider, ServeOptions, Server, Serving};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Name, dialect and the path its base URL ends with.
const PROVIDERS: [(&str, DialectName, &str); 3] = [
    ("sim-openai", DialectName::OpenaiChat, "/v1"),
    ("sim-anthropic", DialectName::AnthropicMessages, "/v1"),
    ("sim-gemini", DialectName::Gemini, "/v1beta"),
];

/// The running providers; dropping them ends them.
pub(crate) struct Simulated {
    serving: Serving,
}

impl Simulated {
    /// Starts them on free ports of the loopback address.
    pub(crate) async fn start(recorder: Option<&Arc<dyn Recorder>>) -> Result<Self, String> {
        let pace = Pace { first_token: Duration::from_millis(15), interval: Duration::from_millis(2), tokens: 24 };
        let providers = PROVIDERS.map(|(name, dialect, _)| {
            let provider = Provider::new(name, dialect).at_pace(pace.clone()).answering(Answer::of_prompt());
            Provider { keyless: true, ..provider }
        });
        let serving = simulator::serve(ServeOptions::local(providers.into()))
            .await
            .map_err(|error| format!("the simulated providers do not start: {error}"))?;
        for (server, recorder) in serving.servers.iter().zip(recorder.into_iter().cycle()) {
            server.simulator().write_history(recorder.clone());
        }
        Ok(Self { serving })
    }

    /// The configuration that puts them behind the model `demo`.
    pub(crate) fn configuration(&self) -> String {
        configuration(|name| self.server(name).map_or(0, |server| server.address().port()))
    }

    /// The provider the model `demo` tries first.
    pub(crate) fn primary(&self) -> Option<&Server> {
        self.server("sim-openai")
    }

    fn server(&self, name: &str) -> Option<&Server> {
        self.serving.named(name)
    }
}

/// The same configuration without running providers, for `explain`.
pub(crate) fn example_configuration() -> String {
    configuration(|_| 1)
}

fn configuration(port: impl Fn(&str) -> u16) -> String {
    let mut text = String::from("providers:\n");
    for (name, dialect, path) in PROVIDERS {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {name}: {{ dialect: {dialect}, base_url: \"http://127.0.0.1:{}{path}\", keyless: true }}",
            port(name)
        );
    }
    text.push_str(
        "models:\n  demo:\n    targets: [sim-openai/sim-large, sim-anthropic/sim-large, sim-gemini/sim-large]\n",
    );
    text
}
