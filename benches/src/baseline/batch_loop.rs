//! The batch loop: the limit of what one thread can do over librdkafka.
#![expect(unsafe_code, reason = "the safe wrapper has no batch call")]

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};

use anyhow::{Context as _, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_sys as sys;

use super::handle;
use crate::measurement::{Measurement, Meter};
use crate::topic::Topic;

/// How many messages are taken at a time.
const BATCH: usize = 500;
/// How long the loop waits for a partition when all are empty.
const WAIT: c_int = 1;

/// Consume so many messages from the partitions' queues, in batches.
///
/// The partitions are assigned by hand: the loop is no member of a group, and has that work less.
///
/// # Errors
/// The broker cannot be read, or a message cannot be decoded.
pub fn batch_loop(config: &ClientConfig, topic: &Topic, messages: u64) -> Result<Measurement> {
    let meter = Meter::start(messages);
    let consumer: BaseConsumer = config.create()?;
    let queues = (0..topic.partitions)
        .map(|partition| Queue::open(&consumer, topic.name, partition))
        .collect::<Result<Vec<_>>>()?;
    let mut partitions = topic.all_partitions();
    partitions.set_all_offsets(rdkafka::Offset::Beginning)?;
    consumer.assign(&partitions)?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut empty = 0;
    for queue in queues.iter().cycle() {
        let wait = if empty >= queues.len() { WAIT } else { 0 };
        queue.take(&mut batch, wait);
        empty = if batch.is_empty() { empty + 1 } else { 0 };
        for message in batch.drain(..) {
            handle(message.payload()?)?;
            if meter.count(1) {
                return meter.measurement();
            }
        }
    }
    bail!("the topic has no partitions")
}

/// A partition's queue.
struct Queue<'a> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    _client: &'a BaseConsumer,
}

impl<'a> Queue<'a> {
    /// Split a partition's queue off the consumer's; before the partition is assigned.
    fn open(consumer: &'a BaseConsumer, topic: &str, partition: i32) -> Result<Self> {
        let name = CString::new(topic)?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as the queue, and the name is copied.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
        let queue = NonNull::new(queue).context("the partition has no queue")?;
        // SAFETY: the queue is valid.
        unsafe { sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut()) };
        Ok(Self {
            queue,
            _client: consumer,
        })
    }

    /// Take messages, at most a batch; wait so many milliseconds for the first.
    fn take(&self, batch: &mut Vec<Taken>, wait: c_int) {
        batch.clear();
        batch.reserve(BATCH);
        // SAFETY: the queue is valid, and there is room for a batch of pointers, as which `Taken` is
        // laid out. librdkafka fills the first of them with messages that are ours, none of them null.
        unsafe {
            let room = batch.as_mut_ptr().cast();
            let count = sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait, room, BATCH);
            batch.set_len(usize::try_from(count).unwrap_or(0));
        }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and used no more.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A message, or an error in its place. Does not outlive the consumer: batches are local to the loop.
#[repr(transparent)]
struct Taken(NonNull<sys::rd_kafka_message_t>);

impl Taken {
    fn payload(&self) -> Result<Option<&[u8]>> {
        // SAFETY: the message is ours until it is dropped, and nobody writes to it.
        let message = unsafe { self.0.as_ref() };
        if message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            bail!("cannot read: {:?}", message.err);
        }
        let payload = NonNull::new(message.payload.cast::<u8>());
        // SAFETY: the payload belongs to the message and has this length.
        Ok(payload.map(|payload| unsafe { std::slice::from_raw_parts(payload.as_ptr(), message.len) }))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the message is ours, and this is its end.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}
