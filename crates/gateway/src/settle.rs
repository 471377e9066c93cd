//! What is written down when an exchange is over: the log line and, when the caller asked, the trace.

use crate::door::Seats;
use crate::quality::Record;
use crate::stream::Facts;
use crate::tier::Told;
use crate::witness::Witness;
use bytes::Bytes;
use canon::{AttemptReport, DialectName, Fault, FinishReason, Instant, Usage};
use catalog::Usd;
use dialect::StreamShape;
use history::GatewayEnd;
use routing::{AppliedRule, Machine, Model, Plan, Target};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Facts of one exchange that are known before the answer.
pub(crate) struct Settlement {
    /// The exchange's id.
    pub request_id: Arc<str>,
    /// The logical model.
    pub model: Arc<str>,
    /// The caller's key, by name.
    pub caller: Option<Arc<str>>,
    /// When the exchange began.
    pub started: Instant,
    /// `x-mainstay-trace: 1`: what the plan left out, with reasons, and the incidents that are reported of its targets.
    pub trace: Option<Value>,
    /// The tiers of its model, where it has some.
    pub tier: Option<Box<Told>>,
    /// The rules that held when it was planned.
    pub rules: Vec<AppliedRule>,
    /// What the exchange went through before it waited for a target.
    pub earlier: Earlier,
    /// What the trace says of the cache.
    pub cache: &'static str,
    /// Told when the answer is complete.
    pub watch: Option<Watch>,
    /// Follows the exchange while a history is kept.
    pub witness: Option<Arc<Witness>>,
    /// Its places behind the doors it has passed, held to its end.
    pub seats: Option<Arc<Seats>>,
}

/// An exchange's past, when it has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Earlier {
    /// What was tried.
    pub attempts: Vec<AttemptReport>,
    /// How long it waited, at the door and in the queue.
    pub queued: Duration,
}

/// Learns that an answer is complete, and what it came to.
pub(crate) type Watch = Arc<OnceLock<Completed>>;

/// A complete answer's facts.
#[derive(Debug)]
pub(crate) struct Completed {
    /// The target that served.
    pub target: String,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// Token counts.
    pub usage: Usage,
    /// Why it ended.
    pub finish: Option<FinishReason>,
    /// It passed every check that was made of it.
    pub passed: bool,
}

impl Settlement {
    /// When the exchange began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The answer went out whole.
    pub(crate) fn complete(&self, facts: &Facts, machine: &Machine, now: Instant) {
        if let Some(witness) = &self.witness {
            witness.paid(&facts.usage, machine);
            witness.answered(machine);
        }
        machine.account(&facts.usage, now);
        let serves = Serves::of(machine);
        if let Some(watch) = &self.watch {
            let _first = watch.set(Completed {
                target: serves.id().to_owned(),
                model: facts.model.clone(),
                usage: facts.usage.clone(),
                finish: facts.finish.as_ref().map(|(reason, _)| *reason),
                passed: !facts.checks.iter().any(Record::is_recorded),
            });
        }
        for record in facts.checks.iter().filter(|record| record.is_recorded()) {
            tracing::warn!(
                request_id = &*self.request_id,
                model = &*self.model,
                target = serves.id(),
                region = serves.region(),
                check = record.check(),
                why = record.why(),
                "the answer did not pass a check after part of it was sent"
            );
        }
        let attempts = machine.attempts_made();
        for lost in machine.called_off() {
            tracing::info!(
                request_id = &*self.request_id,
                model = &*self.model,
                target = lost.target,
                region = lost.region,
                estimated_input_tokens = lost.estimated_input_tokens,
                estimated_cost = lost.estimated_cost.map(Usd::as_dollars),
                "another attempt was quicker"
            );
        }
        if let Some(reason) = machine.fallback_reason() {
            tracing::info!(
                request_id = &*self.request_id,
                model = &*self.model,
                caller = self.caller.as_deref(),
                target = serves.id(),
                region = serves.region(),
                experiment = trials(machine),
                attempts,
                reason,
                tried = %tried(machine),
                ms = ms(now, self.started),
                cost = cost(facts, machine).map(Usd::as_dollars),
                malformed_events = facts.malformed,
                without_transcript = facts.unkept,
                "served by a fallback"
            );
        } else {
            tracing::debug!(
                request_id = &*self.request_id,
                model = &*self.model,
                caller = self.caller.as_deref(),
                target = serves.id(),
                region = serves.region(),
                experiment = trials(machine),
                attempts,
                ms = ms(now, self.started),
                input_tokens = facts.usage.input_tokens,
                output_tokens = facts.usage.output_tokens,
                cost = cost(facts, machine).map(Usd::as_dollars),
                malformed_events = facts.malformed,
                without_transcript = facts.unkept,
                "served"
            );
        }
    }

