//! The object-safe twin: one boxed future a call, and calls are per batch.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{
    Admission, Aggregate, AggregateReport, Arrival, Beat, BucketReport, Claim, ClaimTerms, Completed,
    Completion, Each, FencingToken, Frame, Opened, OrderingStore, Past, RoomLimits, SessionId, Steering,
};
use crate::store::StoreError;

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Fallible<'a, T> = Pending<'a, Result<T, StoreError>>;

macro_rules! erased {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        /// The erased twin of [`OrderingStore`]; implemented for each of them.
        pub trait DynOrderingStore: Send + Sync {
            /// See [`OrderingStore::name`].
            fn name(&self) -> &str;
            $(
                #[doc = concat!("See [`OrderingStore::", stringify!($method), "`].")]
                fn $method<'a>(&'a self, $($argument: $kind),*) -> $result;
            )*
        }

        impl<S: OrderingStore> DynOrderingStore for S {
            fn name(&self) -> &str {
                OrderingStore::name(self)
            }
            $(
                fn $method<'a>(&'a self, $($argument: $kind),*) -> $result {
                    Box::pin(OrderingStore::$method(self, $($argument),*))
                }
            )*
        }
    };
}

erased! {
    open(past: Past) -> Fallible<'a, Opened>;
    beat(session: SessionId, buckets: &'a [u16], ttl: Duration) -> Pending<'a, Each<Beat>>;
    admit(session: SessionId, limits: RoomLimits, arrivals: &'a [Arrival]) -> Pending<'a, Each<Admission>>;
    complete(session: SessionId, frames: usize, completions: &'a [Completion]) -> Pending<'a, Each<Completed>>;
    release(session: SessionId, leases: &'a [(Aggregate, FencingToken)]) -> Pending<'a, Each<()>>;
    due(buckets: &'a [u16], limit: usize) -> Pending<'a, Each<Vec<Aggregate>>>;
    claim(session: SessionId, terms: ClaimTerms, aggregates: &'a [Aggregate]) -> Pending<'a, Each<Claim>>;
    probe(aggregates: &'a [Aggregate]) -> Pending<'a, Each<Option<u64>>>;
    read(aggregate: &'a Aggregate, from: u64, limit: usize) -> Fallible<'a, Vec<Frame>>;
    steer(aggregate: &'a Aggregate, action: Steering) -> Fallible<'a, ()>;
    survey(buckets: &'a [u16]) -> Pending<'a, Each<BucketReport>>;
    inspect(aggregate: &'a Aggregate, limit: usize) -> Fallible<'a, Option<AggregateReport>>;
    record(event: &'a str) -> Fallible<'a, ()>;
    events(limit: usize) -> Fallible<'a, Vec<String>>;
}
