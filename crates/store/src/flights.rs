//! Exchanges under way, by what they answer: the second caller of the same question is led to the first one's.
//!
//! Only whoever takes part keeps an exchange alive; this list holds none.

use crate::lock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};

/// How a caller takes part.
#[derive(Debug)]
pub enum Joined<F> {
    /// It is the first: the exchange begins with it.
    Lead(Arc<F>),
    /// It shares one that is under way.
    Follow(Arc<F>),
}

/// The exchanges under way.
#[derive(Debug)]
pub struct Flights<K, F> {
    open: Mutex<Open<K, F>>,
}

#[derive(Debug)]
struct Open<K, F> {
    flights: HashMap<K, Weak<F>>,
    /// Exchanges that everybody hung up on stay listed; whenever the list has doubled they are swept out.
    sweep_at: usize,
}

/// So many are not worth a look for dead ones.
const FEW: usize = 64;

impl<K, F> Default for Flights<K, F> {
    fn default() -> Self {
        Self { open: Mutex::new(Open { flights: HashMap::new(), sweep_at: FEW }) }
    }
}

impl<K: Hash + Eq + Clone, F> Flights<K, F> {
    /// Joins the exchange of this key, if there is one that `accepts` another caller; else begins the one that `begin`
    /// makes, in its place. Both are called with the list locked: they must ask nothing of it.
    pub fn join(&self, key: &K, accepts: impl FnOnce(&F) -> bool, begin: impl FnOnce() -> Arc<F>) -> Joined<F> {
        let mut open = lock(&self.open);
        let known = open.flights.get(key).and_then(Weak::upgrade);
        if let Some(flight) = known.as_ref().filter(|flight| accepts(flight)) {
            return Joined::Follow(Arc::clone(flight));
        }
        let flight = begin();
        if open.flights.len() >= open.sweep_at {
            open.flights.retain(|_, flight| flight.strong_count() > 0);
            open.sweep_at = (open.flights.len() * 2).max(FEW);
        }
        open.flights.insert(key.clone(), Arc::downgrade(&flight));
        Joined::Lead(flight)
    }

    /// Takes an exchange that is over out of the list; one that took its place stays.
    pub fn leave(&self, key: &K, flight: &F) {
        let mut open = lock(&self.open);
        if open.flights.get(key).is_some_and(|there| std::ptr::eq(there.as_ptr(), flight)) {
            open.flights.remove(key);
        }
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        lock(&self.open).flights.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(flights: &Flights<u8, &'static str>, accepts: bool, name: &'static str) -> Joined<&'static str> {
        flights.join(&1, |_| accepts, || Arc::new(name))
    }

    #[test]
    fn the_second_shares_what_the_first_began() {
        let flights = Flights::default();
        let Joined::Lead(first) = join(&flights, true, "a") else { panic!("the first leads") };
        let Joined::Follow(second) = join(&flights, true, "b") else { panic!("the second follows") };
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        assert!(matches!(join(&flights, true, "c"), Joined::Follow(_)), "it lives while anybody takes part");
        drop(second);
        assert!(matches!(join(&flights, true, "d"), Joined::Lead(_)), "and no longer");
    }

    #[test]
    fn nothing_is_left_of_exchanges_that_everybody_hung_up_on() {
        let flights = Flights::default();
        for n in 0..10_000 {
            drop(flights.join(&n, |_: &u8| true, || Arc::new(1)));
        }
        assert!(flights.len() <= FEW, "{}", flights.len());
    }

    #[test]
    fn one_that_takes_nobody_more_is_replaced_and_its_end_leaves_the_new_one_alone() {
        let flights = Flights::default();
        let Joined::Lead(old) = join(&flights, true, "a") else { panic!("leads") };
        let Joined::Lead(new) = join(&flights, false, "b") else { panic!("leads") };
        flights.leave(&1, &old);
        assert_eq!(flights.len(), 1);
        flights.leave(&1, &new);
        assert!(flights.is_empty());
    }
}
