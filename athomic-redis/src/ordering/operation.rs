//! A call of elements: written, sent and read.

use std::ops::Range;

use athomic_core::store::StoreError;
use athomic_core::store::ordering::Each;
use fred::error::Error;
use futures_util::future::join_all;

use super::RedisOrdering;
use crate::batch::{self, Element};
use crate::call::{Call, Script, Written};
use crate::connection::Copies;
use crate::reply::{Reply, Unreadable};

/// One kind of call.
pub(super) trait Operation: Sync {
    /// What is asked about.
    type Element: Element + Sync;
    /// What is said about the call as a whole.
    type Common: Send;
    /// What is said about each.
    type Answer: Send;

    /// Return the script.
    fn script(&self) -> &'static Script;

    /// Return what the call has to wait for when it is done.
    fn copies(&self) -> Option<Copies> {
        None
    }

    /// Write what all elements have in common.
    fn put_common(&self, call: &mut Call);

    /// Write an element.
    fn put(&self, call: &mut Call, element: &Self::Element);

    /// Read what stands before the elements.
    fn common(&self, sent: &mut Sent) -> Result<Self::Common, Unreadable>;

    /// Read what is said about an element.
    fn answer(
        &self,
        common: &Self::Common,
        element: &Self::Element,
        reply: &mut Reply,
    ) -> Result<Answered<Self::Answer>, Unreadable>;
}

/// What may be said about an element.
pub(super) enum Answered<T> {
    /// This.
    As(T),
    /// The session is not alive.
    Lapsed,
    /// It was done, and there are not as many copies as were asked for.
    TooFew(String),
}

/// A call that was answered.
pub(super) struct Sent {
    pub(super) reply: Reply,
    /// How many copies there are, by kinds as `WAIT` and `WAITAOF` tell them.
    pub(super) copies: Vec<u32>,
}

/// Why a call has no answer.
enum Fault {
    Client(Error),
    Reply(Unreadable),
}

impl RedisOrdering {
    /// Carry out a call of elements.
    pub(super) async fn each<O: Operation>(&self, operation: &O, elements: &[O::Element]) -> Each<O::Answer> {
        let plan = batch::plan(elements, self.target.is_cluster());
        let calls = plan.calls.iter().map(|call| {
            let call = self.write(operation, elements, &plan.order[call.clone()]);
            self.send(call, operation.copies())
        });
        let sent = join_all(calls).await;
        let mut results: Vec<Option<Result<O::Answer, StoreError>>> = elements.iter().map(|_| None).collect();
        for (call, sent) in plan.calls.iter().cloned().zip(sent) {
            self.read(operation, elements, &plan.order, call, sent, &mut results);
        }
        let result = |result: Option<_>| result.expect("each element is in one call");
        results.into_iter().map(result).collect()
    }

    fn write<O: Operation>(&self, operation: &O, elements: &[O::Element], order: &[usize]) -> Written {
        let mut call = self.begin(operation.script());
        operation.put_common(&mut call);
        for group in batch::groups(elements, order) {
            call.bucket(&self.keys, elements[group[0]].bucket());
            call.number(super::count(group.len()));
            for &index in group {
                if let Some(aggregate) = elements[index].aggregate() {
                    call.aggregate(&self.keys, aggregate);
                }
                operation.put(&mut call, &elements[index]);
            }
        }
        call.done()
    }

    async fn send(&self, call: Written, copies: Option<Copies>) -> Result<Sent, Error> {
        let (value, copies) = match copies {
            None => (self.connection().await?.run(&call).await?, Vec::new()),
            Some(copies) => self.waiting().await?.run_and_wait(&call, copies).await?,
        };
        Ok(Sent {
            reply: Reply::list_or_one(value),
            copies,
        })
    }

    fn read<O: Operation>(
        &self,
        operation: &O,
        elements: &[O::Element],
        order: &[usize],
        call: Range<usize>,
        sent: Result<Sent, Error>,
        results: &mut [Option<Result<O::Answer, StoreError>>],
    ) {
        let mut sent = sent.map_err(Fault::Client).and_then(|mut sent| {
            let common = operation.common(&mut sent).map_err(Fault::Reply)?;
            Ok((common, sent.reply))
        });
        for &index in &order[call] {
            let answer = match &mut sent {
                Ok((common, reply)) => operation.answer(common, &elements[index], reply),
                Err(Fault::Client(error)) => {
                    results[index] = Some(Err(self.failed(error.clone())));
                    continue;
                }
                Err(Fault::Reply(reason)) => Err(reason.clone()),
            };
            results[index] = Some(match answer {
                Ok(Answered::As(answer)) => Ok(answer),
                Ok(Answered::Lapsed) => Err(StoreError::SessionLapsed),
                Ok(Answered::TooFew(reason)) => Err(StoreError::Unavailable {
                    store: self.target.name.clone(),
                    reason,
                }),
                Err(reason) => Err(self.unreadable(&reason)),
            });
        }
    }
}
