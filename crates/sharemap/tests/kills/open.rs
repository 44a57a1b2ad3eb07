//! The states that a search has not continued from yet, and their order.

use std::collections::{BTreeMap, VecDeque};

use super::random::Random;

/// The order in which a search continues.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// The states that were found first come first.
    Oldest,
    /// The pages that are changed take turns, each with one of its states, picked at random from this
    /// seed. A page that an operation fills by many stores therefore has no more turns than the page
    /// with the word that commits them.
    Spread(u64),
}

/// The states, or the stops that lead to them, at each place.
pub struct Open<T> {
    random: Option<Random>,
    places: BTreeMap<usize, VecDeque<T>>,
    /// The place that had the last turn.
    last: usize,
}

impl<T> Open<T> {
    pub fn new(order: Order) -> Self {
        let random = match order {
            Order::Oldest => None,
            Order::Spread(seed) => Some(Random::new(seed)),
        };
        Self { random, places: BTreeMap::new(), last: 0 }
    }

    pub fn add(&mut self, place: usize, found: T) {
        let place = if self.random.is_some() { place } else { 0 };
        self.places.entry(place).or_default().push_back(found);
    }

    /// Removes the next one and returns it.
    pub fn next(&mut self) -> Option<T> {
        let later = self.places.range(self.last + 1..).next();
        let (&place, found) = later.or_else(|| self.places.iter().next())?;
        let index = match &mut self.random {
            Some(random) => random.below(found.len() as u64) as usize,
            None => 0,
        };
        self.last = place;
        let found = self.places.get_mut(&place)?;
        let next = found.remove(index);
        if found.is_empty() {
            self.places.remove(&place);
        }
        next
    }
}
