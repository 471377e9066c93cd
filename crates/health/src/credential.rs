//! One credential: for which models it is parked, until when, and why.
//!
//! A rate limit parks credential × model (the whole credential only where the fault's scope says so); a spent quota
//! and a rejected key park the credential. A parked credential is skipped, never tried to see. Nothing here counts as
//! an outage of the target. Beside the parks stands a mirror of the provider's limits for each model, which steers.

use crate::lesson::{Lesson, lesson};
use crate::limits::Limits;
use crate::lock;
use canon::{Fault, FaultClass, Instant, Scope};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RATE_FIRST: Duration = Duration::from_secs(1);
const RATE_CAP: Duration = Duration::from_secs(20);
const QUOTA_FIRST: Duration = Duration::from_secs(10 * 60);
const QUOTA_CAP: Duration = Duration::from_secs(6 * 60 * 60);
const AUTH_RECHECK: Duration = Duration::from_secs(5 * 60);
const NOT_ENTITLED: Duration = Duration::from_secs(10 * 60);

/// Models of one credential whose limits are mirrored; names that callers invent must not fill the memory.
const MOST_LIMITS: usize = 1_024;
/// A provider that says itself to be overloaded, as 503 may say of anything.
const OVERLOADED: u16 = 529;

/// Why a credential is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParkReason {
    /// 429 for rate.
    RateLimited,
    /// Out of money or of a long quota.
    QuotaExhausted,
    /// The provider rejects it.
    AuthRejected,
    /// It is not entitled to the model.
    NotEntitled,
}

impl ParkReason {
    /// As exclusions and errors write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate limited",
            Self::QuotaExhausted => "quota exhausted",
            Self::AuthRejected => "rejected by the provider",
            Self::NotEntitled => "not entitled to the model",
        }
    }
}

/// A credential that must not be used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// From when on it may be used again.
    pub until: Instant,
    /// Why not now.
    pub reason: ParkReason,
}

/// The health of one credential.
#[derive(Debug, Default)]
pub struct CredentialHealth {
    inner: Mutex<Parks>,
    /// There are parks, so that who plans must look.
    is_parked: AtomicBool,
    limits: Mutex<HashMap<String, Arc<Limits>>>,
}

#[derive(Debug, Default)]
struct Parks {
    /// Of the credential as a whole, by reason.
    whole: HashMap<ParkReason, Park>,
    /// Of the credential on one model.
    models: HashMap<String, Park>,
}

#[derive(Debug, Clone, Copy)]
struct Park {
    until: Instant,
    reason: ParkReason,
    /// Doublings so far of a park without a hint.
    doublings: u32,
}

impl CredentialHealth {
    /// Whether the credential may be used for this model now.
    #[inline]
    pub fn usable(&self, model: &str, now: Instant) -> Result<(), Parked> {
        if self.is_parked.load(Ordering::Acquire) { self.usable_beside_parks(model, now) } else { Ok(()) }
    }

    fn usable_beside_parks(&self, model: &str, now: Instant) -> Result<(), Parked> {
        let parks = lock(&self.inner);
        parks
            .whole
            .values()
            .chain(parks.models.get(model))
            .filter(|park| park.until > now)
            .max_by_key(|park| park.until)
            .map_or(Ok(()), |park| Err(Parked { until: park.until, reason: park.reason }))
    }

    /// What is known of its limits on a model: the same for whoever asks.
    pub fn limits(&self, model: &str) -> Arc<Limits> {
        let mut limits = lock(&self.limits);
        if let Some(known) = limits.get(model) {
            return Arc::clone(known);
        }
        let new = Arc::<Limits>::default();
        if limits.len() < MOST_LIMITS {
            limits.insert(model.to_owned(), Arc::clone(&new));
        }
        new
    }

