//! Quality at the gate: whether an answer is one. Cheap checks look at what is held before the commit and at the end of
//! the answer; an evaluator, where one is configured, scores an answer that is held back whole for it.
//!
//! Before the commit an answer that does not pass is a `bad_answer`, and another target is asked; after it that is
//! written down. What a provider blocked (`content_blocked`) is never looked at. Answers of several candidates are not
//! either.
//!
//! The verdicts are pure functions of what was said; [`inspection`] applies them to a stream, [`evaluate`] asks the
//! model.

mod evaluate;
mod head;
mod inspection;
mod schema;
mod verdict;

pub(crate) use evaluate::Judge;
pub(crate) use inspection::Inspection;
pub(crate) use verdict::Said;

use crate::inquiry::Inquiry;
use crate::stream::Facts;
use canon::{Answer, Fault, FaultClass, FinishReason, Origin, Part};
use routing::{Checks, Target};
use serde_json::{Value, json};
use std::sync::Arc;

/// Tokens of output beyond which an answer is not taken to be white space alone without being read.
const BLANK_TOKENS: u64 = 16;
/// The same for answers that do not state their tokens, in bytes of the whole answer.
const BLANK_BYTES: usize = 2 << 10;

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// White space alone.
    Empty,
    /// No JSON where JSON was asked for.
    Json,
    /// JSON that does not follow the schema.
    Schema,
    /// Cut off by a limit.
    Truncated,
    /// A refusal in the place of an answer.
    Refusal,
    /// The evaluator's scores.
    Evaluation,
}

impl Check {
    const ALL: [Self; 6] = [Self::Empty, Self::Json, Self::Schema, Self::Truncated, Self::Refusal, Self::Evaluation];

    /// The name in the trace and the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Json => "json",
            Self::Schema => "schema",
            Self::Truncated => "truncated",
            Self::Refusal => "refusal",
            Self::Evaluation => "evaluation",
        }
    }

    /// The code of the fault that it is before the commit.
    fn code(self) -> &'static str {
        match self {
            Self::Empty => "check_empty",
            Self::Json => "check_json",
            Self::Schema => "check_schema",
            Self::Truncated => "check_truncated",
            Self::Refusal => "check_refusal",
            Self::Evaluation => "check_evaluation",
        }
    }

    /// The check that a fault comes from.
    fn of(fault: &Fault) -> Option<Self> {
        let code = fault.code.as_deref().filter(|_| fault.origin == Origin::Mainstay)?;
        Self::ALL.into_iter().find(|check| check.code() == code)
    }
}

/// What did not pass, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    check: Check,
    why: String,
}

impl Finding {
    fn new(check: Check, why: impl Into<String>) -> Self {
        Self { check, why: why.into() }
    }

    /// The fault it is before the commit: a matter of quality, not of outage.
    pub(crate) fn into_fault(self) -> Fault {
        let words = format!("the answer did not pass the check `{}`: {}", self.check.as_str(), self.why);
        Fault {
            status: Some(200),
            code: Some(self.check.code().to_owned()),
            may_be_billed: true,
            ..Fault::new(FaultClass::BadAnswer, Origin::Mainstay, words)
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It did not, and another target was asked.
    Failed,
    /// It did not, after the caller had seen something of the answer.
    Recorded,
    /// It could not be made, and the answer passed.
    Skipped,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Recorded => "recorded",
            Self::Skipped => "skipped",
        }
    }
}

/// One check as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    target: String,
    check: Check,
    outcome: Outcome,
    why: Option<String>,
    /// What the evaluator's part was.
    evaluation: Option<Value>,
}

impl Record {
    fn new(target: &Target, check: Check, outcome: Outcome, why: Option<String>) -> Self {
        Self { target: target.id.clone(), check, outcome, why, evaluation: None }
    }

    /// Of an attempt that failed at a check.
    pub(crate) fn of(target: &Target, fault: &Fault) -> Option<Self> {
        let check = Check::of(fault)?;
        Some(Self::new(target, check, Outcome::Failed, Some(fault.message.clone())))
    }

    /// The caller has an answer that did not pass.
    pub(crate) fn is_recorded(&self) -> bool {
        self.outcome == Outcome::Recorded
    }

