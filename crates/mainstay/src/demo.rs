//! `demo`: one minute of live traffic through a real gateway on loopback, while the primary breaks in three ways.
//!
//! Every answer is checked as a client would: it is complete to the letter, or it ended with an error event. One that
//! is neither was cut silently, and the last line counts those. A stream that broke and went on elsewhere counts as
//! what its caller saw, an answer; how many there were is told by their traces.

use crate::cli::Demo;
use crate::demo_client::{Client, End, Outcome};
use crate::say;
use crate::simulated::Simulated;
use catalog::Catalog;
use config::{Environment, Loader};
use gateway::server::{self, ShutdownTimes};
use gateway::{Gateway, History, Tags};
use health::Health;
use history::Recorder;
use simulator::{FaultKind, FaultRule};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};

/// Most requests under way at once.
const MOST_UNDER_WAY: usize = 512;
/// Limits and rests short enough for a minute; the defaults are longer (10 s for a first token, rests up to 15 s).
const SHORTER: &str = "    timeouts: { first_token: 1s, response: 1s, idle: 1s }\n\
                       health: { rest: 500ms, max_rest: 1s, ramp: 2s }\n";

/// One part of the story: its name, its share of the time in sixtieths, and what the primary does.
struct Phase {
    name: &'static str,
    sixtieths: u64,
    fault: Option<FaultKind>,
}

fn story() -> [Phase; 6] {
    let phase = |name, sixtieths, fault| Phase { name, sixtieths, fault };
    [
        phase("healthy", 8, None),
        phase("primary says 503", 12, "unavailable_503".parse().ok()),
        phase("primary hangs", 12, "hang_before_headers".parse().ok()),
        // So that there are streams to cut when it comes to that.
        phase("primary is well", 8, None),
        phase("primary cuts streams", 10, "cut_mid_text:after=8".parse().ok()),
        phase("primary is well", 10, None),
    ]
}

/// Tells the story.
pub(crate) async fn run(options: &Demo, recorder: Option<Arc<dyn Recorder>>) -> Result<(), String> {
    let simulated = Simulated::start(recorder.as_ref()).await?;
    let (gateway, listener, address) = gateway(&simulated, recorder.as_ref()).await?;
    say(&format!(
        "{} requests a second for {} s, streamed and not, to http://{address}; the primary is sim-openai\n\
         (limits and rests are shortened to fit: 1 s for a first token, rests of 0.5 to 1 s, a ramp of 2 s)\n\n{HEADER}",
        options.rate, options.seconds
    ))?;
    let serving = server::serve(gateway, listener, ShutdownTimes::default(), std::future::pending());
    tokio::select! {
        () = serving => Err("the gateway stopped".to_owned()),
        told = tell(options, &simulated, Client::new(address, recorder)?) => told,
    }
}

async fn gateway(
    simulated: &Simulated,
    recorder: Option<&Arc<dyn Recorder>>,
) -> Result<(Arc<Gateway>, TcpListener, SocketAddr), String> {
    let catalog = Catalog::builtin().map_err(|error| error.to_string())?;
    let health = Arc::new(Health::new(1));
    let (environment, ledger) = (Environment::new(), Arc::default());
    let loader = Loader {
        catalog: &catalog,
        health: &health,
        ledger: &ledger,
        environment: &environment,
        allow_injection: false,
    };
    let text = simulated.configuration() + SHORTER;
    let snapshot = loader.load("the demo", &text).map_err(|error| error.to_string())?;
    let transport = Arc::new(upstream::Upstream::new(upstream::Settings::default()).map_err(|e| e.to_string())?);
    let mut gateway = Gateway::new(Arc::new(snapshot), transport, 1)?;
    if let Some(recorder) = recorder {
        gateway = gateway.with_history(History { recorder: recorder.clone(), tags: Tags::Loopback });
    }
    let gateway = Arc::new(gateway);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((gateway, listener, address))
}

async fn tell(options: &Demo, simulated: &Simulated, client: Client) -> Result<(), String> {
    let primary = simulated.primary().ok_or("there is no primary")?.simulator();
    let client = Arc::new(client);
    let (sender, mut results) = mpsc::channel::<Outcome>(MOST_UNDER_WAY);
    client.learn().await?;
    let mut totals = Totals::default();
    let mut ordinal = 0u64;
    let started = Instant::now();
    for phase in story() {
        primary.set_faults(phase.fault.map(FaultRule::new));
        let seconds = (options.seconds * phase.sixtieths).div_ceil(60).max(1);
        let mut ticks = interval(Duration::from_secs(1) / options.rate.max(1));
        for _ in 0..seconds {
            let mut second = Totals::default();
            for _ in 0..options.rate {
                ticks.tick().await;
                start(&client, &sender, ordinal, phase.fault.is_none());
                ordinal += 1;
                while let Ok(outcome) = results.try_recv() {
                    second.add(&outcome);
                }
            }
            say(&second.row(started.elapsed(), phase.name))?;
            totals.merge(second);
        }
    }
    drop(sender);
    while let Some(outcome) = results.recv().await {
        totals.add(&outcome);
    }
    say(&totals.summary(ordinal))
}

/// Every fourth request of the healthy phases goes straight to a fallback: the baseline of what a failover adds.
fn start(client: &Arc<Client>, results: &mpsc::Sender<Outcome>, ordinal: u64, healthy: bool) {
    let model = if healthy && ordinal % 4 == 3 { "sim-anthropic/sim-large" } else { "demo" };
    let streamed = ordinal.is_multiple_of(2) || model != "demo";
    let (client, results) = (client.clone(), results.clone());
    #[expect(clippy::disallowed_methods, reason = "a request of the demo's own client, bounded by the channel")]
    tokio::spawn(async move {
        let outcome = client.ask(model, streamed).await;
        // The receiver is gone only when the demo was stopped.
        let _ = results.send(outcome).await;
    });
}

