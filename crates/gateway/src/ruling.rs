//! The plan of a request under the rules: what rules read of it, and what they leave of its candidates.

use crate::clock;
use crate::inquiry::Inquiry;
use crate::pipeline::Admitted;
use canon::Instant;
use routing::{Labels, Model, Needs, Plan, plan_ruled};
use rules::{Lookup, Moment, Request, Ruling};
use std::cell::OnceCell;
use std::sync::Arc;

/// The header that labels a request.
pub(crate) const LABELS: &str = "x-mainstay-labels";

/// A plan, and the model it is carried out with.
pub(crate) struct Found {
    /// The candidates, and who was left out.
    pub plan: Plan,
    /// The model with what rules `set`; `None` = as it is.
    pub overridden: Option<Arc<Model>>,
}

impl Admitted {
    /// Finds the candidates as things stand, under the rules that hold.
    pub(crate) fn find(&self, now: Instant, seed: u64) -> Found {
        let needs = self.inquiry.needs();
        let mut rng = fastrand::Rng::with_seed(seed);
        let ruling = self.rule(&needs, now, &mut rng);
        Found {
            plan: plan_ruled(&self.model, &needs, &ruling, now, &mut rng),
            overridden: self.model.overridden(&ruling).map(Arc::new),
        }
    }

    /// The model with what rules `set` for this request now; `None` = as it is.
    pub(crate) fn overridden(&self, now: Instant, seed: u64) -> Option<Model> {
        let ruling = self.rule(&self.inquiry.needs(), now, &mut fastrand::Rng::with_seed(seed));
        self.model.overridden(&ruling)
    }

    fn rule(&self, needs: &Needs, now: Instant, rng: &mut fastrand::Rng) -> Ruling<'_> {
        let asked = Asked { inquiry: &self.inquiry, labels: OnceCell::new() };
        let request = Request {
            key: self.caller.as_deref(),
            ..needs.for_rules(&self.model, Some(self.inquiry.dialect.as_str()), &asked)
        };
        let moment = Moment { now, unix_seconds: Some(clock::unix_seconds()) };
        let ruling = self.model.rule(needs, &request, moment, rng);
        for (rule, failure, times) in &ruling.failed {
            // Told now and then: a rule that fails does so for many requests.
            if times.is_power_of_two() {
                tracing::warn!(rule = &***rule, why = failure.as_str(), times, "a rule fails and is skipped");
            }
        }
        ruling
    }
}

/// What rules look up of a request: answers are not shared between requests that differ in it.
pub(crate) fn looked_up(admitted: &Admitted) -> Vec<String> {
    admitted.model.looked_up(&Asked { inquiry: &admitted.inquiry, labels: OnceCell::new() })
}

/// What a rule can look up of a request; the body is read for labels when a rule asks for one.
struct Asked<'a> {
    inquiry: &'a Inquiry,
    labels: OnceCell<Labels>,
}

impl Asked<'_> {
    fn labels(&self) -> &Labels {
        self.labels.get_or_init(|| {
            let Inquiry { scan, body, headers, .. } = self.inquiry;
            Labels::read(scan, body, headers.get(LABELS).and_then(|value| value.to_str().ok()))
        })
    }
}

impl Lookup for Asked<'_> {
    fn user(&self) -> Option<&str> {
        self.labels().user()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels().label(name)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.inquiry.headers.get(name)?.to_str().ok()
    }
}