    /// The check's name.
    pub(crate) fn check(&self) -> &'static str {
        self.check.as_str()
    }

    /// Why it did not pass; empty where nothing is to be said.
    pub(crate) fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }

    /// As the trace shows it.
    pub(crate) fn shown(&self) -> Value {
        let mut shown = json!({
            "target": self.target,
            "check": self.check.as_str(),
            "outcome": self.outcome.as_str(),
            "why": self.why,
        });
        if let (Value::Object(shown), Some(Value::Object(evaluation))) = (&mut shown, &self.evaluation) {
            shown.extend(evaluation.clone());
        }
        shown
    }
}

/// What the answers of one exchange must pass.
pub(crate) struct Quality {
    checks: Checks,
    judge: Option<Judge>,
}

impl Quality {
    /// By the model's settings and what the request asks for.
    pub(crate) fn of(inquiry: &Inquiry, checks: Checks, judge: Option<Judge>) -> Self {
        if inquiry.scan.n > 1 {
            let none = Checks { empty: false, json: false, truncated: false, refusal: false };
            return Self { checks: none, judge: None };
        }
        Self { checks: Checks { json: checks.json && inquiry.is_structured(), ..checks }, judge }
    }

    /// Who scores the answers.
    pub(crate) fn judge(&self) -> Option<&Judge> {
        self.judge.as_ref()
    }

    /// What watches a stream of this target; `None` = nothing is to be watched.
    pub(crate) fn inspection(&self, inquiry: &Arc<Inquiry>, target: &Arc<Target>) -> Option<Box<Inspection>> {
        let Checks { empty, json, truncated, refusal } = self.checks;
        let watches = empty || json || truncated || refusal || self.judge.is_some();
        watches.then(|| Box::new(Inspection::new(self.checks, self.judge.is_some(), inquiry, target)))
    }

    /// Whether a whole answer, known as far as `facts` goes, must be read for the checks.
    pub(crate) fn reads(&self, facts: &Facts, bytes: usize) -> bool {
        let Checks { empty, json, truncated: _, refusal } = self.checks;
        let may_be_blank = match facts.usage.output_tokens {
            Some(tokens) => tokens <= BLANK_TOKENS,
            None => bytes <= BLANK_BYTES,
        };
        json || refusal || self.judge.is_some() || (empty && may_be_blank)
    }

    /// Checks a whole answer. `said` = what it says, where it was read.
    pub(crate) fn check(
        &self,
        inquiry: &Inquiry,
        target: &Target,
        facts: &Facts,
        said: Option<&Said>,
    ) -> Option<Fault> {
        let finish = facts.finish.as_ref().map(|(reason, _)| *reason);
        let unread = Said { finish, ..Said::default() };
        let checks = match said {
            Some(_) => self.checks,
            None => Checks { empty: false, json: false, refusal: false, ..self.checks },
        };
        verdict::at_end(checks, said.unwrap_or(&unread), inquiry, target).map(Finding::into_fault)
    }
}

