//! What is known of one request so far.

use crate::record::{AttemptKind, ClientEnd, GatewayEnd, Origin, ProviderEnd, Segment, Tokens};
use crate::tally::Tally;
use canon::{FaultClass, Phase};

/// One request, as its writers told it.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Where the gateway's records came from.
    pub(super) source: u16,
    /// When it was last heard of.
    pub(super) last: u64,
    /// The gateway that had it died.
    pub(super) died: bool,
    /// Its id was another request's too.
    pub(super) repeated: bool,
    pub(super) client: Client,
    pub(super) gateway: Gateway,
    pub(super) attempts: Vec<Attempt>,
    /// Attempts the gateway began and did not end.
    pub(super) in_flight: u32,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) sent: bool,
    pub(super) head: Option<u16>,
    pub(super) ends: u32,
    pub(super) end: Option<ClientEnd>,
    /// The last text it told of; that of its end wins.
    pub(super) text: Option<Tally>,
    pub(super) body: Option<Tally>,
}

#[derive(Debug, Default)]
pub(super) struct Gateway {
    pub(super) received: bool,
    /// A caller's request, and not an exchange that answers several.
    pub(super) is_request: bool,
    /// How often it was planned.
    pub(super) round: u32,
    pub(super) deadline: Option<u64>,
    pub(super) max_attempts: Option<u32>,
    pub(super) max_targets: Option<u32>,
    pub(super) committed: Option<u32>,
    pub(super) settles: u32,
    pub(super) settled: Option<Box<Settled>>,
}

#[derive(Debug)]
pub(super) struct Settled {
    pub(super) outcome: GatewayEnd,
    pub(super) served: Option<Origin>,
    /// `None` = its text was not followed.
    pub(super) segments: Option<Box<[Segment]>>,
    pub(super) body: Option<Tally>,
    pub(super) tokens: Tokens,
    pub(super) limited: bool,
}

#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) number: u32,
    /// The plan it was made under.
    pub(super) round: u32,
    pub(super) started: Option<Started>,
    pub(super) ended: Option<Ended>,
    pub(super) cancelled_at: Option<u64>,
    pub(super) asked: u32,
    pub(super) finished: Option<Box<Finished>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    /// Index of the name in the checker's list.
    pub(super) target: u32,
    pub(super) credential: u32,
    pub(super) kind: AttemptKind,
}

impl Started {
    pub(super) fn is_rescue(&self) -> bool {
        self.kind == AttemptKind::Rescue
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) at: u64,
    pub(super) fault: Option<FaultClass>,
    pub(super) phase: Option<Phase>,
    pub(super) may_be_billed: bool,
    pub(super) read: Option<Tally>,
    pub(super) tokens: Option<Tokens>,
}

impl Ended {
    /// Whether the attempt reached a model's work, so that it counts. What is refused at the door costs the provider
    /// nothing, and what was given up counts for nobody.
    pub(super) fn reached_work(&self) -> bool {
        match self.fault {
            None
            | Some(FaultClass::ServerError | FaultClass::StreamBroken | FaultClass::BadAnswer | FaultClass::TooSlow) => {
                true
            }
            Some(FaultClass::TimedOut) => self.phase != Some(Phase::Connect),
            Some(FaultClass::Unreachable) => self.may_be_billed,
            Some(
                FaultClass::RateLimited
                | FaultClass::QuotaExhausted
                | FaultClass::Overloaded
                | FaultClass::ContextExceeded
                | FaultClass::ContentBlocked
                | FaultClass::ModelMissing
                | FaultClass::AuthRejected
                | FaultClass::UnsupportedParameter
                | FaultClass::InvalidRequest
                | FaultClass::Cancelled,
            ) => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Finished {
    pub(super) at: u64,
    pub(super) how: ProviderEnd,
    pub(super) finish: Option<bool>,
    pub(super) text: Option<Tally>,
    pub(super) marks: Box<[Tally]>,
    pub(super) billed: Option<Tokens>,
}

impl Settled {
    pub(super) fn segments(&self) -> &[Segment] {
        self.segments.as_deref().unwrap_or_default()
    }
}

impl Story {
    /// The attempt of this number, made when it is heard of for the first time.
    pub(super) fn attempt(&mut self, number: u32) -> &mut Attempt {
        // Numbers are small and mostly in order; a wild one costs one entry, not a gap.
        let known = self.attempts.iter().position(|attempt| attempt.number == number);
        let place = known.unwrap_or_else(|| {
            self.attempts.push(Attempt { number, ..Attempt::default() });
            self.attempts.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found, or just pushed")]
        &mut self.attempts[place]
    }

    pub(super) fn find(&self, number: u32) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.number == number)
    }

    /// Whether everybody who had a part in it has said how it ended.
    pub(super) fn is_over(&self) -> bool {
        let client = !self.client.sent || self.client.ends > 0;
        let gateway = !self.gateway.received || self.gateway.settled.is_some();
        let attempts = self.attempts.iter().all(|attempt| {
            (attempt.started.is_none() || attempt.ended.is_some()) && (attempt.asked == 0 || attempt.finished.is_some())
        });
        client && gateway && attempts
    }
}
