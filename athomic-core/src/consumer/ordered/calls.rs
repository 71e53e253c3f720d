//! Calls of the store that are repeated until their outcome is known.
//!
//! An element whose answer was lost, or that the store could not take, is asked again with the same
//! arguments; those that were answered are not. What is left are answers, and errors that asking again
//! does not mend.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::counters::OrderingCounters;
use crate::dead_letter::Chain;
use crate::retry::Backoff;
use crate::store::StoreError;
use crate::store::ordering::{DynOrderingStore, Each};

/// How long a call waits before it is repeated.
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_secs(2),
    factor: 2.0,
    jitter: true,
};

/// An answer on its way.
pub(super) type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store, and what is counted about it.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) store: Arc<dyn DynOrderingStore>,
    pub(super) counters: Arc<OrderingCounters>,
}

impl Caller {
    /// Make a call with elements, and repeat it with those that were not answered.
    pub(super) async fn until_known<E, T, F>(
        &self,
        elements: Vec<E>,
        call: F,
    ) -> (Vec<E>, Vec<Result<T, StoreError>>)
    where
        E: Clone,
        F: for<'c> Fn(&'c dyn DynOrderingStore, &'c [E]) -> Asked<'c, Each<T>>,
    {
        self.counters.round_trip(elements.len());
        let mut answers = call(self.store.as_ref(), &elements).await;
        let mut failures = 0;
        loop {
            let open: Vec<usize> = unanswered(&answers);
            let Some(&first) = open.first() else {
                return (elements, answers);
            };
            failures += 1;
            self.report(&answers[first], failures);
            tokio::time::sleep(AGAIN.delay(failures)).await;
            let again: Vec<E> = open.iter().map(|place| elements[*place].clone()).collect();
            self.counters.round_trip(again.len());
            let late = call(self.store.as_ref(), &again).await;
            for (place, answer) in open.into_iter().zip(late) {
                answers[place] = answer;
            }
        }
    }

    /// Make a call about one thing until it is answered.
    pub(super) async fn one<E, T, F>(&self, element: E, call: F) -> Result<T, StoreError>
    where
        F: for<'c> Fn(&'c dyn DynOrderingStore, &'c E) -> Asked<'c, Result<T, StoreError>>,
    {
        let mut failures = 0;
        loop {
            self.counters.round_trip(1);
            let answer = call(self.store.as_ref(), &element).await;
            if !is_open(&answer) {
                return answer;
            }
            failures += 1;
            self.report(&answer, failures);
            tokio::time::sleep(AGAIN.delay(failures)).await;
        }
    }

    fn report<T>(&self, answer: &Result<T, StoreError>, failures: u32) {
        self.counters.store_failures.add(1);
        if let Err(error) = answer {
            tracing::warn!(
                error = %Chain(error),
                failures,
                "the ordering store gave no answer, asking again"
            );
        }
    }
}

fn unanswered<T>(answers: &[Result<T, StoreError>]) -> Vec<usize> {
    (0..answers.len())
        .filter(|place| is_open(&answers[*place]))
        .collect()
}

fn is_open<T>(answer: &Result<T, StoreError>) -> bool {
    answer.as_ref().is_err_and(StoreError::is_retriable)
}