    /// A committed stream broke; the caller got the error event.
    pub(crate) fn broken(&self, fault: &Fault, facts: &Facts, machine: &Machine, now: Instant) {
        if let Some(witness) = &self.witness {
            witness.paid(&facts.usage, machine);
            witness.broken(fault, machine);
        }
        let serves = Serves::of(machine);
        tracing::warn!(
            request_id = &*self.request_id,
            model = &*self.model,
            caller = self.caller.as_deref(),
            target = serves.id(),
            region = serves.region(),
            experiment = trials(machine),
            fault = fault.class.as_str(),
            message = fault.message.as_str(),
            ms = ms(now, self.started),
            output_tokens = facts.usage.output_tokens,
            "incomplete: the stream broke after content"
        );
    }

    /// A committed stream broke, and somebody is asked to go on.
    pub(crate) fn broke(&self, fault: &Fault, machine: &Machine) {
        let serves = Serves::of(machine);
        tracing::info!(
            request_id = &*self.request_id,
            model = &*self.model,
            target = serves.id(),
            region = serves.region(),
            fault = fault.class.as_str(),
            message = fault.message.as_str(),
            "the stream broke after content"
        );
    }

    /// A committed stream broke with something shown that nobody can go on with.
    pub(crate) fn not_rescuable(&self, obstacle: &str) {
        tracing::info!(request_id = &*self.request_id, obstacle, "nobody can go on with what was shown");
    }

    /// A target did not go on.
    pub(crate) fn not_rescued(&self, target: &Target, fault: &Fault) {
        tracing::info!(
            request_id = &*self.request_id,
            target = target.id,
            region = target.region,
            fault = fault.class.as_str(),
            message = fault.message.as_str(),
            "a rescue came to nothing"
        );
    }

    /// A target goes on.
    pub(crate) fn rescued(&self, target: &Target, via: Option<rescue::Via>) {
        let via = via.map_or("again", rescue::Via::as_str);
        let (target, region) = (&*target.id, target.region.as_deref());
        tracing::info!(request_id = &*self.request_id, model = &*self.model, target, region, via, "the stream goes on");
    }

    /// The caller hung up on a committed stream.
    pub(crate) fn hung_up(&self, facts: &Facts, machine: &Machine, now: Instant) {
        if let Some(witness) = &self.witness {
            witness.paid(&facts.usage, machine);
            witness.decided(GatewayEnd::HungUp);
        }
        let serves = Serves::of(machine);
        tracing::debug!(
            request_id = &*self.request_id,
            model = &*self.model,
            target = serves.id(),
            region = serves.region(),
            ms = ms(now, self.started),
            output_tokens = facts.usage.output_tokens,
            "the caller hung up"
        );
    }

    /// Nobody could answer.
    pub(crate) fn gave_up(&self, status: u16, fault: Option<&str>, machine: &Machine, now: Instant) {
        tracing::warn!(
            request_id = &*self.request_id,
            model = &*self.model,
            caller = self.caller.as_deref(),
            status,
            fault,
            announced_in = machine.first_byte().map(|it| it.announced_in),
            experiment = trials(machine),
            tried = %tried(machine),
            ms = ms(now, self.started),
            "not answered"
        );
    }

    /// The story of the exchange: attempts, exclusions, tokens.
    pub(crate) fn story(&self, facts: &Facts, machine: &Machine) -> Option<Value> {
        let trace = self.trace.as_ref()?;
        Some(json!({
            "request_id": &*self.request_id,
            "model": &*self.model,
            "served_by": Serves::of(machine).id(),
            "reason": machine.reason(),
            "session": machine.plan().session_told(),
            "experiments": machine.trials(),
            "patches": machine.patches(),
            "attempts": self.earlier.attempts.iter().chain(&machine.attempts()).collect::<Vec<_>>(),
            "called_off": machine.called_off().collect::<Vec<_>>(),
            "first_byte": machine.first_byte().map(|it| {
                json!({ "within_ms": ms(it.by, self.started), "announced_in": it.announced_in })
            }),
            "cache": self.cache,
            "queued_ms": u64::try_from(self.earlier.queued.as_millis()).unwrap_or(u64::MAX),
            "excluded": trace.get("excluded"),
            "incidents": trace.get("incidents"),
            "mirror": trace.get("mirror"),
            "tier": self.tier.as_deref().map(Told::story),
            "rules": &self.rules,
            "usage": facts.usage,
            "cost": cost(facts, machine),
            "dropped": facts.drops.iter().collect::<Vec<_>>(),
            "checks": facts.checks.iter().map(Record::shown).collect::<Vec<_>>(),
        }))
    }

