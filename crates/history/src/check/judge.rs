//! The verdict over one request that is over.

use super::Checker;
use super::story::{Attempt, Ended, Finished, Settled, Started, Story};
use crate::policy::{MAX_ATTEMPTS, MAX_TARGETS, micros};
use crate::record::{ClientEnd, GatewayEnd, Origin, ProviderEnd, Tokens};
use crate::report::{Counts, Kind};
use crate::tally::Tally;
use canon::FaultClass;

type Found = Vec<(Kind, String)>;

impl Checker {
    /// Judges a request and counts it.
    pub(super) fn judge(&mut self, id: &str, story: &Story) {
        count(&mut self.report.counts, story);
        if story.repeated {
            self.report.gaps.repeated += 1;
            return;
        }
        if story.died {
            self.report.died += 1;
            return;
        }
        let mut found = Found::new();
        if self.is_silent(story) {
            self.ends(story, &mut found);
        } else if !story.is_over() {
            self.report.gaps.open += 1;
        }
        terminals(story, &mut found);
        if let Some(settled) = &story.gateway.settled {
            delivered(story, settled, &mut self.report.counts, &mut found);
            sources(story, settled, &mut self.report.counts, &mut found);
            real_end(story, settled, &mut found);
            bill(story, settled, &mut found);
        }
        self.spent(story, &mut found);
        for attempt in &story.attempts {
            self.provider(attempt, &mut found);
        }
        for (kind, sentence) in found {
            self.report.add(kind, id, sentence);
        }
    }

    /// Everybody said how it ended, and nothing is left over. Only asked when nobody will say more.
    fn ends(&self, story: &Story, found: &mut Found) {
        let (client, gateway) = (&story.client, &story.gateway);
        if gateway.received && gateway.settled.is_none() {
            found.push((Kind::LostTerminal, "the gateway never settled it".to_owned()));
        }
        if client.sent && client.end.is_none() {
            found.push((Kind::LostTerminal, "the client never said how it ended".to_owned()));
        }
        let answered = matches!(client.end, Some(ClientEnd::Complete | ClientEnd::HonestError | ClientEnd::SilentCut));
        let tells = gateway.settled.is_some() || story.attempts.iter().any(|attempt| attempt.started.is_some());
        if !gateway.received && self.has_gateway {
            if tells {
                let sentence = "the gateway tells of a request that it had not received, or that was over long ago";
                found.push((Kind::Contradiction, sentence.to_owned()));
            } else if answered {
                let sentence = "the client has an answer to a request of which the gateway says nothing";
                found.push((Kind::LostTerminal, sentence.to_owned()));
            }
        }
        for attempt in &story.attempts {
            let number = attempt.number;
            if attempt.started.is_some() && attempt.ended.is_none() {
                found.push((Kind::Leak, format!("attempt {number} never ended")));
            } else if attempt.ended.is_some() && attempt.asked > 0 && attempt.finished.is_none() {
                let sentence = format!("attempt {number} is over, and the provider is still at it");
                found.push((Kind::CancelMissing, sentence));
            }
            if attempt.asked > 0 && attempt.started.is_none() && gateway.received {
                let sentence = format!("a provider was asked for attempt {number}, which the gateway did not make");
                found.push((Kind::Contradiction, sentence));
            }
        }
    }

    /// No more work than the policy allows: up to the commit in each round, and for rescues in all.
    fn spent(&self, story: &Story, found: &mut Found) {
        for round in 0..=story.gateway.round {
            self.spent_in(story, round, found);
        }
        let rescues = story.attempts.iter().filter_map(|attempt| attempt.started).filter(Started::is_rescue).count();
        let most = self.policy.max_rescues;
        if rescues > most as usize {
            found.push((Kind::TooManyAttempts, format!("{rescues} attempts were to rescue it, {most} may")));
        }
    }

