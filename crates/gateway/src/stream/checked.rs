//! The checks of a stream: what they hold back before the commit, and when they look.

use super::keep::HOLD_LIMIT;
use super::{Reader, Stream, UNACCOUNTED};
use crate::quality::{Inspection, Said};
use canon::Fault;
use dialect::Shown;

impl Stream {
    /// Has it watched from now on; called before anything is read of it.
    pub(crate) fn inspect(&mut self, inspection: Option<Box<Inspection>>) {
        if inspection.is_some() {
            match &mut self.reader {
                Reader::Same { sniffer, .. } => sniffer.record(),
                Reader::Translated(translation) => drop(translation.shown.get_or_insert_default()),
            }
        }
        self.inspection = inspection;
    }

    /// The caller gets it from here on.
    pub(crate) fn commit(&mut self) {
        if let Some(inspection) = &mut self.inspection {
            inspection.commit();
        }
        self.forget_done_inspection();
    }

    /// What it says, for the evaluator; `None` = it went as it came, or is not read.
    pub(crate) fn said(&self) -> Option<Said> {
        let finish = self.facts.finish.as_ref().map(|(reason, _)| *reason);
        self.recorded().map(|shown| Said::in_stream(shown, finish))
    }

    /// Whether a check holds it back.
    pub(super) fn is_held_back(&self) -> bool {
        self.inspection.as_ref().is_some_and(|inspection| inspection.holds())
    }

    /// Looks at what has come, and at the whole of it when it has ended.
    pub(super) fn look(&mut self) -> Result<(), Fault> {
        if self.inspection.is_none() {
            return Ok(());
        }
        if self.facts.finish.is_some() {
            return self.conclude();
        }
        if !self.is_held_back() {
            return Ok(());
        }
        let Some(mut inspection) = self.inspection.take() else { return Ok(()) };
        let looked = if let Some(shown) = self.recorded() {
            inspection.look(shown, self.terms.reasoning_is_content)
        } else {
            self.facts.checks.extend(inspection.let_go("too much to be kept"));
            Ok(())
        };
        self.inspection = Some(inspection);
        self.forget_done_inspection();
        looked
    }

    /// Looks at the whole of it.
    pub(super) fn conclude(&mut self) -> Result<(), Fault> {
        let Some(mut inspection) = self.inspection.take() else { return Ok(()) };
        let finish = self.facts.finish.as_ref().map(|(reason, _)| *reason);
        if let Some(shown) = self.recorded() {
            let record = inspection.end(shown, finish)?;
            self.facts.checks.extend(record);
        }
        Ok(())
    }

    /// Draws what is held back on the byte budget; what is too much goes as it comes.
    pub(super) fn account_for_held_back(&mut self, unfinished: usize) {
        if !self.is_held_back() {
            return;
        }
        let waiting = self.out.len() + unfinished;
        let why = if waiting > HOLD_LIMIT {
            "more than 1 MiB would have to be held"
        } else if waiting > UNACCOUNTED && !self.held.grow_to(waiting) {
            "there is no room to hold it"
        } else {
            return;
        };
        if let Some(inspection) = &mut self.inspection {
            self.facts.checks.extend(inspection.let_go(why));
        }
        self.forget_done_inspection();
    }

    fn recorded(&self) -> Option<&Shown> {
        match &self.reader {
            Reader::Same { sniffer, .. } => sniffer.shown(),
            Reader::Translated(translation) => translation.shown.as_ref(),
        }
    }

    fn forget_done_inspection(&mut self) {
        if self.inspection.as_ref().is_some_and(|inspection| inspection.is_done()) {
            self.inspection = None;
            if !self.terms.keeps {
                match &mut self.reader {
                    Reader::Same { sniffer, .. } => sniffer.stop_recording(),
                    Reader::Translated(translation) => translation.shown = None,
                }
                self.transcript.release();
            }
        }
    }
}
