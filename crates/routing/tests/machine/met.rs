//! What a run has met, so that one that met nothing proves nothing: every event, every decision, every class of fault,
//! and the ways in them that are easily lost.

use canon::FaultClass;
use routing::{Action, Event, RescueFailure};
use std::collections::BTreeMap;
use std::fmt;

/// What names a thing, and the list of all names: of the same arms, so that neither can miss a variant.
macro_rules! named {
    ($of:ident($type:ty), $all:ident { $($pattern:pat => $name:literal,)+ }) => {
        const $all: &[&str] = &[$($name),+];

        pub(crate) fn $of(it: &$type) -> &'static str {
            match it {
                $($pattern => $name,)+
            }
        }
    };
}

named!(event(Event), EVENTS {
    Event::Begin => "event Begin",
    Event::FirstContent { .. } => "event FirstContent",
    Event::Progress { .. } => "event Progress",
    Event::Completed { .. } => "event Completed",
    Event::Failed { .. } => "event Failed",
    Event::Broken { .. } => "event Broken",
    Event::NotRescued { .. } => "event NotRescued",
    Event::Elapsed => "event Elapsed",
    Event::HungUp => "event HungUp",
    Event::DeadlinePassed => "event DeadlinePassed",
});

named!(action(Action), ACTIONS {
    Action::Try(_) => "action Try",
    Action::Hedge(_) => "action Hedge",
    Action::Rescue(_) => "action Rescue",
    Action::Wait { .. } => "action Wait",
    Action::Continue { .. } => "action Continue",
    Action::Commit { .. } => "action Commit",
    Action::End(_) => "action End",
    Action::GiveUp(_) => "action GiveUp",
    Action::Done => "action Done",
});

named!(rescue(RescueFailure), RESCUES {
    RescueFailure::Fault => "rescue Fault",
    RescueFailure::PrefillRefused => "rescue PrefillRefused",
    RescueFailure::NotContinued => "rescue NotContinued",
    RescueFailure::NoJoin => "rescue NoJoin",
});

named!(way(Way), WAYS {
    Way::HedgeOfProbe => "hedge of a probe",
    Way::HedgeFixed => "hedge after a fixed time",
    Way::HedgeLate => "hedge later than 95 %",
    Way::Race => "race",
    Way::FirstWins => "the first wins",
    Way::SecondWins => "the second wins",
    Way::OneOfTwoFails => "one of two fails",
    Way::ProbeGoesOn => "a probe goes on alone and answers",
    Way::ProbeFailsAlone => "a probe goes on alone and fails",
    Way::RescueJoins => "a rescue goes on",
    Way::EndsInPart => "an end with a part of the answer",
    Way::SpendGuarded => "a start under a spend limit",
    Way::Echo => "an event that comes again",
});

/// What a caller may be told instead of an answer, and nothing else.
const ERRORS: &[(u16, &str)] = &[
    (400, "error 400"),
    (404, "error 404"),
    (429, "error 429"),
    (502, "error 502"),
    (503, "error 503"),
    (504, "error 504"),
];

/// What is easily lost.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    HedgeOfProbe,
    HedgeFixed,
    HedgeLate,
    Race,
    FirstWins,
    SecondWins,
    OneOfTwoFails,
    ProbeGoesOn,
    ProbeFailsAlone,
    RescueJoins,
    EndsInPart,
    SpendGuarded,
    Echo,
}

/// How often each was met.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Met(BTreeMap<&'static str, u64>);

impl Default for Met {
    fn default() -> Self {
        let classes = FaultClass::ALL.iter().map(|class| class.as_str());
        let names = [EVENTS, ACTIONS, RESCUES, WAYS].into_iter().flatten().copied();
        let errors = ERRORS.iter().map(|(_, name)| *name);
        Self(names.chain(classes).chain(errors).map(|name| (name, 0)).collect())
    }
}

impl Met {
    pub(crate) fn add(&mut self, name: &'static str) {
        *self.0.get_mut(name).unwrap() += 1;
    }

    pub(crate) fn on(&mut self, it: Way) {
        self.add(way(&it));
    }

    /// A caller is told so.
    pub(crate) fn error(&mut self, status: u16) {
        let known = ERRORS.iter().find(|(known, _)| *known == status);
        self.add(known.unwrap_or_else(|| panic!("a status of its own: {status}")).1);
    }

    pub(crate) fn plus(mut self, other: &Self) -> Self {
        other.0.iter().for_each(|(name, more)| *self.0.get_mut(name).unwrap() += more);
        self
    }

    pub(crate) fn rarest(&self) -> (&'static str, u64) {
        self.0.iter().map(|(name, count)| (*name, *count)).min_by_key(|(_, count)| *count).unwrap()
    }
}

/// One a line.
impl fmt::Debug for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "{count:>10} {name}"))
    }
}
