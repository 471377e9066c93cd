//! One request between its head and its answer: which faults strike, and what is said otherwise.

use crate::answer::{self, Reply, Speaker};
use crate::behaviour::{Behaviour, Pace};
use crate::body::SimBody;
use crate::cut::{Cut, CutPoint};
use crate::error::{self, Refusal};
use crate::fault::FaultKind;
use crate::frame::FrameKind;
use crate::journal::Record;
use crate::sever::WireCut;
use crate::simulator::Simulator;
use crate::steps::{Chunk, Step};
use crate::tamper::{Tamper, as_whole};
use crate::telling::Form;
use crate::wire::{self, Asked, Route};
use bytes::Bytes;
use canon::DialectName;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// The journal keeps no longer names of models.
const LONGEST_NAME: usize = 256;

/// How a connection fails before there is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionFault {
    /// Nobody listens.
    Refused,
    /// Nothing comes back at all, not even a refusal.
    Unroutable,
    /// Reset after the request was sent.
    Reset,
    /// No TLS could be agreed on.
    Tls,
}

impl std::fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Unroutable => "no route to the provider",
            Self::Reset => "connection reset before the head of the answer",
            Self::Tls => "TLS handshake failed",
        })
    }
}

impl std::error::Error for ConnectionFault {}

/// What the server does to the connection around an answer; it travels in the response's extensions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OnConnection {
    /// Announce that this connection takes no more requests.
    pub(crate) goaway: bool,
}

/// One request between its head and its answer.
pub struct Turn {
    pub(crate) simulator: Simulator,
    /// Drawn for this request.
    pub(crate) faults: Vec<FaultKind>,
    /// In force when it began.
    pub(crate) behaviour: Arc<Behaviour>,
    pub(crate) ordinal: u64,
    pub(crate) route: Option<Route>,
    /// What the door said: a missing or bad key.
    pub(crate) refused: Option<Refusal>,
    /// For the head of the answer.
    pub(crate) more_headers: HeaderMap,
    /// Gone once an answer carries it.
    pub(crate) record: Option<Record>,
}

impl Turn {
    /// The answer that does not wait for the body, where a fault asks for one. Nothing else is to be asked then.
    pub fn early(&mut self) -> Option<Response<SimBody>> {
        let fault = self.faults.iter().copied().find(|fault| matches!(fault, FaultKind::EarlyResponse { .. }))?;
        let refusal = error::of_fault(self.simulator.dialect(), fault, "", self.simulator.wall_clock())?;
        Some(self.refuse(refusal))
    }

    /// The answer to the whole request.
    pub async fn answer(mut self, body: Bytes) -> Result<Response<SimBody>, ConnectionFault> {
        if let Some(record) = &self.record {
            record.update(|entry| entry.received = body.len() as u64);
        }
        if let Some(fault) = self.connection_fault() {
            if let Some(mut record) = self.record.take() {
                record.broken();
            }
            return Err(fault);
        }
        if self.faults.contains(&FaultKind::HangBeforeHeaders) {
            std::future::pending::<()>().await;
        }
        for fault in self.faults.clone() {
            if let FaultKind::SlowHeaders { by } = fault {
                tokio::time::sleep(by).await;
            }
        }
        Ok(self.respond(&body).await)
    }

    fn connection_fault(&self) -> Option<ConnectionFault> {
        self.faults.iter().find_map(|fault| match fault {
            FaultKind::Refuse => Some(ConnectionFault::Refused),
            FaultKind::Unroutable => Some(ConnectionFault::Unroutable),
            FaultKind::ResetBeforeHeaders => Some(ConnectionFault::Reset),
            FaultKind::TlsFailure => Some(ConnectionFault::Tls),
            _ => None,
        })
    }

    async fn respond(&mut self, body: &Bytes) -> Response<SimBody> {
        let dialect = self.simulator.dialect();
        if let Some(refusal) = self.refused.take() {
            return self.refuse(refusal);
        }
        let asked = match self.route.clone() {
            Some(Route::Models) => return self.list(None),
            Some(Route::Model(name)) => return self.list(Some(&name)),
            None => {
                let unknown = error::Invalid::new("Not Found: this simulated provider has no such route.").status(404);
                return self.refuse(unknown.refusal(dialect));
            }
            // A fault that refuses does so before anyone looks into the body, but the model is still told.
            Some(route) => wire::read(dialect, &route, body, self.behaviour.continues),
        };
        let model = asked.as_ref().map(|asked| asked.model.clone()).unwrap_or_default();
        if let (Some(record), Ok(_)) = (&self.record, &asked) {
            record.update(|entry| entry.model = Some(model.chars().take(LONGEST_NAME).collect()));
        }
        let streams = asked.as_ref().is_ok_and(|asked| asked.stream);
        if !streams {
            self.faults = self.faults.iter().map(|fault| as_whole(*fault)).collect();
        }
        let now = self.simulator.wall_clock();
        let of_fault = |fault: &FaultKind| Some((*fault, error::of_fault(dialect, *fault, &model, now)?));
        if let Some((fault, refusal)) = self.faults.iter().find_map(of_fault) {
            let is_answer = fault == FaultKind::ContentPolicy400 && refusal.status == 200;
            let as_array = asked.as_ref().is_ok_and(|asked| asked.as_array);
            return self.refuse(if is_answer && streams { refusal.into_stream(as_array) } else { refusal });
        }
        let asked = match asked {
            Ok(asked) => asked,
            Err(invalid) => return self.refuse(invalid.refusal(dialect)),
        };
        let provider = self.simulator.provider();
        if !provider.models.is_empty() && !provider.models.contains(&asked.model) {
            return self.refuse(wire::unknown_model(dialect, &asked.model).refusal(dialect));
        }
        let reply = self.reply(&asked, body);
        if let Some(record) = &mut self.record {
            record.works(reply.prompt_tokens);
        }
        if asked.stream { self.stream(&asked, &reply) } else { self.whole(&asked, &reply).await }
    }