    /// Takes what a fault of a call with this credential teaches about it. Most classes teach nothing.
    pub fn learn(&self, model: &str, fault: &Fault, now: Instant) {
        self.feel(model, fault, now);
        match lesson(fault) {
            Lesson::RateParked => {
                let whole = matches!(fault.scope, Scope::Credential | Scope::Provider);
                let rest = (RATE_FIRST, RATE_CAP);
                self.park((!whole).then_some(model), ParkReason::RateLimited, fault.retry_after, rest, now);
            }
            Lesson::QuotaParked => {
                let per_model = fault.scope == Scope::CredentialModel;
                let rest = (QUOTA_FIRST, QUOTA_CAP);
                self.park(per_model.then_some(model), ParkReason::QuotaExhausted, fault.retry_after, rest, now);
            }
            Lesson::CredentialOff => {
                self.park(None, ParkReason::AuthRejected, None, (AUTH_RECHECK, AUTH_RECHECK), now);
            }
            Lesson::TargetOff => {
                if matches!(fault.scope, Scope::Credential | Scope::CredentialModel) {
                    self.park(Some(model), ParkReason::NotEntitled, None, (NOT_ENTITLED, NOT_ENTITLED), now);
                }
            }
            Lesson::Failure | Lesson::Soft | Lesson::Quality | Lesson::Nothing => {}
        }
    }

    /// What a limit that was hit says about the mirror and about the number in flight.
    fn feel(&self, model: &str, fault: &Fault, now: Instant) {
        let limited = lesson(fault) == Lesson::RateParked;
        let overloaded = fault.class == FaultClass::Overloaded && fault.status == Some(OVERLOADED);
        if !limited && !overloaded {
            return;
        }
        let limits = self.limits(model);
        if limited {
            limits.limited(now);
        } else {
            limits.overloaded(now);
        }
    }

    /// A call with this credential reached the model: parks that have run out start small again.
    pub fn succeeded(&self, model: &str, now: Instant) {
        if !self.is_parked.load(Ordering::Acquire) {
            return;
        }
        let mut parks = lock(&self.inner);
        parks.whole.retain(|_, park| park.until > now);
        if parks.models.get(model).is_some_and(|park| park.until <= now) {
            parks.models.remove(model);
        }
        self.is_parked.store(!(parks.whole.is_empty() && parks.models.is_empty()), Ordering::Release);
    }

    /// The configuration of this credential changed: everything known about it is void.
    pub fn reset(&self) {
        *lock(&self.inner) = Parks::default();
        lock(&self.limits).values().for_each(|limits| limits.reset());
        self.is_parked.store(false, Ordering::Release);
    }

