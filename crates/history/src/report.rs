//! What a checker found.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Violations that are kept with their sentence; beyond them they are only counted.
const MOST_KEPT: usize = 1000;

/// What was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The gateway or the client never said how a request ended.
    LostTerminal,
    /// Somebody said twice how a request ended.
    DoubleTerminal,
    /// Gateway and client say different things of how it ended.
    TerminalsDisagree,
    /// The answer ended without a terminator and without an error.
    SilentCut,
    /// An answer was presented as whole that was not.
    FakeEnd,
    /// The client has less than the ledger.
    TextMissing,
    /// The client has more than the ledger.
    TextAdded,
    /// The client has something else than the ledger.
    TextChanged,
    /// The ledger holds text that the provider did not send.
    NotFromProvider,
    /// An attempt began after the exchange was over.
    AttemptAfterSettle,
    /// An attempt began after the deadline.
    AttemptAfterDeadline,
    /// More attempts reached a model's work than may.
    TooManyAttempts,
    /// The work of more targets was reached than may be.
    TooManyTargets,
    /// A target was asked again for no allowed reason.
    TargetTwice,
    /// A target that had been silent past its limit was asked again.
    SilentTargetTwice,
    /// Two attempts at once, and the second was neither hedge nor rescue.
    TwoInFlight,
    /// Gateway and provider disagree about the tokens.
    BillingMismatch,
    /// The provider never noticed that the gateway dropped the call.
    CancelMissing,
    /// The provider noticed too late.
    CancelLate,
    /// An attempt never ended.
    Leak,
    /// Records that cannot all be true.
    Contradiction,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::LostTerminal,
        Self::DoubleTerminal,
        Self::TerminalsDisagree,
        Self::SilentCut,
        Self::FakeEnd,
        Self::TextMissing,
        Self::TextAdded,
        Self::TextChanged,
        Self::NotFromProvider,
        Self::AttemptAfterSettle,
        Self::AttemptAfterDeadline,
        Self::TooManyAttempts,
        Self::TooManyTargets,
        Self::TargetTwice,
        Self::SilentTargetTwice,
        Self::TwoInFlight,
        Self::BillingMismatch,
        Self::CancelMissing,
        Self::CancelLate,
        Self::Leak,
        Self::Contradiction,
    ];

    /// As reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LostTerminal => "lost_terminal",
            Self::DoubleTerminal => "double_terminal",
            Self::TerminalsDisagree => "terminals_disagree",
            Self::SilentCut => "silent_cut",
            Self::FakeEnd => "fake_end",
            Self::TextMissing => "text_missing",
            Self::TextAdded => "text_added",
            Self::TextChanged => "text_changed",
            Self::NotFromProvider => "not_from_provider",
            Self::AttemptAfterSettle => "attempt_after_settle",
            Self::AttemptAfterDeadline => "attempt_after_deadline",
            Self::TooManyAttempts => "too_many_attempts",
            Self::TooManyTargets => "too_many_targets",
            Self::TargetTwice => "target_twice",
            Self::SilentTargetTwice => "silent_target_twice",
            Self::TwoInFlight => "two_in_flight",
            Self::BillingMismatch => "billing_mismatch",
            Self::CancelMissing => "cancel_missing",
            Self::CancelLate => "cancel_late",
            Self::Leak => "leak",
            Self::Contradiction => "contradiction",
        }
    }

    /// Whether records that are missing could explain it away.
    pub fn may_be_loss(self) -> bool {
        match self {
            Self::LostTerminal
            | Self::TwoInFlight
            | Self::BillingMismatch
            | Self::CancelMissing
            | Self::Leak
            | Self::Contradiction => true,
            Self::DoubleTerminal
            | Self::TerminalsDisagree
            | Self::SilentCut
            | Self::FakeEnd
            | Self::TextMissing
            | Self::TextAdded
            | Self::TextChanged
            | Self::NotFromProvider
            | Self::AttemptAfterSettle
            | Self::AttemptAfterDeadline
            | Self::TooManyAttempts
            | Self::TooManyTargets
            | Self::TargetTwice
            | Self::SilentTargetTwice
            | Self::CancelLate => false,
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of what.
    pub kind: Kind,
    /// The request.
    pub id: Box<str>,
    /// What is wrong, in a sentence.
    pub sentence: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.id, self.sentence)
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lines.
    pub records: u64,
    /// Requests that the gateway received.
    pub requests: u64,
    /// Of those: with a whole answer.
    pub answered: u64,
    /// Ended with an error event after part of an answer.
    pub ended_honestly: u64,
    /// Ended with an error instead of an answer.
    pub refused: u64,
    /// The caller hung up.
    pub hung_up: u64,
    /// Exchanges that were recorded or answered several requests.
    pub shared: u64,
    /// Attempts the gateway made.
    pub attempts: u64,
    /// Requests that a client's log tells of.
    pub seen_by_client: u64,
    /// Attempts that a simulator's log tells of.
    pub seen_by_provider: u64,
    /// Answers whose text was compared between client and ledger.
    pub texts_compared: u64,
    /// Attempts whose text was compared between ledger and provider.
    pub sources_compared: u64,
    /// Attempts whose tokens were compared.
    pub bills_compared: u64,
    /// Tokens that the providers billed.
    pub billed: crate::Tokens,
}

