//! The providers and what goes wrong with them.

use canon::DialectName;
use fastrand::Rng;
use history::Recorder;
use simulator::{Behaviour, FaultKind, FaultRule, Pace, Provider, Simulator};
use std::sync::Arc;
use std::time::Duration;

/// Everything that can go wrong with one call.
const FAULTS: &[&str] = &[
    "refuse",
    "unroutable",
    "reset_before_headers",
    "tls_failure",
    "hang_before_headers",
    "slow_headers",
    "slow_first_token",
    "bad_request_context_length",
    "content_policy_400",
    "unauthorized_401",
    "payment_402",
    "model_404",
    "rate_limited_429",
    "rate_limited_429:retry_after=1",
    "quota_exhausted_429",
    "server_error_500",
    "bad_gateway_502_html",
    "unavailable_503",
    "overloaded_529",
    "error_in_200",
    "html_in_200",
    "empty_stream",
    "error_before_content",
    "error_after_prelude",
    "cut_mid_text",
    "cut_mid_text:after=9,by=error",
    "cut_after_text:bytes=40,by=reset,event=torn",
    "cut_mid_tool_call",
    "cut_inside_event",
    "stall",
    "stall_with_keepalives",
    "half_speed",
    "malformed_event",
    "missing_terminator",
    "duplicate_finish",
    "split_utf8",
    "gzip",
    "early_response",
];

const PROVIDERS: [(&str, DialectName); 5] = [
    ("alpha", DialectName::OpenaiChat),
    ("beta", DialectName::AnthropicMessages),
    ("gamma", DialectName::Gemini),
    ("delta", DialectName::OpenaiChat),
    ("epsilon", DialectName::AnthropicMessages),
];

/// The providers of one run.
pub(crate) struct Weather {
    pub(crate) providers: Vec<Simulator>,
}

impl Weather {
    pub(crate) fn new(rng: &mut Rng, recorder: &Arc<dyn Recorder>) -> Self {
        let provider = |(name, dialect): (&str, DialectName)| {
            let simulator = Simulator::new(Provider::new(name, dialect).behaving(behaviour(rng)));
            simulator.write_history(recorder.clone());
            simulator
        };
        Self { providers: PROVIDERS.map(provider).into() }
    }

    /// One provider's weather turns.
    pub(crate) fn change(&self, rng: &mut Rng) {
        let place = rng.usize(0..self.providers.len());
        self.providers[place].set_behaviour(behaviour(rng));
    }

    /// The configuration after so many reloads.
    pub(crate) fn configuration(turn: usize) -> String {
        let rows: String = PROVIDERS
            .iter()
            .map(|(name, dialect)| crate::support::row(name, *dialect, &format!("http://{name}"), "[sk-1, sk-2]"))
            .collect();
        let mut targets = PROVIDERS.map(|(name, _)| format!("{name}/m"));
        targets.rotate_left(turn % PROVIDERS.len());
        format!(
            "providers:\n{rows}models:\n  chat:\n    targets: [{}]\n    timeouts: {{ first_token: 3s, response: 5s, \
             idle: 2s, deadline: {}s }}\n  lonely:\n    targets: [{}]\n",
            targets.join(", "),
            [20, 60][turn % 2],
            targets[0],
        )
    }
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let pace = Pace {
        first_token: Duration::from_millis(rng.u64(1..400)),
        interval: Duration::from_millis(rng.u64(0..30)),
        tokens: rng.u32(1..40),
    };
    // Some days nothing works, most days a few things fail for a few.
    let share = if rng.u32(0..12) == 0 { 100.0 } else { rng.f64() * 25.0 };
    let faults = (0..rng.usize(0..4)).map(|_| {
        let fault: FaultKind = FAULTS[rng.usize(0..FAULTS.len())].parse().unwrap();
        FaultRule::new(fault).percent(share)
    });
    let faults: Vec<FaultRule> = faults.collect();
    Behaviour { pace, faults, seed: rng.u64(..), ..Behaviour::default() }
}
