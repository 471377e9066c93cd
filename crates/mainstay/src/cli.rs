//! What the command line takes.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Mainstay: an LLM gateway whose failover works.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// The commands; none = `serve`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the gateway.
    Serve(Serve),
    /// Read the configuration and say what is wrong with it.
    Check(Configured),
    /// Print the plan of a request: who would be tried in which order, and why the others would not.
    Explain(Explain),
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Run a fault timeline against a configuration, on virtual time or over sockets, and hold what happens against its
    /// bars.
    Drill(Drill),
    /// Start a simulated provider that misbehaves on demand, or stand in front of a real one.
    Simulate(Simulate),
    /// Check what gateways, clients and simulated providers wrote with `--history`, or report what it comes to.
    #[command(subcommand)]
    History(History),
    /// Show failover at work: one minute of live traffic while providers break.
    Demo(Demo),
}

/// Where the configuration is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Configured {
    /// The configuration file; `mainstay.yaml` in this folder when there is one, else the environment's keys.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Allow targets with `inject:`, which break calls on purpose.
    #[arg(long)]
    pub(crate) allow_injection: bool,
}

/// `serve`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) configured: Configured,
    /// Listen here instead of the configuration's `listen`.
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Append what happens to this file, one JSON line an event without a word of any prompt or answer, for
    /// `mainstay history check`.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// With a history: tell providers on other machines too which request and attempt a call is, in the header
    /// `x-mainstay-attempt`, so that simulated ones can write theirs.
    #[arg(long, requires = "history")]
    pub(crate) tag_attempts: bool,
}

/// `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) configured: Configured,
    /// The model asked for: a logical one or `provider/model`.
    #[arg(short, long)]
    pub(crate) model: String,
    /// A request body, so that its needs (tools, images, length) are taken into account.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// The dialect of the request: openai-chat, anthropic-messages or gemini.
    #[arg(short, long, default_value = "openai-chat")]
    pub(crate) dialect: String,
    /// Labels for rules, as callers send them in `x-mainstay-labels`: `team=legal, tier=bulk`.
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    /// The name of the caller's key, for rules.
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// The tier the request is labelled with, as the header `x-mainstay-tier` would.
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<String>,
    /// When it is asked, UTC, for prices that change by the hour: `2026-11-23T09:30`. Now by default.
    #[arg(long, value_name = "MOMENT")]
    pub(crate) at: Option<String>,
    /// Read what the configuration has read beside the traffic (status pages, incident and price feeds) once before
    /// planning.
    #[arg(long)]
    pub(crate) signals: bool,
}

/// `drill`.
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// Scenarios: who asks, how targets behave, what breaks when, what is expected.
    #[arg(required = true, value_name = "SCENARIO.yaml")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// Drill this configuration instead of the one the scenario names.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Ask for this model instead of the ones the scenario names.
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The same seed gives the same run; over sockets the same requests and answers.
    #[arg(short, long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Runs, each with the next seed; of twenty, one may miss a bar.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: u32,
    /// On virtual time, or in real time through real gateways, providers and callers on loopback sockets; then all
    /// scenarios and seeds run at the same time.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) over: Over,
}

/// What a drill runs over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Virtual time, without bytes.
    #[default]
    VirtualTime,
    /// Loopback sockets, in real time.
    Sockets,
}

/// `simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Where to listen.
    #[arg(short, long, default_value = "127.0.0.1:4100")]
    pub(crate) listen: SocketAddr,
    /// What to speak: openai-chat, anthropic-messages or gemini.
    #[arg(short, long, default_value = "openai-chat")]
    pub(crate) dialect: String,
    /// Stand in front of this provider instead: its base URL without a path.
    #[arg(short, long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// A fault, such as `unavailable_503` or `rate_limited_429:retry_after=2`; may be given several times.
    #[arg(short, long, value_name = "FAULT")]
    pub(crate) fault: Vec<String>,
    /// Share of requests that get the faults, 0–100.
    #[arg(short, long, default_value_t = 100.0)]
    pub(crate) percent: f64,
    /// The same seed misbehaves the same way.
    #[arg(short, long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Append what becomes of the calls of a gateway with a history to this file, for `mainstay history check`. Not
    /// with `--upstream`.
    #[arg(long, value_name = "FILE", conflicts_with = "upstream")]
    pub(crate) history: Option<PathBuf>,
}

/// `history`.
#[derive(Debug, Subcommand)]
pub(crate) enum History {
    /// Prove from the logs that every request had exactly one end, that nothing was lost, doubled or made up, that
    /// attempts kept to the policy, that bills agree, that cancels arrived and that nothing leaked.
    Check(CheckHistory),
    /// Report what the logs of gateways come to: requests by experiment and arm, or calls by target or region; how many
    /// were answered, how soon, for how many tokens and for how much.
    Report(ReportHistory),
}

/// `history check`.
#[derive(Debug, Args)]
pub(crate) struct CheckHistory {
    /// The logs, in any order; `-` = standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) logs: Vec<PathBuf>,
    /// Most attempts that may reach a model's work, instead of what each request's plan says.
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// Most targets whose work may be reached, instead of what each request's plan says.
    #[arg(long, value_name = "N")]
    pub(crate) max_targets: Option<u32>,
    /// How long a provider may take to notice that a call was dropped, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub(crate) cancel_within: u64,
}

/// `history report`.
#[derive(Debug, Args)]
pub(crate) struct ReportHistory {
    /// The logs, in any order; `-` = standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) logs: Vec<PathBuf>,
    /// What stands in a row.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) by: By,
}

/// What a report of a history has rows for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Each experiment's arms.
    #[default]
    Experiment,
    /// Targets.
    Target,
    /// Regions of targets.
    Region,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How long the story takes, in seconds.
    #[arg(short, long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Requests a second.
    #[arg(short, long, default_value_t = 20)]
    pub(crate) rate: u32,
    /// Append what client, gateway and providers see to this file, for `mainstay history check`.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

impl Command {
    /// The file that a history is written to.
    pub(crate) fn history(&self) -> Option<&Path> {
        match self {
            Self::Serve(options) => options.history.as_deref(),
            Self::Simulate(options) => options.history.as_deref(),
            Self::Demo(options) => options.history.as_deref(),
            Self::Check(_) | Self::Explain(_) | Self::Schema | Self::Drill(_) | Self::History(_) => None,
        }
    }

    /// Whether the process has a gateway, whose end the history tells.
    pub(crate) fn has_gateway(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Demo(_))
    }
}