    fn spent_in(&self, story: &Story, round: u32, found: &mut Found) {
        let worked = || {
            let of_round = story.attempts.iter().filter(|attempt| attempt.round == round);
            let worked = of_round.filter(|attempt| attempt.ended.is_some_and(|it| it.reached_work()));
            worked.filter_map(|attempt| attempt.started).filter(|started| !started.is_rescue())
        };
        let attempts = worked().count();
        let most = self.policy.max_attempts.or(story.gateway.max_attempts).unwrap_or(MAX_ATTEMPTS);
        if attempts > most as usize {
            let sentence = format!("{attempts} attempts reached a model's work, {most} may");
            found.push((Kind::TooManyAttempts, sentence));
        }
        let mut targets: Vec<u32> = worked().map(|started| started.target).collect();
        targets.sort_unstable();
        targets.dedup();
        let most = self.policy.max_targets.or(story.gateway.max_targets).unwrap_or(MAX_TARGETS);
        if targets.len() > most as usize {
            let sentence = format!("the work of {} targets was reached, that of {most} may be", targets.len());
            found.push((Kind::TooManyTargets, sentence));
        }
    }

    /// What the provider did fits what the gateway says of the attempt.
    fn provider(&mut self, attempt: &Attempt, found: &mut Found) {
        let (Some(ended), Some(finished)) = (&attempt.ended, &attempt.finished) else { return };
        let number = attempt.number;
        let counts = &mut self.report.counts;
        counts.bills_compared += u64::from(finished.billed.is_some());
        if let Some(sentence) = attempt_bill(number, ended, finished) {
            found.push((Kind::BillingMismatch, sentence));
        }
        let over = attempt.cancelled_at.unwrap_or(ended.at);
        if finished.at > over.saturating_add(micros(self.policy.cancel_within)) {
            let ms = finished.at.saturating_sub(over) / 1000;
            let end = match finished.how {
                ProviderEnd::Complete => "sent all of it",
                ProviderEnd::Broken => "broke it off",
                ProviderEnd::Cancelled => "noticed",
            };
            let sentence = format!("attempt {number} was over, and the provider {end} {ms} ms later");
            found.push((Kind::CancelLate, sentence));
        }
    }
}

fn count(counts: &mut Counts, story: &Story) {
    counts.requests += u64::from(story.gateway.is_request);
    counts.shared += u64::from(story.gateway.received && !story.gateway.is_request);
    counts.seen_by_client += u64::from(story.client.sent || story.client.ends > 0);
    counts.attempts += story.attempts.iter().filter(|attempt| attempt.started.is_some()).count() as u64;
    counts.seen_by_provider += story.attempts.iter().filter(|attempt| attempt.asked > 0).count() as u64;
    for finished in story.attempts.iter().filter_map(|attempt| attempt.finished.as_ref()) {
        counts.billed = counts.billed.plus(finished.billed.unwrap_or_default());
    }
    match story.gateway.settled.as_ref().filter(|_| story.gateway.is_request).map(|settled| settled.outcome) {
        None => {}
        Some(GatewayEnd::Answered) => counts.answered += 1,
        Some(GatewayEnd::EndedHonestly) => counts.ended_honestly += 1,
        Some(GatewayEnd::Refused { .. }) => counts.refused += 1,
        Some(GatewayEnd::HungUp) => counts.hung_up += 1,
    }
}

