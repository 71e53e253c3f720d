//! Elements → calls: few calls, each as large as is good for those who wait behind it.
//!
//! Elements of a call are put together by bucket, and otherwise stay in their order. One server takes any buckets in one call; a cluster has each
//! bucket in a slot of its own. The elements of one aggregate are never parted, so that they are carried
//! out in their order, whatever becomes of other calls.

use std::ops::Range;

use athomic_core::store::ordering::{Aggregate, Arrival, Completion, FencingToken};
use bytes::Bytes;

/// How many elements a call has at most, and how many bytes it may have before its last one; then it takes
/// Redis less than a millisecond.
const ELEMENTS: usize = 64;
const BYTES: usize = 256 << 10;

/// In which order elements are sent, and what of that is one call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) order: Vec<usize>,
    pub(crate) calls: Vec<Range<usize>>,
}

/// What an element of a call is about.
pub(crate) trait Element {
    /// Return its bucket.
    fn bucket(&self) -> u16;

    /// Return its aggregate, if it is not about the whole bucket.
    fn aggregate(&self) -> Option<&Aggregate>;

    /// Return how many bytes it has beyond a few.
    fn size(&self) -> usize {
        0
    }
}

impl Element for u16 {
    fn bucket(&self) -> u16 {
        *self
    }

    fn aggregate(&self) -> Option<&Aggregate> {
        None
    }
}

impl Element for Aggregate {
    fn bucket(&self) -> u16 {
        Self::bucket(self)
    }

    fn aggregate(&self) -> Option<&Aggregate> {
        Some(self)
    }
}

impl Element for (Aggregate, FencingToken) {
    fn bucket(&self) -> u16 {
        self.0.bucket()
    }

    fn aggregate(&self) -> Option<&Aggregate> {
        Some(&self.0)
    }
}

impl Element for Completion {
    fn bucket(&self) -> u16 {
        self.aggregate.bucket()
    }

    fn aggregate(&self) -> Option<&Aggregate> {
        Some(&self.aggregate)
    }
}

impl Element for Arrival {
    fn bucket(&self) -> u16 {
        self.aggregate.bucket()
    }

    fn aggregate(&self) -> Option<&Aggregate> {
        Some(&self.aggregate)
    }

    fn size(&self) -> usize {
        self.frame.as_ref().map_or(0, Bytes::len)
    }
}

/// Make a plan.
pub(crate) fn plan<E: Element>(elements: &[E], one_bucket: bool) -> Plan {
    let place = |index: usize| (elements[index].bucket(), elements[index].aggregate());
    let mut order: Vec<usize> = (0..elements.len()).collect();
    order.sort_by_key(|&index| elements[index].bucket());
    for bucket in order.chunk_by_mut(|&one, &other| elements[one].bucket() == elements[other].bucket()) {
        let bytes = bucket.iter().map(|&index| elements[index].size());
        if bucket.len() > ELEMENTS || bytes.sum::<usize>() > BYTES {
            // It will be parted, and that only between aggregates.
            bucket.sort_by(|&one, &other| place(one).cmp(&place(other)));
        }
    }
    let mut calls = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for at in 1..order.len() {
        let (before, here) = (place(order[at - 1]), place(order[at]));
        bytes += elements[order[at - 1]].size();
        let is_full = (at - begin >= ELEMENTS || bytes >= BYTES) && before != here;
        if is_full || (one_bucket && before.0 != here.0) {
            calls.push(begin..at);
            (begin, bytes) = (at, 0);
        }
    }
    if !order.is_empty() {
        calls.push(begin..order.len());
    }
    Plan { order, calls }
}

/// Return the parts of a call that have a bucket in common.
pub(crate) fn groups<'a, E: Element>(
    elements: &'a [E],
    order: &'a [usize],
) -> impl Iterator<Item = &'a [usize]> {
    order.chunk_by(|&one, &other| elements[one].bucket() == elements[other].bucket())
}

#[cfg(test)]
mod tests {
    use athomic_core::store::ordering::{Digest, First};

    use super::*;

    fn calls<E: Element + Clone>(elements: &[E], one_bucket: bool) -> Vec<Vec<E>> {
        let plan = plan(elements, one_bucket);
        let element = |&index: &usize| elements[index].clone();
        let calls = plan.calls.into_iter();
        calls
            .map(|call| plan.order[call].iter().map(element).collect())
            .collect()
    }

    fn lengths<E: Element + Clone>(elements: &[E], one_bucket: bool) -> Vec<usize> {
        calls(elements, one_bucket).iter().map(Vec::len).collect()
    }

    fn elements(count: u16, buckets: u16) -> Vec<Aggregate> {
        let element = |index: u16| Aggregate::stored(format!("{index:04}"), index % buckets);
        (0..count).map(element).collect()
    }

    #[test]
    fn nothing_is_no_call() {
        assert!(calls::<Aggregate>(&[], false).is_empty());
    }

    #[test]
    fn one_server_takes_all_buckets_in_one_call() {
        assert_eq!(lengths(&elements(64, 64), false), [64]);
        assert_eq!(lengths(&elements(65, 64), false), [64, 1]);
    }

    #[test]
    fn a_cluster_takes_one_bucket_in_a_call() {
        let elements = elements(200, 2);
        assert_eq!(lengths(&elements, true), [64, 36, 64, 36]);
        for call in calls(&elements, true) {
            assert!(call.iter().all(|element| element.bucket() == call[0].bucket()));
        }
    }

    #[test]
    fn the_elements_of_an_aggregate_stay_together_and_in_their_order() {
        let with = |element: Aggregate| (element, FencingToken(0));
        let mut elements: Vec<_> = elements(63, 1).into_iter().map(with).collect();
        let many = (0..100).map(|token| (Aggregate::stored("9999", 0), FencingToken(token)));
        elements.splice(3..3, many);
        let calls = calls(&elements, false);
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [163]);
        assert!(calls[0][63..].is_sorted_by_key(|(_, token)| *token));
    }

    #[test]
    fn large_messages_are_parted() {
        let frame = Some(Bytes::from(vec![0; 100 << 10]));
        let arrival = |aggregate| Arrival {
            aggregate,
            sequence: 1,
            digest: Digest::of(None),
            time: 0,
            first: First::Seen,
            frame: frame.clone(),
        };
        let arrivals: Vec<_> = elements(10, 1).into_iter().map(arrival).collect();
        assert_eq!(lengths(&arrivals, false), [3, 3, 3, 1]);
    }
}
