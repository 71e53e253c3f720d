//! Object-safe twins of the transport traits: one boxed future a call, and calls are per batch.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{
    Admin, ClientCondition, Consumer, ConsumerEvent, Delivery, NewTopic, OutgoingMessage, Publisher,
    Subscription, Transport, TransportError,
};
use crate::message::{Offset, Partition, PartitionOffset, Timestamp, TopicPartition};

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Fallible<'a, T> = Pending<'a, Result<T, TransportError>>;

/// The erased twin of [`Transport`]; implemented for each of them.
pub trait DynTransport: Send + Sync {
    /// See [`Transport::system`].
    fn system(&self) -> &'static str;
    /// See [`Transport::now`].
    fn now(&self) -> Timestamp;
    /// See [`Transport::consumer`].
    fn consumer(&self, subscription: Subscription) -> Fallible<'_, Box<dyn DynConsumer>>;
    /// See [`Transport::publisher`].
    fn publisher(&self) -> Fallible<'_, Box<dyn DynPublisher>>;
    /// See [`Transport::admin`].
    fn admin(&self) -> Fallible<'_, Box<dyn DynAdmin>>;
}

impl<T: Transport> DynTransport for T {
    fn system(&self) -> &'static str {
        Transport::system(self)
    }

    fn now(&self) -> Timestamp {
        Transport::now(self)
    }

    fn consumer(&self, subscription: Subscription) -> Fallible<'_, Box<dyn DynConsumer>> {
        Box::pin(async { Ok(Box::new(Transport::consumer(self, subscription).await?) as _) })
    }

    fn publisher(&self) -> Fallible<'_, Box<dyn DynPublisher>> {
        Box::pin(async { Ok(Box::new(Transport::publisher(self).await?) as _) })
    }

    fn admin(&self) -> Fallible<'_, Box<dyn DynAdmin>> {
        Box::pin(async { Ok(Box::new(Transport::admin(self).await?) as _) })
    }
}

/// The erased twin of [`Consumer`]; implemented for each of them.
pub trait DynConsumer: Send + Sync {
    /// See [`Consumer::next_event`].
    fn next_event(&self) -> Fallible<'_, ConsumerEvent>;
    /// See [`Consumer::commit`].
    fn commit<'a>(&'a self, offsets: &'a [PartitionOffset]) -> Fallible<'a, ()>;
    /// See [`Consumer::condition`].
    fn condition(&self) -> ClientCondition;

    /// See [`Consumer::log_end`].
    fn log_end(&self, partition: &TopicPartition) -> Option<Offset>;

    /// See [`Consumer::prepare_to_close`].
    fn prepare_to_close(&self);

    /// See [`Consumer::close`].
    fn close(&self) -> Fallible<'_, ()>;
}

impl<T: Consumer> DynConsumer for T {
    fn next_event(&self) -> Fallible<'_, ConsumerEvent> {
        Box::pin(Consumer::next_event(self))
    }

    fn commit<'a>(&'a self, offsets: &'a [PartitionOffset]) -> Fallible<'a, ()> {
        Box::pin(Consumer::commit(self, offsets))
    }

    fn condition(&self) -> ClientCondition {
        Consumer::condition(self)
    }

    fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        Consumer::log_end(self, partition)
    }

    fn prepare_to_close(&self) {
        Consumer::prepare_to_close(self);
    }

    fn close(&self) -> Fallible<'_, ()> {
        Box::pin(Consumer::close(self))
    }
}

/// The erased twin of [`Publisher`]; implemented for each of them.
pub trait DynPublisher: Send + Sync {
    /// See [`Publisher::publish`].
    fn publish(&self, messages: Vec<OutgoingMessage>) -> Pending<'_, Vec<Result<Delivery, TransportError>>>;
    /// See [`Publisher::flush`].
    fn flush(&self, timeout: Duration) -> Fallible<'_, ()>;
}

impl<T: Publisher> DynPublisher for T {
    fn publish(&self, messages: Vec<OutgoingMessage>) -> Pending<'_, Vec<Result<Delivery, TransportError>>> {
        Box::pin(Publisher::publish(self, messages))
    }

    fn flush(&self, timeout: Duration) -> Fallible<'_, ()> {
        Box::pin(Publisher::flush(self, timeout))
    }
}

/// The erased twin of [`Admin`]; implemented for each of them.
pub trait DynAdmin: Send + Sync {
    /// See [`Admin::partitions`].
    fn partitions<'a>(&'a self, topics: &'a [String]) -> Fallible<'a, BTreeMap<String, Partition>>;
    /// See [`Admin::create_topics`].
    fn create_topics<'a>(&'a self, topics: &'a [NewTopic]) -> Fallible<'a, ()>;
    /// See [`Admin::topic_settings`].
    fn topic_settings<'a>(
        &'a self,
        topics: &'a [String],
    ) -> Fallible<'a, BTreeMap<String, BTreeMap<String, String>>>;
    /// See [`Admin::committed`].
    fn committed<'a>(
        &'a self,
        group_id: &'a str,
        partitions: &'a [TopicPartition],
    ) -> Fallible<'a, Vec<PartitionOffset>>;
}

impl<T: Admin> DynAdmin for T {
    fn partitions<'a>(&'a self, topics: &'a [String]) -> Fallible<'a, BTreeMap<String, Partition>> {
        Box::pin(Admin::partitions(self, topics))
    }

    fn create_topics<'a>(&'a self, topics: &'a [NewTopic]) -> Fallible<'a, ()> {
        Box::pin(Admin::create_topics(self, topics))
    }

    fn topic_settings<'a>(
        &'a self,
        topics: &'a [String],
    ) -> Fallible<'a, BTreeMap<String, BTreeMap<String, String>>> {
        Box::pin(Admin::topic_settings(self, topics))
    }

    fn committed<'a>(
        &'a self,
        group_id: &'a str,
        partitions: &'a [TopicPartition],
    ) -> Fallible<'a, Vec<PartitionOffset>> {
        Box::pin(Admin::committed(self, group_id, partitions))
    }
}