/// Client and gateway agree on the end.
fn terminals(story: &Story, found: &mut Found) {
    let Some(end) = story.client.end else { return };
    if end == ClientEnd::SilentCut {
        found.push((Kind::SilentCut, "the answer ended without a terminator and without an error".to_owned()));
        return;
    }
    let Some(outcome) = story.gateway.settled.as_ref().map(|settled| settled.outcome) else { return };
    let agree = match (end, outcome) {
        (ClientEnd::Complete, GatewayEnd::EndedHonestly) => {
            let sentence = "the client has a whole answer, and the gateway knows that it is not whole";
            found.push((Kind::FakeEnd, sentence.to_owned()));
            true
        }
        // A caller may leave as soon as it has the terminator, which has to be a real one.
        (ClientEnd::Complete, GatewayEnd::HungUp) => {
            let ends = || story.attempts.iter().filter_map(|attempt| attempt.finished.as_ref()?.finish);
            ends().any(|is_real| is_real) || ends().next().is_none()
        }
        (ClientEnd::Complete, GatewayEnd::Answered)
        | (ClientEnd::HonestError, GatewayEnd::EndedHonestly)
        // The gateway may have handed everything over, or have noticed first.
        | (ClientEnd::HungUp, _)
        // A caller that did not read was cut off.
        | (ClientEnd::Broken, GatewayEnd::HungUp) => true,
        (ClientEnd::Refused { status: seen }, GatewayEnd::Refused { status: said }) => seen == said,
        (
            ClientEnd::Complete | ClientEnd::HonestError | ClientEnd::Refused { .. } | ClientEnd::Broken,
            GatewayEnd::Answered | GatewayEnd::EndedHonestly | GatewayEnd::Refused { .. } | GatewayEnd::HungUp,
        )
        | (ClientEnd::SilentCut, _) => false,
    };
    if !agree {
        let sentence = format!("for the client it ended with {end:?}, for the gateway with {outcome:?}");
        found.push((Kind::TerminalsDisagree, sentence));
    }
}

/// The client has exactly the ledger; one that went away, the beginning of it.
fn delivered(story: &Story, settled: &Settled, counts: &mut Counts, found: &mut Found) {
    let ledger = settled.segments().iter().fold(Tally::EMPTY, |all, segment| all.then(segment.text));
    let client = &story.client;
    let Some(end) = client.end else { return };
    let has_all = match end {
        ClientEnd::Complete | ClientEnd::HonestError | ClientEnd::Refused { .. } => true,
        ClientEnd::HungUp | ClientEnd::Broken | ClientEnd::SilentCut => false,
    };
    let text = client.text.filter(|_| settled.segments.is_some());
    counts.texts_compared += u64::from(text.is_some());
    let (mut seen, mut said, mut what) = (text, Some(ledger), "text");
    if seen.is_none_or(|text| text == ledger) {
        (seen, said, what) = (client.body, settled.body, "body");
    }
    let (Some(seen), Some(said)) = (seen, said) else { return };
    let kind = match seen.bytes.cmp(&said.bytes) {
        std::cmp::Ordering::Less if has_all => Kind::TextMissing,
        std::cmp::Ordering::Greater => Kind::TextAdded,
        std::cmp::Ordering::Equal if seen != said => Kind::TextChanged,
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal => return,
    };
    found.push((kind, format!("the client has a {what} of {seen}, the gateway released {said}")));
}

/// Every segment is what its attempt brought, and that is what the provider sent.
fn sources(story: &Story, settled: &Settled, counts: &mut Counts, found: &mut Found) {
    let mut told = Vec::new();
    for attempt in &story.attempts {
        let number = attempt.number;
        let Some(read) = attempt.ended.and_then(|ended| ended.read) else { continue };
        let Some(finished) = &attempt.finished else { continue };
        match place(finished, read) {
            Place::Proven => counts.sources_compared += 1,
            Place::Unknown => {}
            Place::Elsewhere => {
                let sent = finished.text.unwrap_or_default();
                let sentence = format!("the gateway read {read} from attempt {number}, the provider sent {sent}");
                found.push((Kind::NotFromProvider, sentence));
                told.push(number);
            }
        }
    }
    for (number, taken) in taken(settled).into_iter().filter(|(number, _)| !told.contains(number)) {
        let Some(attempt) = story.find(number).filter(|attempt| attempt.started.is_some()) else {
            let sentence = format!("the ledger names attempt {number}, which was never made");
            found.push((Kind::Contradiction, sentence));
            continue;
        };
        let Some(read) = attempt.ended.and_then(|ended| ended.read) else { continue };
        let is_foreign = taken.bytes > read.bytes
            || (taken.bytes == read.bytes && taken != read)
            || attempt.finished.as_ref().is_some_and(|finished| place(finished, taken) == Place::Elsewhere);
        if is_foreign {
            let sentence = format!("the ledger has {taken} from attempt {number}, of which {read} was read");
            found.push((Kind::NotFromProvider, sentence));
        }
    }
}