const HEADER: &str = "   s  phase                  answered  sim-openai  sim-anthropic  sim-gemini  went on  honest ends  \
                      silent cuts  first byte p50";

/// What happened to some requests.
#[derive(Default)]
struct Totals {
    answered: u64,
    honest: u64,
    silent: u64,
    refused: u64,
    wrong: u64,
    went_on: u64,
    by_provider: BTreeMap<String, u64>,
    first_bytes: Vec<Duration>,
    baseline: Vec<Duration>,
    before_open: Vec<Duration>,
    after_open: Vec<Duration>,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        match outcome.end {
            End::Answered => self.answered += 1,
            End::Honest => self.honest += 1,
            End::Refused => self.refused += 1,
            End::CutSilently => self.silent += 1,
            End::Wrong => self.wrong += 1,
        }
        self.went_on += u64::from(outcome.went_on && outcome.end == End::Answered);
        *self.by_provider.entry(outcome.provider.clone()).or_default() += 1;
        if outcome.streamed {
            self.first_bytes.push(outcome.first_byte);
        }
        if outcome.direct {
            self.baseline.push(outcome.first_byte);
        } else if outcome.streamed && outcome.provider == "sim-anthropic" {
            match outcome.reason.as_str() {
                "overloaded" => self.before_open.push(outcome.first_byte),
                "breaker_open" => self.after_open.push(outcome.first_byte),
                _ => {}
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.answered += other.answered;
        self.honest += other.honest;
        self.silent += other.silent;
        self.refused += other.refused;
        self.wrong += other.wrong;
        self.went_on += other.went_on;
        for (provider, count) in other.by_provider {
            *self.by_provider.entry(provider).or_default() += count;
        }
        self.first_bytes.extend(other.first_bytes);
        self.baseline.extend(other.baseline);
        self.before_open.extend(other.before_open);
        self.after_open.extend(other.after_open);
    }

    fn row(&self, elapsed: Duration, phase: &str) -> String {
        let by = |provider: &str| self.by_provider.get(provider).copied().unwrap_or(0);
        format!(
            "{:>4}  {phase:<22} {:>8}  {:>10}  {:>13}  {:>10}  {:>7}  {:>11}  {:>11}  {:>11.1} ms",
            elapsed.as_secs(),
            self.answered,
            by("sim-openai"),
            by("sim-anthropic"),
            by("sim-gemini"),
            self.went_on,
            self.honest,
            self.silent,
            milliseconds(median(&self.first_bytes)),
        )
    }

    fn summary(&self, requests: u64) -> String {
        let baseline = median(&self.baseline);
        let added = |times: &[Duration]| {
            if times.is_empty() { 0.0 } else { milliseconds(median(times)) - milliseconds(baseline) }
        };
        let also = |count: u64, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
        format!(
            "\na failover on a 503 added {:.2} ms at the median before the breaker opened ({} requests), {:.2} ms after ({})\n\
             {} broke in the middle and went on at another target, to the letter\n\
             {requests} requests, {} answered, {} ended honestly{}{}, {} cut silently",
            added(&self.before_open),
            self.before_open.len(),
            added(&self.after_open),
            self.after_open.len(),
            match self.went_on {
                1 => "1 stream".to_owned(),
                count => format!("{count} streams"),
            },
            self.answered,
            self.honest,
            also(self.refused, "refused"),
            also(self.wrong, "wrong"),
            self.silent,
        )
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_takes_a_minute_and_every_fault_of_it_exists() {
        let story = story();
        assert_eq!(story.iter().map(|p| p.sixtieths).sum::<u64>(), 60);
        let faulty: Vec<_> = story.iter().filter(|p| p.fault.is_some()).map(|p| p.name).collect();
        assert_eq!(faulty, ["primary says 503", "primary hangs", "primary cuts streams"]);
    }

    fn outcome(end: End, went_on: bool) -> Outcome {
        Outcome {
            end,
            provider: "sim-openai".to_owned(),
            reason: String::new(),
            went_on,
            first_byte: Duration::from_millis(1),
            streamed: true,
            direct: false,
        }
    }

    fn told(outcomes: &[Outcome]) -> String {
        let mut totals = Totals::default();
        for outcome in outcomes {
            totals.add(outcome);
        }
        totals.summary(outcomes.len() as u64)
    }

    #[test]
    fn a_silent_cut_and_a_wrong_answer_are_counted_in_the_last_line() {
        let silent = told(&[outcome(End::Answered, false), outcome(End::CutSilently, false)]);
        assert!(silent.ends_with("2 requests, 1 answered, 0 ended honestly, 1 cut silently"), "{silent}");
        let wrong = told(&[outcome(End::Wrong, true)]);
        assert!(wrong.ends_with("1 requests, 0 answered, 0 ended honestly, 1 wrong, 0 cut silently"), "{wrong}");
        assert!(wrong.contains("0 streams broke in the middle and went on"), "{wrong}");
    }

    #[test]
    fn streams_that_went_on_are_told() {
        let text = told(&[outcome(End::Answered, true), outcome(End::Answered, false), outcome(End::Answered, true)]);
        assert!(
            text.contains("\n2 streams broke in the middle and went on at another target, to the letter\n"),
            "{text}"
        );
    }
}
