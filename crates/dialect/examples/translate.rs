//! Says provider answers in every dialect, so that readers of those dialects can be compared on them.
//!
//! Reads JSON lines `{id, dialect, kind: "answer" | "stream", body, profile?}` and writes one line each: what a caller
//! of the same dialect gets (`pass`, with what the sniffer learned on the way), and what callers of each dialect get by
//! way of the canonical types (`targets`, with what was dropped).

use bytes::{Bytes, BytesMut};
use canon::{Answer, CallerError, DialectName, Drops, Event, FinishReason, Tag, Usage};
use dialect::profile::Profile;
use dialect::{Malformed, Sniffed, StreamEnd, StreamShape, sse};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io::{BufRead, BufWriter, Write};

/// One recorded answer.
#[derive(Deserialize)]
struct Recording {
    id: String,
    dialect: String,
    kind: Kind,
    body: String,
    /// The deviations of its provider.
    #[serde(default)]
    profile: Profile,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Answer,
    Stream,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let recording: Recording = serde_json::from_str(&line?)?;
        let dialect = DialectName::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == recording.dialect)
            .ok_or_else(|| format!("{}: no dialect {}", recording.id, recording.dialect))?;
        let body = Bytes::from(recording.body);
        let mut line = match recording.kind {
            Kind::Answer => whole(dialect, &recording.profile, &body),
            Kind::Stream => stream(dialect, &recording.profile, body),
        };
        line.insert("id".to_owned(), json!(recording.id));
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

fn whole(dialect: DialectName, profile: &Profile, body: &[u8]) -> Map<String, Value> {
    let outbound = dialect::outbound(dialect);
    let mut seen = Seen::default();
    seen.look(&outbound.sniffer(profile).sniff_answer(body));
    // The error an answer holds is the sniffer's to report, as in the gateway.
    let error = seen.error.clone();
    let mut line = Map::new();
    line.insert("pass".to_owned(), seen.report());
    match outbound.decode_answer(body, profile) {
        Ok(answer) => {
            line.insert("targets".to_owned(), each_dialect(|target| say_answer(target, &answer, error.as_ref())));
        }
        Err(Malformed(why)) => {
            line.insert("decode_error".to_owned(), json!(why));
            if let Some(error) = &error {
                let said = each_dialect(|target| say_answer(target, &Answer::default(), Some(error)));
                line.insert("targets".to_owned(), said);
            }
        }
    }
    line
}

fn say_answer(target: DialectName, answer: &Answer, error: Option<&Value>) -> Value {
    let inbound = dialect::inbound(target);
    let mut drops = Drops::new();
    let (status, body) = match error {
        Some(error) => (502, inbound.encode_error(&upstream_error(error))),
        None => (200, inbound.encode_answer(answer, &mut drops)),
    };
    json!({"status": status, "body": String::from_utf8_lossy(&body), "drops": dropped(&drops)})
}

fn stream(dialect: DialectName, profile: &Profile, body: Bytes) -> Map<String, Value> {
    let outbound = dialect::outbound(dialect);
    let (frames, residue) = sse::frames(body);
    let (mut sniffer, mut seen) = (outbound.sniffer(profile), Seen::default());
    let (mut decoder, mut events, mut unread) = (outbound.stream_decoder(profile), Vec::new(), Vec::new());
    for frame in &frames {
        let sniffed = sniffer.sniff(frame);
        seen.look(&sniffed);
        // An error ends what the caller gets from the provider; its own error event follows.
        if sniffed.tag.is_some() && !sniffed.malformed && seen.error.is_none() {
            seen.all.extend_from_slice(&frame.raw);
            if !sniffed.only_usage {
                seen.without_usage.extend_from_slice(&frame.raw);
            }
        }
        if let Err(Malformed(why)) = decoder.decode(frame, &mut events) {
            unread.push(why);
        }
    }
    seen.end = Some(sniffer.end(&residue));
    decoder.end(&residue, &mut events);
    let mut line = Map::new();
    line.insert("pass".to_owned(), seen.report());
    line.insert("malformed".to_owned(), json!(unread));
    line.insert("targets".to_owned(), each_dialect(|target| say_stream(target, &events)));
    line
}

/// Writes the events as the gateway does: a failure, and an end without `Done`, become the dialect's error event.
fn say_stream(target: DialectName, events: &[Event]) -> Value {
    let shape = StreamShape {
        usage: true,
        json_array: false,
        fallback_id: "none-given".to_owned(),
        fallback_model: "none-given".to_owned(),
        created: 1,
    };
    let mut encoder = dialect::inbound(target).stream_encoder(shape);
    let (mut out, mut drops, mut failure) = (BytesMut::new(), Drops::new(), None);
    for event in events {
        if let Event::Error(error) = event {
            failure = Some(upstream_error(error));
            break;
        }
        encoder.encode(event, &mut out, &mut drops);
    }
    if failure.is_none() && events.last() != Some(&Event::Done) {
        failure = Some(CallerError::new(502, "stream_broken", "the provider's stream broke"));
    }
    if let Some(failure) = &failure {
        encoder.fail(failure, &mut out);
    }
    json!({"status": 200, "body": String::from_utf8_lossy(&out), "drops": dropped(&drops), "broken": failure.is_some()})
}

/// What a caller of the same dialect gets, and what the sniffer learned of it.
#[derive(Default)]
struct Seen {
    all: BytesMut,
    without_usage: BytesMut,
    usage: Usage,
    finish: Option<(FinishReason, String)>,
    model: Option<String>,
    error: Option<Value>,
    malformed: usize,
    content: bool,
    end: Option<StreamEnd>,
}

impl Seen {
    fn look(&mut self, sniffed: &Sniffed) {
        self.malformed += usize::from(sniffed.malformed);
        self.content |= matches!(sniffed.tag, Some(Tag::Content | Tag::Tool));
        if let Some(usage) = &sniffed.usage {
            self.usage.update(usage);
        }
        if sniffed.finish.is_some() {
            self.finish.clone_from(&sniffed.finish);
        }
        if self.error.is_none() {
            self.error.clone_from(&sniffed.error);
        }
        if self.model.is_none() {
            self.model.clone_from(&sniffed.model);
        }
    }

    fn report(&self) -> Value {
        let end = self.end.as_ref().map(|end| match end {
            StreamEnd::Complete => "complete",
            StreamEnd::Incomplete => "incomplete",
            StreamEnd::Error(_) => "error",
        });
        json!({
            "all": String::from_utf8_lossy(&self.all),
            "without_usage": String::from_utf8_lossy(&self.without_usage),
            "usage": self.usage,
            "finish": self.finish.as_ref().map(|(reason, _)| reason),
            "model": self.model,
            "error": self.error,
            "malformed": self.malformed,
            "content": self.content,
            "end": end,
        })
    }
}

fn each_dialect(say: impl Fn(DialectName) -> Value) -> Value {
    Value::Object(DialectName::ALL.into_iter().map(|target| (target.as_str().to_owned(), say(target))).collect())
}

fn dropped(drops: &Drops) -> Vec<&str> {
    drops.iter().map(|dropped| dropped.path.as_str()).collect()
}

fn upstream_error(error: &Value) -> CallerError {
    CallerError::new(502, "upstream_error", error.to_string())
}