/// How far into each attempt's text the ledger reaches: what was skipped and what was released, joined.
fn taken(settled: &Settled) -> Vec<(u32, Tally)> {
    let mut all: Vec<(u32, Tally)> = Vec::new();
    for segment in settled.segments() {
        let Origin::Attempt(number) = segment.from else { continue };
        let part = segment.skipped.then(segment.text);
        match all.iter_mut().find(|(known, _)| *known == number) {
            Some((_, taken)) => *taken = taken.then(part),
            None => all.push((number, part)),
        }
    }
    all
}

#[derive(PartialEq, Eq)]
enum Place {
    /// The provider's text begins so.
    Proven,
    /// It may.
    Unknown,
    /// It does not.
    Elsewhere,
}

/// Whether a text is the beginning of what the provider sent.
fn place(finished: &Finished, text: Tally) -> Place {
    let Some(sent) = finished.text else { return Place::Unknown };
    let mut known = finished.marks.iter().chain([&sent, &Tally::EMPTY]);
    match known.find(|mark| mark.bytes == text.bytes) {
        Some(mark) if *mark == text => Place::Proven,
        Some(_) => Place::Elsewhere,
        None if text.bytes > sent.bytes => Place::Elsewhere,
        None => Place::Unknown,
    }
}

/// What was answered was whole: its last part came from an attempt that ran to its real end.
fn real_end(story: &Story, settled: &Settled, found: &mut Found) {
    // The caller's own limit is an end as true as the provider's.
    if settled.outcome != GatewayEnd::Answered || settled.limited {
        return;
    }
    let last = settled.segments().last().map(|segment| segment.from);
    let number = match settled.served.or(last) {
        Some(Origin::Attempt(number)) => number,
        Some(Origin::Stored | Origin::Shared) => return,
        None => {
            found.push((Kind::FakeEnd, "it was answered, and nobody served it".to_owned()));
            return;
        }
    };
    // One that went on with a broken answer may have had nothing to add but the end.
    if let Some(Origin::Attempt(other)) = last
        && other > number
    {
        let sentence =
            format!("attempt {number} is said to have served, and the answer ends with text of attempt {other}");
        found.push((Kind::FakeEnd, sentence));
        return;
    }
    let Some(attempt) = story.find(number) else { return };
    let Some(ended) = &attempt.ended else { return };
    if let Some(fault) = ended.fault {
        let sentence = format!("it was answered by attempt {number}, which ended with {fault}");
        found.push((Kind::FakeEnd, sentence));
    } else if attempt.finished.as_ref().is_some_and(|finished| finished.finish == Some(false)) {
        let sentence = format!("it was answered by attempt {number}, whose provider never sent the end of the answer");
        found.push((Kind::FakeEnd, sentence));
    }
}

/// The gateway's bill is the sum of what the providers told it.
fn bill(story: &Story, settled: &Settled, found: &mut Found) {
    let started = || story.attempts.iter().filter(|attempt| attempt.started.is_some());
    if started().any(|attempt| attempt.ended.is_none()) {
        return;
    }
    let stated = started().filter_map(|attempt| attempt.ended?.tokens).fold(Tokens::default(), Tokens::plus);
    if stated != settled.tokens {
        let sentence = format!("the exchange was settled with {}, its attempts add up to {stated}", settled.tokens);
        found.push((Kind::BillingMismatch, sentence));
    }
}

/// One attempt's tokens: exactly the provider's, or no more where the gateway says that it cannot know.
fn attempt_bill(number: u32, ended: &Ended, finished: &Finished) -> Option<String> {
    let stated = ended.tokens.unwrap_or_default();
    let billed = finished.billed?;
    let fits = if ended.may_be_billed || ended.fault == Some(FaultClass::Cancelled) {
        stated.input <= billed.input && stated.output <= billed.output
    } else {
        stated == billed
    };
    (!fits).then(|| format!("the gateway counts {stated} for attempt {number}, the provider bills {billed}"))
}
