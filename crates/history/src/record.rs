//! The records of a history: one JSON line each, written by a client, a gateway and simulated providers.
//!
//! ```text
//! {"at":1700000000000000,"id":"req_1","gateway":{"attempt_started":{"attempt":0,"target":"openai/gpt-5.1","credential":0,"kind":"first"}}}
//! ```
//!
//! A request is known by its `x-request-id`, an upstream call by the request and the attempt's number. Every record is
//! bounded: lengths, hashes, names and counts, never a word of a prompt or an answer. The records one writer makes of
//! one request are in the order in which things happened; records of different writers may interleave in any way.

use crate::Tally;
use canon::{FaultClass, Phase};
use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest list of text marks in a record; see [`SimulatorEvent::Finished`].
pub const MOST_MARKS: usize = 16;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in microseconds on a time line that all writers share (Unix time over processes).
    pub at: u64,
    /// The request; `None` for what concerns the process.
    pub id: Option<Box<str>>,
    /// What happened.
    pub event: Event,
}

/// Who saw what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A caller of the gateway.
    Client(ClientEvent),
    /// The gateway.
    Gateway(GatewayEvent),
    /// A simulated provider.
    Simulator(SimulatorEvent),
    /// A writer could not keep up: so many records are missing.
    Lost(u64),
}

/// What a client saw of its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientEvent {
    /// The request is about to be sent.
    Sent {},
    /// The head of the answer is here.
    Head {
        /// The HTTP status.
        status: u16,
    },
    /// The text so far; as often as the client likes.
    Bytes {
        /// Text of the answer, unescaped, of its first candidate.
        text: Tally,
    },
    /// It is over.
    End {
        /// How.
        outcome: ClientEnd,
        /// All of the text; `None` = the client did not look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Tally>,
        /// All bytes of the body, transfer coding removed; `None` = the client did not count them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Tally>,
    },
}

/// How a request ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientEnd {
    /// The answer is whole, terminator included.
    Complete,
    /// Part of an answer, then the dialect's error event and no terminator.
    HonestError,
    /// An error instead of an answer.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The client hung up.
    HungUp,
    /// The connection failed, and the client was told so by its transport.
    Broken,
    /// The answer ended in order without a terminator and without an error: the client cannot tell that it is cut.
    SilentCut,
}

/// What the gateway did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GatewayEvent {
    /// The process begins. One that did not say `drained` before died.
    Started {},
    /// A request of a chat surface was accepted.
    Received {},
    /// An exchange begins whose answer is recorded, or shared by several requests. Its id is that of the request that
    /// began it, `+` and a number; no client knows it.
    Began {},
    /// Its candidates are known. Again after a wait for a target: what was tried before that counts no more.
    Planned {
        /// How many there are.
        candidates: u32,
        /// When the exchange must be over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<u64>,
        /// Most attempts that may reach a model's work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_attempts: Option<u32>,
        /// Most targets whose work may be reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_targets: Option<u32>,
        /// The arms it was drawn for, of the experiments it takes part in: `tone=short`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arms: Vec<Box<str>>,
    },
    /// An upstream call begins.
    AttemptStarted {
        /// Its number, from zero.
        attempt: u32,
        /// `provider/model`.
        target: Box<str>,
        /// Where the target runs, where the configuration says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Box<str>>,
        /// Index of the credential in the provider's pool.
        credential: u32,
        /// Why.
        kind: AttemptKind,
    },
    /// An upstream call is over.
    AttemptEnded {
        /// Which.
        attempt: u32,
        /// Why it failed; `None` = it brought a whole answer. `cancelled` = it was given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<FaultClass>,
        /// The limit that fired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<Phase>,
        /// The provider may bill it although the gateway does not know how much.
        #[serde(default, skip_serializing_if = "is_false")]
        may_be_billed: bool,
        /// Text read from the provider, released or not; `None` = it was not counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<Tally>,
        /// Tokens the provider stated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<Tokens>,
    },
    /// The first content goes to the caller.
    Committed {
        /// The attempt that serves.
        attempt: u32,
    },
    /// A call was dropped before its end: the provider is to notice.
    Cancelled {
        /// Which.
        attempt: u32,
    },
    /// The exchange is over. Exactly once a request.
    Settled {
        /// How.
        outcome: GatewayEnd,
        /// What served the end of the answer, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        served: Option<Origin>,
        /// The text released to the caller, in order: each part, and where it came from; `None` = it was not followed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segments: Option<Vec<Segment>>,
        /// All bytes handed to the caller's connection; `None` = they were not counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Tally>,
        /// Tokens of all attempts, as far as providers stated them.
        #[serde(default, skip_serializing_if = "Tokens::is_none")]
        tokens: Tokens,
        /// The caller's own limit (a stop sequence, the cap on output) ended the answer, and not its provider.
        #[serde(default, skip_serializing_if = "is_false")]
        limited: bool,
        /// What the answer cost by the prices of who served, in picodollars; `None` = it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        picodollars: Option<u64>,
        /// Of the experiments it takes part in, those of which another arm served: `tone=short;served=long`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        elsewhere: Vec<Box<str>>,
    },
    /// The process ends and has nothing in flight any more.
    Drained {},
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// The first of the exchange.
    First,
    /// The same target once more: a server error, a stale connection, a waited rate limit.
    Retry,
    /// The same target with another credential.
    Credential,
    /// Another target after a fault.
    Fallback,
    /// Beside an attempt in flight.
    Hedge,
    /// It holds the half-open slot of its target's breaker.
    Probe,
    /// It goes on with an answer that broke after the commit.
    Rescue,
}

impl AttemptKind {
    /// As records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Credential => "credential",
            Self::Fallback => "fallback",
            Self::Hedge => "hedge",
            Self::Probe => "probe",
            Self::Rescue => "rescue",
        }
    }
}

