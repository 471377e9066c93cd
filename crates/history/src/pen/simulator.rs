//! A simulated provider's pen.

use crate::record::{Event, MOST_MARKS, ProviderEnd, SimulatorEvent, Tokens};
use crate::recorder::Recorder;
use crate::tally::Tally;
use std::collections::VecDeque;
use std::sync::Arc;

/// Writes down what a provider does for one attempt. Dropped before its end, the gateway hung up.
pub struct SimulatorPen {
    recorder: Arc<dyn Recorder>,
    id: Box<str>,
    attempt: u32,
    text: Option<Tally>,
    marks: VecDeque<Tally>,
    finish: Option<bool>,
    billed: Option<Tokens>,
    ended: bool,
}

impl SimulatorPen {
    /// The call arrived.
    pub fn asked(recorder: Arc<dyn Recorder>, id: &str, attempt: u32, provider: &str) -> Self {
        let event = SimulatorEvent::Asked { attempt, provider: provider.into() };
        recorder.record(Some(id), Event::Simulator(event));
        Self {
            recorder,
            id: id.into(),
            attempt,
            text: None,
            marks: VecDeque::new(),
            finish: None,
            billed: Some(Tokens::default()),
            ended: false,
        }
    }

    /// What is sent is read along, so that an end that is not told of was not sent.
    pub fn follows(&mut self) {
        self.finish.get_or_insert(false);
    }

    /// Text of the first candidate was sent, as one event. An answer whose text is counted calls this at least once.
    pub fn sent(&mut self, text: &str) {
        let all = self.text.get_or_insert(Tally::EMPTY);
        all.add(text);
        if self.marks.len() == MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(*all);
    }

    /// The finish reason was sent.
    pub fn finish(&mut self) {
        self.finish = Some(true);
    }

    /// What the call costs by now; `None` = it cannot be told.
    pub fn bill(&mut self, billed: impl Into<Option<Tokens>>) {
        self.billed = billed.into();
    }

    /// The call is over; what comes later is not written down.
    pub fn ended(&mut self, how: ProviderEnd) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // Who got everything needs no marks.
        let marks = if how == ProviderEnd::Complete { Vec::new() } else { std::mem::take(&mut self.marks).into() };
        let event = SimulatorEvent::Finished {
            attempt: self.attempt,
            how,
            finish: self.finish,
            text: self.text,
            marks,
            billed: self.billed,
        };
        self.recorder.record(Some(&self.id), Event::Simulator(event));
    }
}

impl Drop for SimulatorPen {
    fn drop(&mut self) {
        self.ended(ProviderEnd::Cancelled);
    }
}
