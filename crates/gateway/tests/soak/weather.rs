//! The providers and what goes wrong with them.

use canon::DialectName;
use fastrand::Rng;
use history::Recorder;
use simulator::{Answer, Behaviour, FaultKind, FaultRule, Pace, Provider, Simulator};
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

/// What time costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Nothing.
    Virtual,
    /// What it costs everywhere: limits are short.
    Real,
}

/// The providers of one run.
pub(crate) struct Weather {
    pub(crate) providers: Vec<Simulator>,
    haste: Haste,
}

impl Weather {
    pub(crate) fn new(rng: &mut Rng, recorder: &Arc<dyn Recorder>, haste: Haste) -> Self {
        let provider = |(name, dialect): (&str, DialectName)| {
            let simulator = Simulator::new(Provider::new(name, dialect).behaving(behaviour(rng, haste)));
            simulator.write_history(recorder.clone());
            simulator
        };
        Self { providers: PROVIDERS.map(provider).into(), haste }
    }

    /// How long the weather stays as it is.
    pub(crate) fn lasts(&self, rng: &mut Rng) -> Duration {
        Duration::from_millis(match self.haste {
            Haste::Virtual => rng.u64(50..2000),
            Haste::Real => rng.u64(10..200),
        })
    }

    /// One provider's weather turns.
    pub(crate) fn change(&self, rng: &mut Rng) {
        let place = rng.usize(0..self.providers.len());
        self.providers[place].set_behaviour(behaviour(rng, self.haste));
    }

    /// The configuration after so many reloads, with the providers at these addresses.
    pub(crate) fn configuration(turn: usize, haste: Haste, base: impl Fn(&str) -> String) -> String {
        let rows: String = PROVIDERS
            .iter()
            .map(|(name, dialect)| crate::support::row(name, *dialect, &base(name), "[sk-1, sk-2]"))
            .collect();
        let mut targets = PROVIDERS.map(|(name, _)| format!("{name}/m"));
        targets.rotate_left(turn % PROVIDERS.len());
        let limits = match (haste, turn % 2) {
            (Haste::Virtual, 0) => "first_token: 3s, response: 5s, idle: 2s, deadline: 20s",
            (Haste::Virtual, _) => "first_token: 5s, response: 8s, idle: 3s, deadline: 60s",
            (Haste::Real, 0) => "first_token: 800ms, response: 1500ms, idle: 600ms, deadline: 5s",
            (Haste::Real, _) => "first_token: 1s, response: 2s, idle: 800ms, deadline: 8s",
        };
        let all = targets.join(", ");
        format!(
            "providers:\n{rows}models:\n  chat:\n    targets: [{all}]\n    timeouts: {{ {limits} }}\n    mirror: {{ \
             target: {}, share: 20%, in_flight: 4 }}\n  lonely:\n    targets: [{}]\n    timeouts: {{ {limits} }}\n  \
             shared:\n    targets: [{all}]\n    timeouts: {{ {limits} }}\n    cache: {{ ttl: 1s }}\n    coalesce: always\n    \
             when_exhausted: [queue, stale_cache, error]\n    queue: {{ keep_alive: 1s }}\n",
            targets[1], targets[0],
        )
    }
}

fn behaviour(rng: &mut Rng, haste: Haste) -> Behaviour {
    let (first_token, interval) = match haste {
        Haste::Virtual => (400, 30),
        Haste::Real => (50, 3),
    };
    let pace = Pace {
        first_token: Duration::from_millis(rng.u64(1..first_token)),
        interval: Duration::from_millis(rng.u64(0..interval)),
        tokens: rng.u32(1..40),
    };
    // Some days nothing works, most days a few things fail for a few.
    let share = if rng.u32(0..12) == 0 { 100.0 } else { rng.f64() * 40.0 };
    let faults = (0..rng.usize(0..4)).map(|_| {
        let fault: FaultKind = FAULTS[rng.usize(0..FAULTS.len())].parse().unwrap();
        FaultRule::new(fault).percent(share)
    });
    let faults: Vec<FaultRule> = faults.collect();
    // Those that answer a prompt alike can go on where another broke off.
    let answer = if rng.u32(0..3) == 0 { Answer::default() } else { Answer::of_prompt() };
    Behaviour { pace, faults, answer, seed: rng.u64(..), ..Behaviour::default() }
}