impl Said {
    /// What a whole answer says.
    pub(crate) fn of(answer: &Answer, finish: Option<FinishReason>) -> Self {
        let mut said = Self { finish, ..Self::default() };
        for part in answer.candidates.first().into_iter().flat_map(|candidate| &candidate.parts) {
            match part {
                Part::Text { text, .. } => said.text.push_str(text),
                Part::ToolCall(_) => said.calls = true,
                Part::Reasoning(_) => {}
                Part::Refusal(_)
                | Part::Image(_)
                | Part::Audio(_)
                | Part::Video(_)
                | Part::Document(_)
                | Part::ToolResult(_)
                | Part::Opaque { .. } => said.other = true,
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::{DialectName, Usage};
    use catalog::Catalog;
    use config::{Environment, Loader};
    use dialect::{PathFacts, Shown, scan};
    use health::Health;
    use http::HeaderMap;

    fn target() -> Arc<Target> {
        let yaml = "providers:\n  sim: { dialect: openai-chat, base_url: \"http://127.0.0.1:1/v1\", keyless: true }\n\
                    models:\n  chat: { targets: [sim/m] }\n";
        let (catalog, health) = (Catalog::builtin().unwrap(), Arc::new(Health::new(1)));
        let environment = Environment::new();
        let loader = Loader {
            catalog: &catalog,
            health: &health,
            ledger: &Arc::default(),
            environment: &environment,
            allow_injection: false,
        };
        loader.load("test.yaml", yaml).unwrap().resolve("chat").unwrap().targets[0].clone()
    }

    fn inquiry(more: &str) -> Arc<Inquiry> {
        let body = format!(r#"{{"model":"chat","messages":[{{"role":"user","content":"Hello"}}]{more}}}"#);
        let path = PathFacts::default();
        let scan = scan::scan(DialectName::OpenaiChat, &path, body.as_bytes()).unwrap();
        Arc::new(Inquiry::new(DialectName::OpenaiChat, path, HeaderMap::new(), body.into(), scan))
    }

    const JSON: &str = r#","response_format":{"type":"json_object"}"#;
    const ALL: Checks = Checks { empty: true, json: true, truncated: true, refusal: true };

    fn shown(text: &str) -> Shown {
        Shown { text: text.to_owned(), ..Shown::default() }
    }

    #[test]
    fn nothing_is_read_of_an_ordinary_answer_and_nothing_held_beyond_its_first_word() {
        let inquiry = inquiry("");
        let quality = Quality::of(&inquiry, Checks::default(), None);
        let usage = Usage { output_tokens: Some(200), ..Usage::default() };
        assert!(!quality.reads(&Facts { usage, ..Facts::default() }, 100));
        let mut inspection = quality.inspection(&inquiry, &target()).unwrap();
        assert!(inspection.holds());
        inspection.look(&shown("\n "), false).unwrap();
        assert!(inspection.holds(), "white space is not an answer yet");
        inspection.look(&shown("\n Good"), false).unwrap();
        assert!(!inspection.holds() && inspection.is_done());
        let off = Checks { empty: false, ..Checks::default() };
        assert!(Quality::of(&inquiry, off, None).inspection(&inquiry, &target()).is_none());
    }

    #[test]
    fn what_a_provider_blocked_or_a_limit_cut_off_is_not_judged_by_what_it_says() {
        let inquiry = inquiry(JSON);
        for (finish, expected) in [
            (FinishReason::ContentFilter, None),
            (FinishReason::Pause, None),
            (FinishReason::Length, Some(Check::Truncated)),
            (FinishReason::Stop, Some(Check::Refusal)),
        ] {
            let said = Said { text: "I can't help with that.".to_owned(), finish: Some(finish), ..Said::default() };
            let found = verdict::at_end(ALL, &said, &inquiry, &target()).map(|finding| finding.check);
            assert_eq!(found, expected, "{finish:?}");
            let marked = Said { text: String::new(), finish: Some(FinishReason::Stop), other: true, ..Said::default() };
            assert_eq!(verdict::at_end(ALL, &marked, &inquiry, &target()), None, "a marked refusal");
        }
    }

    #[test]
    fn after_the_commit_what_does_not_pass_is_a_record_and_no_fault() {
        let inquiry = inquiry(JSON);
        let quality = Quality::of(&inquiry, ALL, None);
        for committed in [false, true] {
            let mut inspection = quality.inspection(&inquiry, &target()).unwrap();
            if committed {
                inspection.commit();
            }
            let ended = inspection.end(&shown("{"), Some(FinishReason::Stop));
            assert_eq!(ended.is_err(), !committed);
            assert_eq!(ended.is_ok_and(|record| record.is_some_and(|it| it.is_recorded())), committed);
            assert_eq!(inspection.end(&shown("{"), Some(FinishReason::Stop)), Ok(None), "it ends once");
        }
    }

    #[test]
    fn probabilities_beside_a_text_hinder_no_check_of_it_and_a_marked_refusal_does() {
        use dialect::shown::Obstacle;
        let inquiry = inquiry(JSON);
        for (obstacle, is_checked) in
            [(Obstacle::Logprobs, true), (Obstacle::Citations, true), (Obstacle::Refusal, false)]
        {
            let shown = Shown { obstacle: Some(obstacle), ..shown("{") };
            let mut inspection = Quality::of(&inquiry, ALL, None).inspection(&inquiry, &target()).unwrap();
            assert_eq!(inspection.end(&shown, Some(FinishReason::Stop)).is_err(), is_checked, "{obstacle}");
        }
    }

    #[test]
    fn a_check_that_failed_is_a_matter_of_quality_and_names_itself() {
        for check in Check::ALL {
            let fault = Finding::new(check, "so").into_fault();
            assert_eq!((fault.class, fault.scope), (FaultClass::BadAnswer, canon::Scope::Model));
            assert_eq!(Check::of(&fault), Some(check));
            assert!(fault.message.contains(check.as_str()), "{}", fault.message);
        }
        let other = Fault::new(FaultClass::BadAnswer, Origin::Body, "");
        assert_eq!(Check::of(&other), None);
    }
}