    /// The story as one event of the caller's stream; none when it was not asked for or the framing has no room.
    pub(crate) fn trace_event(
        &self,
        dialect: DialectName,
        shape: &StreamShape,
        facts: &Facts,
        machine: &Machine,
    ) -> Option<Bytes> {
        let story = self.story(facts, machine)?;
        Some(story_event(dialect, shape, facts.model.as_deref(), &story))
    }
}

/// What a caller who accepts a new answer in the same stream reads before it.
pub(crate) fn restart_event(dialect: DialectName, shape: &StreamShape) -> Bytes {
    story_event(dialect, shape, None, &json!({ "restart": true }))
}

/// A story as one event of a stream; empty where the framing has no room.
pub(crate) fn story_event(dialect: DialectName, shape: &StreamShape, model: Option<&str>, story: &Value) -> Bytes {
    let text = match dialect {
        DialectName::OpenaiChat => {
            let chunk = json!({
                "id": shape.fallback_id,
                "object": "chat.completion.chunk",
                "created": shape.created,
                "model": model.unwrap_or(&shape.fallback_model),
                "choices": [],
                "mainstay": story,
            });
            format!("data: {chunk}\n\n")
        }
        DialectName::AnthropicMessages => {
            let event = json!({ "type": "mainstay", "mainstay": story });
            format!("event: mainstay\ndata: {event}\n\n")
        }
        DialectName::Gemini if shape.json_array => String::new(),
        DialectName::Gemini => format!("data: {}\r\n\r\n", json!({ "mainstay": story })),
    };
    Bytes::from(text)
}

/// What the plan left out, and the incidents that are reported of its model's targets, for the trace.
pub(crate) fn told_of(plan: &Plan, model: &Model) -> Value {
    let excluded = plan.excluded.iter();
    let excluded: Value = excluded
        .map(|e| {
            let (code, reason) = (e.reason.code(), e.describe(plan.made));
            labelled(plan.id(e.target), plan.region(e.target), json!({ "code": code, "reason": reason }))
        })
        .collect();
    let reported = |target: &Arc<Target>| {
        let suspicion = target.health.suspicion(plan.made)?;
        Some(labelled(&target.id, target.region.as_deref(), json!({ "reported": suspicion.why })))
    };
    json!({ "excluded": excluded, "incidents": model.targets.iter().filter_map(reported).collect::<Value>() })
}

/// What is said of a target, with its labels.
fn labelled(id: &str, region: Option<&str>, mut said: Value) -> Value {
    if let Some(said) = said.as_object_mut() {
        said.insert("target".to_owned(), json!(id));
        said.extend(region.map(|region| ("region".to_owned(), json!(region))));
    }
    said
}

/// The story of a request that was refused before anything was planned.
pub(crate) fn story_of_refusal(request_id: &str) -> Value {
    json!({ "request_id": request_id, "attempts": [], "excluded": [] })
}

/// What the answer cost, where the prices of who served are known.
pub(crate) fn cost(facts: &Facts, machine: &Machine) -> Option<Usd> {
    machine.cost(&facts.usage)
}

/// `tone=short, price=low`: the arms of the experiments the request takes part in; `None` = there are none.
pub(crate) fn trials(machine: &Machine) -> Option<String> {
    let trials = machine.trials();
    (!trials.is_empty()).then(|| trials.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// Who serves, if somebody does, as logs label it.
struct Serves(Option<Arc<Target>>);

impl Serves {
    fn of(machine: &Machine) -> Self {
        Self(machine.served_by().map(|served| served.target))
    }

    /// Empty while nobody does.
    fn id(&self) -> &str {
        self.0.as_deref().map_or("", |target| &target.id)
    }

    fn region(&self) -> Option<&str> {
        self.0.as_deref()?.region.as_deref()
    }
}

fn ms(now: Instant, since: Instant) -> u64 {
    u64::try_from(now.saturating_since(since).as_millis()).unwrap_or(u64::MAX)
}

/// `openai/gpt-5.1 in eu-central overloaded 12 ms, …`: what was tried, for a log line.
fn tried(machine: &Machine) -> String {
    let mut text = String::new();
    for attempt in machine.attempts() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&attempt.target);
        if let Some(region) = &attempt.region {
            text.push_str(" in ");
            text.push_str(region);
        }
        text.push(' ');
        text.push_str(attempt.fault.map_or("served", canon::FaultClass::as_str));
        text.push(' ');
        text.push_str(&attempt.ms.to_string());
        text.push_str(" ms");
    }
    text
}