    fn reply(&self, asked: &Asked, body: &Bytes) -> Reply {
        let speaker = Speaker {
            name: self.simulator.name(),
            seed: self.behaviour.seed,
            answer: &self.behaviour.answer,
            continues: self.behaviour.continues,
            words: self.pace().tokens as usize,
            prefers_calls: self.faults.iter().any(|fault| {
                matches!(
                    fault,
                    FaultKind::CutMidToolCall | FaultKind::CutMidText { cut: Cut { at: CutPoint::Arguments(_), .. } }
                )
            }),
            huge: self.faults.iter().find_map(|fault| match fault {
                FaultKind::HugeEvent { bytes } => Some(*bytes as usize),
                _ => None,
            }),
        };
        answer::reply(&speaker, asked, body)
    }

    /// Faults of the body; a huge event is in the answer itself already.
    fn tamper(&self) -> Tamper {
        let faults: Vec<FaultKind> =
            self.faults.iter().copied().filter(|fault| !matches!(fault, FaultKind::HugeEvent { .. })).collect();
        Tamper::new(self.simulator.dialect(), &faults)
    }

    fn pace(&self) -> &Pace {
        &self.behaviour.pace
    }

    fn interval(&self, is_slow: bool) -> Duration {
        if is_slow { self.pace().interval * 2 } else { self.pace().interval }
    }

    fn first_token(&self) -> Duration {
        let slow = self.faults.iter().map(|fault| match fault {
            FaultKind::SlowFirstToken { by } => *by,
            _ => Duration::ZERO,
        });
        self.pace().first_token + slow.sum::<Duration>()
    }

    fn stream(&mut self, asked: &Asked, reply: &Reply) -> Response<SimBody> {
        let mut steps = Vec::new();
        let mut tamper = self.tamper();
        let mut wait = self.first_token();
        let mut is_first = true;
        for frame in wire::frames(self.simulator.dialect(), asked, reply) {
            if frame.kind.is_token() || (wait > Duration::ZERO && frame.kind == FrameKind::Finish && is_first) {
                steps.push(Step::Wait(wait));
                wait = Duration::ZERO;
                is_first = false;
            }
            tamper.event(&frame, &mut steps);
            if !is_first {
                wait = self.interval(tamper.is_slow());
            }
            if tamper.is_ended() {
                break;
            }
        }
        if !tamper.is_ended() {
            tamper.end(&mut steps);
        }
        if asked.as_array {
            steps = as_array(steps);
        }
        if !self.faults.contains(&FaultKind::Gzip) {
            steps = self.cut_wire(steps);
        }
        let content_type = if asked.as_array { "application/json; charset=UTF-8" } else { "text/event-stream" };
        self.send(content_type, steps, None)
    }

    async fn whole(&mut self, asked: &Asked, reply: &Reply) -> Response<SimBody> {
        let tokens = u32::try_from(reply.answer_tokens() + reply.reasoning_tokens()).unwrap_or(u32::MAX);
        let is_slow = self.faults.contains(&FaultKind::HalfSpeed);
        tokio::time::sleep(self.first_token() + self.interval(is_slow) * tokens).await;
        let body = Bytes::from(wire::whole(self.simulator.dialect(), asked, reply).to_string());
        let said = Chunk { bytes: body.clone(), events: 1, text: reply.text_bytes(), tokens };
        let mut steps = Vec::new();
        self.tamper().whole(&said, &mut steps);
        if !self.faults.contains(&FaultKind::Gzip) {
            steps = self.cut_wire(steps);
        }
        let mut length: Option<u64> = Some(0);
        for step in &steps {
            match step {
                Step::Data(chunk) => length = length.map(|length| length + chunk.bytes.len() as u64),
                // The head promised the whole body.
                Step::Hang | Step::Break { .. } => length = Some(body.len() as u64),
                Step::KeepAlive { .. } => length = None,
                Step::Wait(_) => {}
            }
            if length.is_none() {
                break;
            }
        }
        self.send("application/json", steps, length)
    }