/// How an exchange ended for the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GatewayEnd {
    /// With a whole answer.
    Answered,
    /// With part of an answer and an error event.
    EndedHonestly,
    /// With an error instead of an answer.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The caller went away, or stopped reading and was cut off.
    HungUp,
}

/// Where released text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An attempt of this exchange.
    Attempt(u32),
    /// A cache, or the answer to an earlier request with the same idempotency key.
    Stored,
    /// The attempt of another exchange in flight.
    Shared,
}

/// A part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Where it came from.
    pub from: Origin,
    /// Text of that origin that lies before the segment and was not released: an overlap that was removed.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub skipped: Tally,
    /// The text released.
    pub text: Tally,
}

/// Token counts: all input (cached included), all output (reasoning included).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Input.
    pub input: u64,
    /// Output.
    pub output: u64,
}

impl Tokens {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Both sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { input: self.input.saturating_add(other.input), output: self.output.saturating_add(other.output) }
    }
}

impl std::fmt::Display for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} + {} tokens", self.input, self.output)
    }
}

/// What a simulated provider did for one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SimulatorEvent {
    /// The call arrived.
    Asked {
        /// The attempt.
        attempt: u32,
        /// The provider's name.
        provider: Box<str>,
    },
    /// The call is over.
    Finished {
        /// The attempt.
        attempt: u32,
        /// How.
        how: ProviderEnd,
        /// Whether the finish reason of an answer was sent; `None` = its bytes were not read, compressed ones say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finish: Option<bool>,
        /// Text sent, of the first candidate; `None` = this call has no text that could be counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Tally>,
        /// For a call that did not run to its end: where its last events stood in the text, oldest first, at most
        /// [`MOST_MARKS`]. The gateway may have read less than was sent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        marks: Vec<Tally>,
        /// Tokens that the provider bills; `None` = it cannot tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        billed: Option<Tokens>,
    },
}

/// How a call ended for the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderEnd {
    /// Everything was sent, be it an answer or an error.
    Complete,
    /// The provider broke the connection.
    Broken,
    /// The gateway hung up: the cancel arrived.
    Cancelled,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_empty(tally: &Tally) -> bool {
    tally.is_empty()
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &self.at)?;
        if let Some(id) = &self.id {
            map.serialize_entry("id", id)?;
        }
        match &self.event {
            Event::Client(event) => map.serialize_entry("client", event)?,
            Event::Gateway(event) => map.serialize_entry("gateway", event)?,
            Event::Simulator(event) => map.serialize_entry("simulator", event)?,
            Event::Lost(records) => map.serialize_entry("lost", records)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line {
            at: u64,
            id: Option<Box<str>>,
            client: Option<ClientEvent>,
            gateway: Option<GatewayEvent>,
            simulator: Option<SimulatorEvent>,
            lost: Option<u64>,
        }
        let Line { at, id, client, gateway, simulator, lost } = Line::deserialize(deserializer)?;
        let event = match (client, gateway, simulator, lost) {
            (Some(event), None, None, None) => Event::Client(event),
            (None, Some(event), None, None) => Event::Gateway(event),
            (None, None, Some(event), None) => Event::Simulator(event),
            (None, None, None, Some(records)) => Event::Lost(records),
            _ => return Err(D::Error::custom("expected exactly one of `client`, `gateway`, `simulator` and `lost`")),
        };
        let of_process =
            matches!(event, Event::Lost(_) | Event::Gateway(GatewayEvent::Started {} | GatewayEvent::Drained {}));
        if id.is_none() && !of_process {
            return Err(D::Error::missing_field("id"));
        }
        Ok(Self { at, id, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(line: &str) -> Record {
        let record: Record = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
        record
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        round_trip(r#"{"at":1,"gateway":{"started":{}}}"#);
        round_trip(r#"{"at":2,"lost":7}"#);
        round_trip(
            r#"{"at":2,"id":"a","gateway":{"attempt_started":{"attempt":0,"target":"a/m","region":"eu","credential":0,"kind":"first"}}}"#,
        );
        round_trip(r#"{"at":3,"id":"a","client":{"end":{"outcome":{"refused":{"status":503}}}}}"#);
        round_trip(
            r#"{"at":4,"id":"a","gateway":{"attempt_ended":{"attempt":0,"fault":"timed_out","phase":"idle","may_be_billed":true,"read":[3,77]}}}"#,
        );
        let settled = round_trip(
            r#"{"at":5,"id":"a","gateway":{"settled":{"outcome":"answered","served":{"attempt":1},"segments":[{"from":{"attempt":0},"text":[3,77]},{"from":{"attempt":1},"skipped":[2,5],"text":[9,8]}],"tokens":{"input":4,"output":5}}}}"#,
        );
        assert!(
            matches!(settled.event, Event::Gateway(GatewayEvent::Settled { segments: Some(ref all), .. }) if all.len() == 2)
        );
    }

    #[test]
    fn a_line_that_says_nothing_or_two_things_is_refused() {
        for line in [
            r#"{"at":1,"id":"a"}"#,
            r#"{"at":1,"id":"a","client":{"sent":{}},"gateway":{"received":{}}}"#,
            r#"{"at":1,"client":{"sent":{}}}"#,
            r#"{"at":1,"id":"a","client":{"sent":{}},"more":1}"#,
        ] {
            assert!(serde_json::from_str::<Record>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_lines_of_the_guide_are_records() {
        let guide = include_str!("../../../docs/HISTORY.md");
        let lines: Vec<&str> = guide.lines().filter(|line| line.starts_with("{\"at\"")).collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            round_trip(line);
        }
    }
}