/// What keeps a history from being a proof although no violation was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// Records that writers could not write.
    pub lost: u64,
    /// Requests that the log ends in the middle of.
    pub open: u64,
    /// Requests whose id others had too: which record belongs to which cannot be told.
    pub repeated: u64,
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How much was looked at.
    pub counts: Counts,
    /// Requests in flight when a process died; nothing is asked of them.
    pub died: u64,
    /// What is missing for a proof.
    pub gaps: Gaps,
    /// The first thousand violations, in the order they were found.
    pub violations: Vec<Violation>,
    /// All of them, by kind.
    pub by_kind: BTreeMap<Kind, u64>,
    /// What would be violations, were no records lost.
    pub doubts: BTreeMap<Kind, u64>,
}

impl Report {
    /// Whether everything that could be checked holds, and nothing was missing.
    pub fn is_proof(&self) -> bool {
        self.total() == 0 && self.is_conclusive()
    }

    /// Whether nothing was missing.
    pub fn is_conclusive(&self) -> bool {
        self.gaps == Gaps::default() && self.doubts.is_empty()
    }

    /// How many violations there are.
    pub fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }

    pub(crate) fn add(&mut self, kind: Kind, id: &str, sentence: String) {
        *self.by_kind.entry(kind).or_default() += 1;
        if self.violations.len() < MOST_KEPT {
            self.violations.push(Violation { kind, id: id.into(), sentence });
        }
    }

    /// With records missing, what may be explained by it is no violation.
    pub(crate) fn weigh(&mut self) {
        if self.gaps.lost == 0 {
            return;
        }
        self.violations.retain(|violation| !violation.kind.may_be_loss());
        let (doubts, sure) = std::mem::take(&mut self.by_kind).into_iter().partition(|(kind, _)| kind.may_be_loss());
        self.doubts = doubts;
        self.by_kind = sure;
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} records: {} requests, {} answered, {} ended honestly, {} refused, {} hung up; {} shared exchanges, \
             {} attempts",
            counts.records,
            counts.requests,
            counts.answered,
            counts.ended_honestly,
            counts.refused,
            counts.hung_up,
            counts.shared,
            counts.attempts,
        )?;
        writeln!(
            f,
            "witnesses: {} requests by clients, {} attempts by providers; compared: {} answers with their ledger, \
             {} attempts with what was sent, {} bills ({} billed)",
            counts.seen_by_client,
            counts.seen_by_provider,
            counts.texts_compared,
            counts.sources_compared,
            counts.bills_compared,
            counts.billed,
        )?;
        if self.died > 0 {
            writeln!(f, "{} requests were in flight when a process died", self.died)?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        let (kept, total) = (self.violations.len() as u64, self.total());
        if total > kept {
            writeln!(f, "… and {} more", total - kept)?;
        }
        for (count, what) in [
            (self.gaps.lost, "records were lost by a writer that could not keep up"),
            (self.gaps.open, "requests were not over when the log ended"),
            (self.gaps.repeated, "requests shared their id with another one"),
        ] {
            if count > 0 {
                writeln!(f, "inconclusive: {count} {what}")?;
            }
        }
        for (kind, count) in &self.doubts {
            writeln!(f, "inconclusive: {count} × {kind}, unless the lost records explain it")?;
        }
        write!(f, "{total} violations")?;
        for (place, (kind, count)) in self.by_kind.iter().enumerate() {
            write!(f, "{} {count} × {kind}", if place == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}
