//! One way of choosing, over the whole trace: the plan, the attempt machine, the ledger and health of a gateway, and
//! providers that answer and send a bill.

use crate::trace::Request;
use canon::{Fault, Instant};
use catalog::{Moment, Usd, classify};
use routing::tier::Said;
use routing::{Action, AttemptId, Event, ExchangeFacts, Machine, Model, Needs, RescueMode, Start, Target, plan};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Monday, 23 November 2026, 00:00 UTC: `DeepSeek` charges twice at some hours of working days.
const MIDNIGHT: u64 = 1_795_392_000;
/// Hourly probes of gpt-5.4 (docs/DRILLS.md, laws): median of the first token, and of a token.
const FIRST_TOKEN: Duration = Duration::from_millis(910);
const TOKEN: Duration = Duration::from_millis(22);
/// How long an error answer takes: a round trip across a continent.
const REFUSAL: Duration = Duration::from_millis(50);

/// What a request costs at the hour it was asked.
pub(crate) fn moment(at: Instant) -> Moment {
    Moment::from_unix(MIDNIGHT + at.since_origin().as_secs())
}

/// How providers fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failing {
    /// Of all calls, 0 to 1.
    pub(crate) share: f64,
    /// All calls of this target, from one hour to another.
    pub(crate) outage: Option<(&'static str, (f64, f64))>,
}

/// What was paid for one answer.
#[derive(Debug, Clone)]
pub(crate) struct Paid {
    pub(crate) at: Instant,
    pub(crate) target: Arc<Target>,
    pub(crate) cost: Usd,
    /// What the primary would have charged for it.
    pub(crate) at_primary: Usd,
    pub(crate) is_below_floor: bool,
    /// What whoever knows the task would have paid for it.
    pub(crate) at_floor: Usd,
}

/// What the trace came to.
#[derive(Debug, Default)]
pub(crate) struct Bill {
    pub(crate) requests: usize,
    pub(crate) refused: usize,
    /// Answers, and calls that lost to a hedge: those are billed as if they had been heard to the end.
    pub(crate) paid: Vec<Paid>,
}

impl Bill {
    pub(crate) fn spent(&self) -> Usd {
        self.paid.iter().fold(Usd::ZERO, |sum, paid| sum.plus(paid.cost))
    }

    pub(crate) fn below_floor(&self) -> usize {
        self.paid.iter().filter(|paid| paid.is_below_floor).count()
    }

    /// What was spent, and what it costs to ask once more, at its floor, what was answered below it.
    pub(crate) fn with_asked_again(&self) -> Usd {
        let again = self.paid.iter().filter(|paid| paid.is_below_floor);
        again.fold(self.spent(), |sum, paid| sum.plus(paid.at_floor))
    }
}

/// What is known of a request when its bill comes.
#[derive(Debug, Clone)]
struct Asked {
    usage: canon::Usage,
    at: Instant,
    floor: usize,
    at_floor: Usd,
}

struct Exchange {
    machine: Machine,
    asked: Asked,
    /// Calls under way that will answer.
    answering: Vec<(AttemptId, Arc<Target>)>,
}

/// One model, over the trace.
pub(crate) struct Run {
    model: Arc<Model>,
    /// The application says the tier of each request.
    is_labelled: bool,
    failing: Failing,
    tiers: HashMap<String, usize>,
    rng: fastrand::Rng,
    due: BTreeMap<(Instant, u64), (u64, Event)>,
    exchanges: HashMap<u64, Exchange>,
    sequence: u64,
    bill: Bill,
}

impl Run {
    /// `tiers` = the number of each target's tier.
    pub(crate) fn new(model: Arc<Model>, failing: Failing, tiers: HashMap<String, usize>, seed: u64) -> Self {
        Self {
            model,
            is_labelled: false,
            failing,
            tiers,
            rng: fastrand::Rng::with_seed(seed),
            due: BTreeMap::new(),
            exchanges: HashMap::new(),
            sequence: 0,
            bill: Bill::default(),
        }
    }

    pub(crate) fn labelled(self) -> Self {
        Self { is_labelled: true, ..self }
    }

