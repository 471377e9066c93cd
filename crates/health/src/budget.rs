//! The retry budget of one logical model: what trying again, and trying the unhealthy, may cost in all.
//!
//! A cap on attempts does not stop a storm: every request is within it. The budget bounds the sum: 10 % of what first
//! attempts deposited plus 0.2 a second, at most 10 at once, and what is not used within 30 s expires. The first
//! failover to a healthy target is free; that rule is the attempt machine's.

use crate::lock;
use canon::Instant;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

const SHARE: f64 = 0.1;
const PER_SECOND: f64 = 0.2;
const BURST: f64 = 10.0;
const TTL: Duration = Duration::from_secs(30);
/// Credit is kept in slices of this length, so that it can expire.
const SLICE: Duration = Duration::from_secs(1);

/// Credit in expected cost; one is the cost of an average request of the model.
#[derive(Debug)]
pub struct RetryBudget {
    inner: Mutex<Credit>,
}

#[derive(Debug)]
struct Credit {
    /// Oldest first: when it was earned, and what is left of it.
    slices: VecDeque<(Instant, f64)>,
    balance: f64,
    accrued: Option<Instant>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { inner: Mutex::new(Credit { slices: VecDeque::new(), balance: 0.0, accrued: None }) }
    }
}

impl RetryBudget {
    /// A first attempt of this cost was made. A caller's own retry deposits nothing.
    pub fn deposit(&self, cost: f64, now: Instant) {
        let mut credit = lock(&self.inner);
        credit.accrue(now);
        credit.earn(cost.max(0.0) * SHARE, now);
    }

    /// Takes `cost` if there is that much, and says whether.
    pub fn try_charge(&self, cost: f64, now: Instant) -> bool {
        let mut credit = lock(&self.inner);
        credit.accrue(now);
        credit.spend(cost.max(0.0))
    }

    /// Gives back what was charged for something that was not done after all.
    pub fn refund(&self, cost: f64, now: Instant) {
        let mut credit = lock(&self.inner);
        credit.accrue(now);
        credit.earn(cost.max(0.0), now);
    }

    /// What could be charged now.
    pub fn balance(&self, now: Instant) -> f64 {
        let mut credit = lock(&self.inner);
        credit.accrue(now);
        credit.balance
    }
}

impl Credit {
    fn accrue(&mut self, now: Instant) {
        while let Some(&(earned, left)) = self.slices.front() {
            if now.saturating_since(earned) < TTL {
                break;
            }
            self.balance -= left;
            self.slices.pop_front();
        }
        if self.slices.is_empty() {
            self.balance = 0.0;
        }
        match self.accrued {
            // A model that has just been configured starts with its whole burst: its first fault is retried too.
            None => self.earn(BURST, now),
            Some(last) => {
                let idle = now.saturating_since(last).min(TTL);
                self.earn(idle.as_secs_f64() * PER_SECOND, now);
            }
        }
        self.accrued = self.accrued.max(Some(now));
    }

    fn earn(&mut self, amount: f64, now: Instant) {
        // A full budget keeps the latest credit: were the oldest kept, all of it would expire at once.
        let amount = amount.min(BURST);
        self.take_oldest(self.balance + amount - BURST);
        if amount <= 0.0 {
            return;
        }
        self.balance += amount;
        match self.slices.back_mut() {
            Some((earned, left)) if now.saturating_since(*earned) < SLICE => *left += amount,
            _ => self.slices.push_back((now, amount)),
        }
    }

    fn spend(&mut self, cost: f64) -> bool {
        const ROUNDING: f64 = 1e-9;
        if self.balance + ROUNDING < cost {
            return false;
        }
        self.take_oldest(cost);
        true
    }

    fn take_oldest(&mut self, mut due: f64) {
        if due <= 0.0 {
            return;
        }
        self.balance = (self.balance - due).max(0.0);
        while let Some((_, left)) = self.slices.front_mut() {
            if *left > due {
                *left -= due;
                break;
            }
            due -= *left;
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::from_origin(Duration::from_secs_f64(seconds))
    }

    fn charges(budget: &RetryBudget, now: Instant) -> usize {
        (0..1_000).take_while(|_| budget.try_charge(1.0, now)).count()
    }

    #[test]
    fn a_fresh_budget_allows_its_burst_and_no_more() {
        let budget = RetryBudget::default();
        assert_eq!(charges(&budget, at(1.0)), 10);
        assert_eq!(charges(&budget, at(1.0)), 0);
    }

    #[test]
    fn time_alone_earns_one_in_five_seconds() {
        let budget = RetryBudget::default();
        charges(&budget, at(0.0));
        assert_eq!(charges(&budget, at(4.9)), 0);
        assert_eq!(charges(&budget, at(5.0)), 1);
    }

    #[test]
    fn ten_first_attempts_earn_one() {
        let budget = RetryBudget::default();
        charges(&budget, at(0.0));
        (0..9).for_each(|_| budget.deposit(1.0, at(0.0)));
        assert_eq!(charges(&budget, at(0.0)), 0);
        budget.deposit(1.0, at(0.0));
        assert_eq!(charges(&budget, at(0.0)), 1);
    }

    #[test]
    fn credit_is_charged_in_cost_not_in_requests() {
        let budget = RetryBudget::default();
        assert!(budget.try_charge(9.5, at(0.0)));
        assert!(!budget.try_charge(1.0, at(0.0)));
        assert!(budget.try_charge(0.5, at(0.0)));
    }

    #[test]
    fn unused_credit_expires() {
        let budget = RetryBudget::default();
        budget.deposit(1.0, at(0.0));
        // Thirty seconds of accrual is what an idle budget holds.
        assert_eq!(charges(&budget, at(120.0)), 6);
    }

    #[test]
    fn what_is_full_under_traffic_stays_full() {
        let budget = RetryBudget::default();
        for i in 0..1_000 {
            let now = at(f64::from(i) * 0.2);
            budget.deposit(1.0, now);
            assert!(budget.balance(now) > 9.9 && budget.balance(now) <= 10.0, "{i}");
        }
    }

    #[test]
    fn a_minute_at_five_a_second_lends_a_tenth_plus_the_reserve() {
        let budget = RetryBudget::default();
        charges(&budget, at(0.0));
        let lent: usize = (1..=300)
            .map(|i| {
                let now = at(f64::from(i) * 0.2);
                budget.deposit(1.0, now);
                charges(&budget, now)
            })
            .sum();
        assert!((41..=42).contains(&lent), "{lent}");
    }
}