    /// The cut at a byte of the body, unless the body is still to be compressed.
    fn cut_wire(&self, steps: Vec<Step>) -> Vec<Step> {
        match WireCut::new(self.simulator.dialect(), &self.faults) {
            Some(mut cut) => cut.pass(steps),
            None => steps,
        }
    }

    fn list(&mut self, name: Option<&str>) -> Response<SimBody> {
        let now = self.simulator.wall_clock();
        let dialect = self.simulator.dialect();
        let fault = self.faults.iter().find_map(|fault| error::of_fault(dialect, *fault, name.unwrap_or(""), now));
        if let Some(refusal) = fault {
            return self.refuse(refusal);
        }
        match wire::models(self.simulator.provider(), name) {
            Ok(list) => {
                let body = Bytes::from(list.to_string());
                let length = Some(body.len() as u64);
                self.send("application/json", vec![Step::Data(Chunk::bare(body, 0))], length)
            }
            Err(invalid) => self.refuse(invalid.refusal(dialect)),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Response<SimBody> {
        let length = refusal.body.len() as u64;
        let steps = vec![Step::Data(Chunk::bare(refusal.body, 0))];
        let mut response = self.send(refusal.content_type, steps, Some(length));
        if let Ok(status) = StatusCode::from_u16(refusal.status) {
            *response.status_mut() = status;
        }
        for (name, value) in refusal.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        let status = response.status().as_u16();
        self.simulator.answered(self.ordinal, status);
        response
    }

    fn send(&mut self, content_type: &'static str, steps: Vec<Step>, length: Option<u64>) -> Response<SimBody> {
        let is_zipped = self.faults.contains(&FaultKind::Gzip);
        if let Some(record) = &mut self.record {
            record.begins(match content_type {
                _ if is_zipped => Form::Opaque,
                "text/event-stream" => Form::Events,
                _ => Form::Json,
            });
        }
        let (steps, length) = if is_zipped { (self.cut_wire(zipped(steps)), None) } else { (steps, length) };
        self.simulator.answered(self.ordinal, 200);
        let mut response = Response::new(SimBody::new(steps, length, self.record.take()));
        let headers = response.headers_mut();
        headers.extend(std::mem::take(&mut self.more_headers));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if is_zipped {
            headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let id_header = match self.simulator.dialect() {
            DialectName::OpenaiChat => Some("x-request-id"),
            DialectName::AnthropicMessages => Some("request-id"),
            DialectName::Gemini => None,
        };
        if let (Some(name), Ok(value)) = (id_header, HeaderValue::from_str(&format!("req_sim_{}", self.ordinal))) {
            headers.insert(name, value);
        }
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(self.simulator.wall_clock())) {
            headers.insert(http::header::DATE, date);
        }
        let goaway = self.faults.contains(&FaultKind::Goaway);
        response.extensions_mut().insert(OnConnection { goaway });
        response
    }
}

/// Events become the elements of one JSON array, as Gemini streams without `alt=sse`.
fn as_array(steps: Vec<Step>) -> Vec<Step> {
    let mut is_first = true;
    let mut is_broken = false;
    // Chunks of one event belong together.
    let mut is_inside = false;
    let mut all: Vec<Step> = steps
        .into_iter()
        .map(|step| match step {
            Step::Data(chunk) => {
                let text = chunk.bytes.strip_prefix(b"data: ".as_slice()).unwrap_or(&chunk.bytes).to_vec();
                let text = text.strip_suffix(b"\n\n".as_slice()).unwrap_or(&text).to_vec();
                let before: &[u8] = match (is_inside, std::mem::take(&mut is_first)) {
                    (true, _) => b"",
                    (false, true) => b"[",
                    (false, false) => b",\r\n",
                };
                is_inside = chunk.events == 0;
                Step::Data(Chunk { bytes: [before, &text].concat().into(), ..chunk })
            }
            other => {
                is_broken |= matches!(other, Step::Break { .. } | Step::Hang | Step::KeepAlive { .. });
                other
            }
        })
        .collect();
    if !is_broken {
        all.push(Step::Data(Chunk::bare(if is_first { b"[]".as_slice() } else { b"\r\n]" }, 0)));
    }
    all
}

/// The same steps through gzip, flushed at every chunk. Keep-alives that go on for ever end the compression.
fn zipped(steps: Vec<Step>) -> Vec<Step> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut out = Vec::new();
    let mut is_whole = true;
    for step in steps {
        match step {
            Step::Data(chunk) => {
                // Writing to memory does not fail.
                let _ = encoder.write_all(&chunk.bytes).and_then(|()| encoder.flush());
                out.push(Step::Data(Chunk { bytes: std::mem::take(encoder.get_mut()).into(), ..chunk }));
            }
            Step::KeepAlive { .. } => {
                is_whole = false;
                out.push(Step::Hang);
            }
            other => {
                is_whole &= matches!(other, Step::Wait(_));
                out.push(other);
            }
        }
    }
    if is_whole && let Ok(rest) = encoder.finish() {
        out.push(Step::Data(Chunk::bare(rest, 0)));
    }
    out
}