    fn park(
        &self,
        model: Option<&str>,
        reason: ParkReason,
        hint: Option<Duration>,
        (first, cap): (Duration, Duration),
        now: Instant,
    ) {
        let mut parks = lock(&self.inner);
        let known = match model {
            Some(model) => parks.models.get(model),
            None => parks.whole.get(&reason),
        }
        .copied();
        // Faults of calls already in flight when the park began are the same news, not worse news.
        let doublings = match known {
            Some(park) if park.until > now => park.doublings,
            Some(park) => park.doublings.saturating_add(1),
            None => 0,
        };
        let rest = hint.unwrap_or_else(|| first.saturating_mul(1 << doublings.min(16)).min(cap));
        let fresh = Park { until: now + rest, reason, doublings };
        let park = match known {
            Some(park) if park.until > fresh.until => park,
            _ => fresh,
        };
        match model {
            Some(model) => {
                parks.models.insert(model.to_owned(), park);
            }
            None => {
                parks.whole.insert(reason, park);
            }
        }
        self.is_parked.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canon::{FaultClass, Origin};

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn fault(class: FaultClass, retry_after: Option<f64>) -> Fault {
        Fault { retry_after: retry_after.map(Duration::from_secs_f64), ..Fault::new(class, Origin::Head, "") }
    }

    #[test]
    fn a_rate_limit_parks_the_model_it_was_for_until_the_hint() {
        let credential = CredentialHealth::default();
        credential.learn("a", &fault(FaultClass::RateLimited, Some(7.0)), at(1.0));
        assert_eq!(credential.usable("a", at(7.9)), Err(Parked { until: at(8.0), reason: ParkReason::RateLimited }));
        assert_eq!(credential.usable("a", at(8.0)), Ok(()));
        assert_eq!(credential.usable("b", at(1.0)), Ok(()));
    }

    #[test]
    fn a_rate_limit_of_the_whole_credential_parks_every_model() {
        let credential = CredentialHealth::default();
        let wide = Fault { scope: Scope::Credential, ..fault(FaultClass::RateLimited, Some(3.0)) };
        credential.learn("a", &wide, at(0.0));
        assert!(credential.usable("b", at(2.9)).is_err());
    }

    #[test]
    fn without_a_hint_the_park_doubles_from_one_second_to_twenty_and_a_success_starts_it_again() {
        let credential = CredentialHealth::default();
        let mut now = 0.0;
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0] {
            credential.learn("a", &fault(FaultClass::RateLimited, None), at(now));
            assert!(credential.usable("a", at(now + expected - 0.01)).is_err(), "{expected}");
            now += expected;
            assert_eq!(credential.usable("a", at(now)), Ok(()), "{expected}");
        }
        credential.succeeded("a", at(now));
        credential.learn("a", &fault(FaultClass::RateLimited, None), at(now));
        assert_eq!(credential.usable("a", at(now + 1.0)), Ok(()));
    }

    #[test]
    fn calls_in_flight_when_the_park_began_do_not_double_it() {
        let credential = CredentialHealth::default();
        (0..10).for_each(|_| credential.learn("a", &fault(FaultClass::RateLimited, None), at(0.0)));
        assert_eq!(credential.usable("a", at(1.0)), Ok(()));
    }

    #[test]
    fn a_shorter_hint_never_shortens_a_park() {
        let credential = CredentialHealth::default();
        credential.learn("a", &fault(FaultClass::RateLimited, Some(30.0)), at(0.0));
        credential.learn("a", &fault(FaultClass::RateLimited, Some(1.0)), at(0.5));
        assert!(credential.usable("a", at(29.9)).is_err());
    }

    #[test]
    fn a_spent_quota_parks_every_model_ten_minutes_then_longer_up_to_six_hours() {
        let credential = CredentialHealth::default();
        let mut now = 0.0;
        for minutes in [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 360.0, 360.0] {
            credential.learn("a", &fault(FaultClass::QuotaExhausted, None), at(now));
            now += minutes * 60.0;
            assert!(credential.usable("b", at(now - 1.0)).is_err(), "{minutes}");
            assert_eq!(credential.usable("b", at(now)), Ok(()), "{minutes}");
        }
    }

    #[test]
    fn a_rejected_key_is_off_for_five_minutes_or_until_it_is_configured_again() {
        let credential = CredentialHealth::default();
        credential.learn("a", &fault(FaultClass::AuthRejected, None), at(0.0));
        assert!(credential.usable("b", at(299.0)).is_err());
        assert_eq!(credential.usable("b", at(300.0)), Ok(()));
        credential.learn("a", &fault(FaultClass::AuthRejected, None), at(400.0));
        credential.reset();
        assert_eq!(credential.usable("a", at(400.0)), Ok(()));
    }

    #[test]
    fn classes_that_are_not_about_the_credential_teach_it_nothing() {
        for class in FaultClass::ALL {
            let about =
                matches!(class, FaultClass::RateLimited | FaultClass::QuotaExhausted | FaultClass::AuthRejected);
            let credential = CredentialHealth::default();
            credential.learn("a", &fault(class, None), at(0.0));
            assert_eq!(credential.usable("a", at(0.0)).is_err(), about, "{class}");
        }
    }
}
