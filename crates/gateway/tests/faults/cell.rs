//! What is broken, where, and for whom; and which of the combinations there are.

use canon::DialectName;
use simulator::FaultKind;
use std::fmt::{self, Display};

/// How far the primary gets before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of the call is read.
    Connect,
    /// The `ClientHello` is read, and no handshake comes of it.
    Tls,
    /// The request is read, and its answer has no head yet.
    Headers,
    /// The head is sent and what comes before content; the first token is under way.
    FirstToken,
    /// Half of the text is sent.
    MidText,
    /// Half of a tool call is sent, and nothing was before it.
    MidToolCall,
    /// Half of a tool call is sent behind a whole text.
    MidToolCallAfterText,
    /// All of the text is sent; the event with the finish reason is under way.
    LastEvent,
    /// The finish reason is sent; usage and terminator are not.
    AfterFinish,
}

impl Phase {
    pub(crate) const ALL: [Self; 9] = [
        Self::Connect,
        Self::Tls,
        Self::Headers,
        Self::FirstToken,
        Self::MidText,
        Self::MidToolCall,
        Self::MidToolCallAfterText,
        Self::LastEvent,
        Self::AfterFinish,
    ];

    /// The head of the answer went out: what follows is its body.
    pub(crate) fn is_in_body(self) -> bool {
        !matches!(self, Self::Connect | Self::Tls | Self::Headers)
    }
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// RST; at the connect, nobody listens.
    Reset,
    /// The other side ends in good order: FIN, or the end of the body as HTTP says it.
    Close,
    /// Silence, with the connection open.
    Hang,
    /// A pause that is within the limits; then everything else.
    Slow,
    /// A pause beyond them; then everything else, whether or not anybody still listens.
    Late,
    /// Bytes that are not the protocol's: no HTTP, no TLS, no chunk.
    Garbage,
    /// An event that is none, among good ones; in a whole answer, bytes that make it no JSON.
    Malformed,
    /// An error's status, with the provider's own body.
    Status(FaultKind),
    /// An error where an answer was promised.
    InBandError,
    /// A 200 with HTML.
    Html,
    /// The right answer under the label `text/plain`.
    PlainText,
    /// The answer says that it is compressed, and from here on it is not.
    Compression,
}

/// Statuses that mean what they say in every dialect, and those whose meaning differs.
const STATUSES: [FaultKind; 12] = [
    FaultKind::BadRequestContextLength,
    FaultKind::ContentPolicy400,
    FaultKind::Unauthorized401,
    FaultKind::Forbidden403,
    FaultKind::Model404,
    FaultKind::TooLarge413,
    FaultKind::RateLimited429 { retry: None },
    FaultKind::ServerError500,
    FaultKind::BadGateway502Html,
    FaultKind::Unavailable503 { retry: None },
    FaultKind::GatewayTimeout504,
    FaultKind::Overloaded529,
];

impl Way {
    fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Reset,
            Self::Close,
            Self::Hang,
            Self::Slow,
            Self::Late,
            Self::Garbage,
            Self::Malformed,
            Self::InBandError,
            Self::Html,
            Self::PlainText,
            Self::Compression,
        ];
        plain.into_iter().chain(STATUSES.map(Self::Status))
    }

    /// The event in which it strikes is begun and never ended; otherwise it strikes between two events.
    pub(crate) fn tears_an_event(self) -> bool {
        matches!(self, Self::Reset | Self::Hang | Self::Slow | Self::Late | Self::Garbage)
    }
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) phase: Phase,
    pub(crate) way: Way,
    pub(crate) streamed: bool,
    pub(crate) caller: DialectName,
    pub(crate) primary: DialectName,
    pub(crate) fallback: DialectName,
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, way, streamed, caller, primary, fallback } = self;
        let how = if *streamed { "streamed" } else { "whole" };
        write!(f, "{phase:?} {way:?} {how}, caller {caller}, primary {primary}, fallback {fallback}")
    }
}

/// Whether there is such a thing.
fn exists(phase: Phase, way: Way, streamed: bool) -> bool {
    let in_its_time = match way {
        Way::Reset | Way::Close | Way::Hang | Way::Garbage => true,
        // No provider here has a certificate, so no handshake goes on after a pause.
        Way::Slow => phase != Phase::Tls,
        // Before the request is read, what is late is silent; and compression is promised by a head.
        Way::Late | Way::Compression => phase == Phase::Headers || phase.is_in_body(),
        // A status, a content type and the first thing of an answer come with its head, and only there.
        Way::Status(FaultKind::BadRequestContextLength | FaultKind::Unavailable503 { .. }) => {
            // A server without TLS answers a ClientHello in plain HTTP.
            matches!(phase, Phase::Headers | Phase::Tls)
        }
        Way::Status(_) | Way::Html | Way::PlainText => phase == Phase::Headers,
        Way::Malformed => phase.is_in_body(),
        // One JSON object has no place for an error behind its beginning.
        Way::InBandError => phase == Phase::Headers || (phase.is_in_body() && streamed),
    };
    // In a whole answer nothing is before anything else: one place within a tool call is enough.
    in_its_time && (streamed || phase != Phase::MidToolCallAfterText)
}

/// Every cell: each combination with each dialect's callers at a primary of their own dialect, and once, in turn over
/// the pairs, at a primary of another. The fallback's dialect goes round.
pub(crate) fn cells() -> Vec<Cell> {
    let dialects = DialectName::ALL;
    let one = |number: usize| dialects[number % dialects.len()];
    let mut all = Vec::new();
    let mut number = 0;
    for phase in Phase::ALL {
        for way in Way::all() {
            for streamed in [true, false] {
                if !exists(phase, way, streamed) {
                    continue;
                }
                for (place, caller) in dialects.into_iter().enumerate() {
                    let fallback = one(number + place);
                    all.push(Cell { phase, way, streamed, caller, primary: caller, fallback });
                }
                let (caller, primary) = (one(number), one(number + 1 + number / 3 % 2));
                all.push(Cell { phase, way, streamed, caller, primary, fallback: one(number / 6) });
                number += 1;
            }
        }
    }
    all
}