    /// Takes a request in, after whatever was due before it.
    pub(crate) fn take(&mut self, request: &Request, floor: usize, at_floor: Usd) -> Result<(), String> {
        self.settle_until(request.at);
        let said = Said { header: self.is_labelled.then(|| request.task.floor()), ..Said::default() };
        let tiers = self.model.settings.tiers.as_ref();
        let tier = tiers.map(|tiers| tiers.read(said, &request.scan, &request.body)).transpose();
        let tier = tier.map_err(|unknown| unknown.to_string())?.flatten();
        let needs = Needs { tier, asked_at: Some(moment(request.at)), ..Needs::from(&request.scan) };
        let facts = ExchangeFacts {
            started: request.at,
            deadline: Instant::FAR_FUTURE,
            needs,
            is_callers_retry: false,
            may_hedge: true,
            seed: self.rng.u64(..),
            rescue: RescueMode::Error,
        };
        let plan = plan(&self.model, &needs, request.at, &mut self.rng);
        let machine = Machine::new(Arc::clone(&self.model), plan, facts);
        let asked = Asked { usage: request.usage(), at: request.at, floor, at_floor };
        self.bill.requests += 1;
        self.sequence += 1;
        let id = self.sequence;
        self.exchanges.insert(id, Exchange { machine, asked, answering: Vec::new() });
        self.step(id, Event::Begin, request.at);
        Ok(())
    }

    /// What everything came to.
    pub(crate) fn bill(mut self) -> Bill {
        self.settle_until(Instant::FAR_FUTURE);
        self.bill
    }

    fn settle_until(&mut self, now: Instant) {
        while let Some(next) = self.due.first_entry().filter(|next| next.key().0 <= now) {
            let ((at, _), (id, event)) = next.remove_entry();
            self.step(id, event, at);
        }
    }

    fn schedule(&mut self, at: Instant, id: u64, event: Event) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), (id, event));
    }

    fn step(&mut self, id: u64, event: Event, now: Instant) {
        let Some(mut of) = self.exchanges.remove(&id) else { return };
        match of.machine.next(event, now) {
            Action::Try(start) | Action::Hedge(start) => {
                if let Some(at) = start.hedge_at {
                    self.schedule(at, id, Event::Elapsed);
                }
                self.call(id, &mut of, &start, now);
            }
            Action::Wait { until } => self.schedule(until, id, Event::Elapsed),
            Action::Done => return self.served(&of, now),
            Action::GiveUp(_) => {
                self.bill.refused += 1;
                return;
            }
            // No stream breaks here, and whoever is told to go on was scheduled when it began.
            _ => {}
        }
        self.exchanges.insert(id, of);
    }

    fn call(&mut self, id: u64, of: &mut Exchange, start: &Start, now: Instant) {
        let attempt = start.attempt;
        let hour = now.since_origin().as_secs_f64() / 3_600.0;
        let is_out =
            self.failing.outage.is_some_and(|(out, (from, to))| start.target.id == out && (from..to).contains(&hour));
        if self.rng.f64() < self.failing.share || is_out {
            return self.schedule(now + REFUSAL, id, Event::Failed { attempt, fault: refusal(start), altered: false });
        }
        of.answering.push((attempt, Arc::clone(&start.target)));
        let tokens = u32::try_from(of.asked.usage.output_tokens.unwrap_or(0)).unwrap_or(u32::MAX);
        self.schedule(now + FIRST_TOKEN, id, Event::FirstContent { attempt });
        self.schedule(now + FIRST_TOKEN + TOKEN * tokens, id, Event::Completed { attempt });
    }

    fn served(&mut self, of: &Exchange, now: Instant) {
        of.machine.account(&of.asked.usage, now);
        let served = of.machine.served_by().map(|served| served.attempt);
        for (attempt, target) in &of.answering {
            let is_heard = served == Some(*attempt);
            let tier = self.tiers.get(&target.id).copied().unwrap_or(usize::MAX);
            let primary = self.model.targets.first().unwrap_or(target);
            self.bill.paid.push(Paid {
                at: now,
                cost: cost(target, &of.asked),
                at_primary: cost(primary, &of.asked),
                target: Arc::clone(target),
                is_below_floor: is_heard && tier < of.asked.floor,
                at_floor: of.asked.at_floor,
            });
        }
    }
}

/// What a target charges, by its price list: the arithmetic of the bill, apart from the gateway's books.
fn cost(target: &Target, asked: &Asked) -> Usd {
    let Some(prices) = &target.facts.prices else { return Usd::ZERO };
    let (input, output) = (asked.usage.input_tokens.unwrap_or(0), asked.usage.output_tokens.unwrap_or(0));
    let rates = prices.at(Some(moment(asked.at)), input);
    rates.input.of(input).plus(rates.output.of(output))
}

/// A 503, as the provider's row of the catalogue reads it.
fn refusal(start: &Start) -> Fault {
    let body = br#"{"error":{"message":"simulated 503"}}"#;
    classify::head(&start.target.provider, 503, &|_| None, body, SystemTime::UNIX_EPOCH)
}
