//! The C interface of librdkafka that the safe wrapper lacks: batches from partition queues, events of
//! the main queue with their words, commits with a token, and an end that does not block.
//!
//! With what it asks beside the group protocol (`native/asking.rs`), and about refused certificates
//! (`native/trust.rs`), the only module with `unsafe`. Its invariants:
//! - A [`Client`] is freed when its last reference goes; queues and batches hold one, so no pointer
//!   into the client outlives it.
//! - librdkafka's handles are thread safe unless said otherwise below; what is not is behind a lock.
//! - What a callback points to lives until the callback has been switched off, which waits for a
//!   callback that runs.

mod asking;
mod trust;

pub(super) use asking::{Begin, Committed, TopicId, TopicSeen};
pub(super) use trust::{Distrust, why_refused};

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use athomic_core::message::{
    Header, Headers, Offset, PartitionOffset, RecordBatch, Timestamp, TopicPartition,
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
use rdkafka_sys::types::RDKafkaErrorCode as Code;

use super::sockets::{Carries, Sockets};
use super::{Fault, slack};

/// How a group takes partitions away and gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rebalance {
    /// All partitions go, then the new ones come.
    Eager,
    /// Only what changes goes and comes.
    Cooperative,
}

/// Something that the main queue reports.
#[derive(Debug)]
pub(super) enum Event {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
    /// A rebalance that failed: everything is to be given back.
    RebalanceFailed(Fault),
    /// A commit was answered; the token is the one that it was sent with.
    Committed(usize, Result<(), Fault>),
    /// Topics were described, those that exist.
    Topics(Vec<TopicSeen>),
    /// Something that librdkafka goes on to repair.
    Error(Fault),
    /// The end of this client.
    Fatal(Fault),
}

/// A librdkafka consumer. Freed, on a thread of its own, when the last reference goes.
pub(super) struct Client {
    handle: NonNull<sys::rd_kafka_t>,
    /// The callbacks point to it; it goes when the handle is freed.
    sockets: Arc<Sockets>,
    closing: AtomicBool,
}

// SAFETY: librdkafka's handle may be used by any number of threads at the same time (its
// INTRODUCTION.md, "Threads and callbacks").
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Create a consumer; connections are opened in the background, and used for one thing.
    pub(super) fn consumer(options: &BTreeMap<String, String>, carries: Carries) -> Result<Arc<Self>, Fault> {
        let config: ClientConfig = options
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let native = config.create_native_config()?;
        let sockets = Arc::new(Sockets::new(carries));
        let mut words = [0; 512];
        // SAFETY: `native` is a valid configuration; the callbacks are plain functions that live for
        // ever, and what two of them point to lives until the handle is freed; `words` is a buffer of
        // the length given. On success the client owns the configuration, so it is forgotten here; on
        // failure it stays ours and is dropped.
        let handle = unsafe {
            sys::rd_kafka_conf_set_events(
                native.ptr(),
                sys::RD_KAFKA_EVENT_REBALANCE | sys::RD_KAFKA_EVENT_OFFSET_COMMIT | sys::RD_KAFKA_EVENT_ERROR,
            );
            sys::rd_kafka_conf_set_log_cb(native.ptr(), Some(log));
            sys::rd_kafka_conf_set_opaque(native.ptr(), Arc::as_ptr(&sockets).cast_mut().cast());
            sys::rd_kafka_conf_set_socket_cb(native.ptr(), Some(open_socket));
            sys::rd_kafka_conf_set_closesocket_cb(native.ptr(), Some(close_socket));
            slack::with(|| {
                sys::rd_kafka_new(
                    sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
                    native.ptr(),
                    words.as_mut_ptr(),
                    words.len(),
                )
            })
        };
        let Some(handle) = NonNull::new(handle) else {
            return Err(Fault::new(Code::InvalidArgument, text_in(&words)));
        };
        std::mem::forget(native);
        // SAFETY: the handle is valid. Events of the client as a whole come by the consumer's queue.
        unsafe { sys::rd_kafka_poll_set_consumer(handle.as_ptr()) };
        Ok(Arc::new(Self {
            handle,
            sockets,
            closing: AtomicBool::new(false),
        }))
    }

    /// Return the queue of rebalances, commits and errors. What comes into it ends the wait on
    /// `wakes` too.
    pub(super) fn main_queue(self: &Arc<Self>, wakes: Option<&Arc<Queue>>) -> Result<Queue, Fault> {
        // SAFETY: the handle is valid.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(self.handle.as_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Fault::of(Code::UnknownGroup))?;
        if let Some(other) = wakes {
            // SAFETY: the queue is valid. The callback's pointer is kept alive by `wakes` in the result,
            // whose `drop` switches the callback off before it lets go of it.
            unsafe {
                sys::rd_kafka_queue_cb_event_enable(
                    queue.as_ptr(),
                    Some(wake_other),
                    Arc::as_ptr(other).cast_mut().cast::<c_void>(),
                );
            }
            // For what came before.
            other.wake();
        }
        Ok(Queue {
            queue,
            client: Arc::clone(self),
            wakes: wakes.cloned(),
        })
    }

    pub(super) fn subscribe(&self, topics: &[String]) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(topics.len());
        for topic in topics {
            list.add_topic_unassigned(topic);
        }
        // SAFETY: handle and list are valid; librdkafka copies the list.
        check(unsafe { sys::rd_kafka_subscribe(self.handle.as_ptr(), list.ptr()) })
    }

    fn rebalance(&self) -> Rebalance {
        // SAFETY: the handle is valid; the result is null or a string that lives for ever.
        let name = unsafe { sys::rd_kafka_rebalance_protocol(self.handle.as_ptr()) };
        // SAFETY: checked for null; otherwise a static string.
        if !name.is_null() && unsafe { CStr::from_ptr(name) } == c"COOPERATIVE" {
            return Rebalance::Cooperative;
        }
        Rebalance::Eager
    }

    /// Tell the group that an assignment was taken or given up. The list that goes with it is empty:
    /// what this client fetches is another matter, and this one fetches nothing.
    pub(super) fn acknowledge(&self, taken: bool) -> Result<(), Fault> {
        let list = TopicPartitionList::new();
        let (handle, nothing) = (self.handle.as_ptr(), list.ptr());
        // SAFETY: handle and list are valid, and librdkafka copies the list. To an eager group, an empty
        // list is an assignment, and null takes everything away.
        unsafe {
            match (self.rebalance(), taken) {
                (Rebalance::Eager, true) => check(sys::rd_kafka_assign(handle, nothing)),
                (Rebalance::Eager, false) => check(sys::rd_kafka_assign(handle, ptr::null())),
                (Rebalance::Cooperative, true) => {
                    check_owned(sys::rd_kafka_incremental_assign(handle, nothing))
                }
                (Rebalance::Cooperative, false) => {
                    check_owned(sys::rd_kafka_incremental_unassign(handle, nothing))
                }
            }
        }
    }

    /// Fetch more partitions, each from where it says.
    pub(super) fn start(&self, partitions: &[(TopicPartition, Begin)]) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (partition, begin) in partitions {
            list.add_partition_offset(&partition.topic, partition.partition, (*begin).into())?;
        }
        // SAFETY: handle and list are valid; librdkafka copies the list.
        check_owned(unsafe { sys::rd_kafka_incremental_assign(self.handle.as_ptr(), list.ptr()) })
    }

    /// Fetch partitions no more.
    pub(super) fn stop(&self, partitions: &[TopicPartition]) -> Result<(), Fault> {
        let list = list_of(partitions);
        // SAFETY: handle and list are valid; librdkafka copies the list.
        check_owned(unsafe { sys::rd_kafka_incremental_unassign(self.handle.as_ptr(), list.ptr()) })
    }

    /// Say whether the group has already given this member's partitions away.
    pub(super) fn assignment_lost(&self) -> bool {
        // SAFETY: the handle is valid.
        unsafe { sys::rd_kafka_assignment_lost(self.handle.as_ptr()) != 0 }
    }

    /// Send a commit; the answer comes by `queue` as [`Event::Committed`] with the token.
    pub(super) fn commit(
        &self,
        offsets: &[PartitionOffset],
        queue: &Queue,
        token: usize,
    ) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for PartitionOffset { partition, offset } in offsets {
            let offset = rdkafka::Offset::Offset(*offset);
            list.add_partition_offset(&partition.topic, partition.partition, offset)?;
        }
        // SAFETY: handle, list and queue are valid; librdkafka copies the list and keeps a reference to
        // the queue. The token is never used as a pointer.
        check(unsafe {
            sys::rd_kafka_commit_queue(
                self.handle.as_ptr(),
                list.ptr(),
                queue.queue.as_ptr(),
                None,
                ptr::without_provenance_mut(token),
            )
        })
    }

    /// Read on from `offset`, dropping what was fetched. Does not wait.
    pub(super) fn seek(&self, partition: &TopicPartition, offset: Offset) {
        let list = list_of(std::slice::from_ref(partition));
        // SAFETY: handle and list are valid, and the list has the one element that is written to.
        // Without a time-out the call only sends the order.
        let refused = unsafe {
            (*(*list.ptr()).elems).offset = offset;
            check_owned(sys::rd_kafka_seek_partitions(self.handle.as_ptr(), list.ptr(), 0))
        };
        if let Err(fault) = refused {
            tracing::warn!(%partition, offset, %fault, "cannot go back to where reading stopped");
        }
    }

    /// Return where a partition's log ended when it was fetched last. Asks nobody.
    pub(super) fn log_end(&self, partition: &TopicPartition) -> Option<Offset> {
        let topic = CString::new(partition.topic.as_bytes()).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: handle and topic are valid, and the two numbers live for the call, which keeps neither.
        let known = unsafe {
            check(sys::rd_kafka_get_watermark_offsets(
                self.handle.as_ptr(),
                topic.as_ptr(),
                partition.partition,
                &raw mut low,
                &raw mut high,
            ))
        };
        // Negative where nothing was fetched yet.
        known.ok().map(|()| high).filter(|end| *end >= 0)
    }

    /// Begin to leave the group; `queue` goes on to report until [`closed`](Self::closed). Idempotent.
    pub(super) fn close(&self, queue: &Queue) -> Result<(), Fault> {
        if self.closing.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // SAFETY: handle and queue are valid.
        check_owned(unsafe { sys::rd_kafka_consumer_close_queue(self.handle.as_ptr(), queue.queue.as_ptr()) })
    }

    pub(super) fn closed(&self) -> bool {
        // SAFETY: the handle is valid.
        unsafe { sys::rd_kafka_consumer_closed(self.handle.as_ptr()) != 0 }
    }

    /// Say whether the group has taken this client in: its generation or its epoch is known.
    pub(super) fn is_member(&self) -> bool {
        // SAFETY: the handle is valid; the metadata is null or ours until it is destroyed.
        unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata(self.handle.as_ptr());
            if metadata.is_null() {
                return false;
            }
            let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            generation > 0
        }
    }

    /// Say whether there is a connection to a broker.
    pub(super) fn connected(&self) -> bool {
        self.sockets.connected()
    }

    /// Log in to new connections with another password.
    pub(super) fn set_credentials(&self, user: &str, password: &str) -> Result<(), Fault> {
        // SAFETY: the handle is valid.
        unsafe { tell_credentials(self.handle.as_ptr(), user, password) }
    }

    /// Have all connections made anew.
    pub(super) fn reconnect(&self) {
        self.sockets.cut();
    }
}

impl Drop for Client {
    /// Freeing waits for librdkafka's threads, so it is done where nobody waits.
    fn drop(&mut self) {
        struct Handle(NonNull<sys::rd_kafka_t>, Arc<Sockets>);
        // SAFETY: librdkafka's handle may be used, and freed, by any thread that is not its own.
        unsafe impl Send for Handle {}

        let handle = Handle(self.handle, Arc::clone(&self.sockets));
        let free = move || {
            let Handle(handle, _used_until_freed) = { handle };
            // SAFETY: the last reference is gone, so nothing else uses the handle from here on.
            unsafe {
                sys::rd_kafka_destroy_flags(handle.as_ptr(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("athomic-free".to_owned())
            .spawn(free)
        {
            tracing::warn!(%error, "no thread to free a Kafka client on: it is left behind");
        }
    }
}

/// A queue of events.
pub(super) struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: Arc<Client>,
    /// Woken when this queue is no longer empty: the callback points into it.
    wakes: Option<Arc<Queue>>,
}

// SAFETY: librdkafka's queues take their own lock; the client outlives the queue.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// Wait for the next event, at most so long.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event> {
        let mut millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        loop {
            // SAFETY: the queue is valid; the event is ours until it is destroyed below.
            let event = NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), millis) })?;
            let seen = self.read(event.as_ptr());
            // SAFETY: the event is valid, and `read` kept nothing of it.
            unsafe { sys::rd_kafka_event_destroy(event.as_ptr()) };
            if seen.is_some() {
                return seen;
            }
            // Of no interest. `None` says that the queue is empty, so that what comes next wakes again.
            millis = 0;
        }
    }

    /// End a [`poll`](Self::poll) that waits, or the next one.
    pub(super) fn wake(&self) {
        // SAFETY: the queue is valid.
        unsafe { sys::rd_kafka_queue_yield(self.queue.as_ptr()) };
    }

    fn read(&self, event: *mut sys::rd_kafka_event_t) -> Option<Event> {
        // SAFETY: the event is valid for the whole of this function; its strings and lists belong to it.
        let (kind, code, words) = unsafe {
            let words = CStr::from_ptr(sys::rd_kafka_event_error_string(event));
            (
                sys::rd_kafka_event_type(event),
                numbers::rd_kafka_event_error(event),
                words,
            )
        };
        let code = code_of(code);
        let fault = || Fault::new(code, words.to_string_lossy().into_owned());
        match kind {
            sys::RD_KAFKA_EVENT_REBALANCE => Some(match code {
                Code::AssignPartitions => Event::Assign(partitions_of(event)),
                Code::RevokePartitions => Event::Revoke(partitions_of(event)),
                _ => Event::RebalanceFailed(fault()),
            }),
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                // SAFETY: the event is valid; the opaque is the number that the commit was sent with.
                let token = unsafe { sys::rd_kafka_event_opaque(event) }.addr();
                let failed = if code == Code::NoError {
                    first_refused(event)
                } else {
                    Some(fault())
                };
                Some(Event::Committed(token, failed.map_or(Ok(()), Err)))
            }
            sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => Some(asking::topics_of(event)),
            sys::RD_KAFKA_EVENT_ERROR => {
                // SAFETY: the event is valid and an error.
                let fatal = unsafe { sys::rd_kafka_event_error_is_fatal(event) != 0 };
                Some(if fatal {
                    Event::Fatal(fault())
                } else {
                    Event::Error(fault())
                })
            }
            _ => None,
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and used no more; the client that it belongs to is still there.
        // Switching the callback off takes the lock under which it is called, so it is not running
        // afterwards, and `wakes` may go.
        unsafe {
            if self.wakes.is_some() {
                sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            }
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
        let _client_outlives_queue = &self.client;
    }
}

/// The queue of one partition's messages, split off from the main queue.
pub(super) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Keeps the client alive while there is the queue.
    _client: Arc<Client>,
    /// Woken by librdkafka when the queue is no longer empty: the callback points into it.
    waker: Arc<AtomicWaker>,
}

// SAFETY: librdkafka's queues take their own lock; the client outlives the queue.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Split the partition's queue off. To be done before the partition is assigned: librdkafka then
    /// leaves the queue alone.
    pub(super) fn open(
        client: &Arc<Client>,
        partition: &TopicPartition,
        waker: &Arc<AtomicWaker>,
    ) -> Option<Self> {
        let topic = CString::new(&*partition.topic).ok()?;
        // SAFETY: the handle is valid, and the name is copied.
        let queue = unsafe {
            sys::rd_kafka_queue_get_partition(client.handle.as_ptr(), topic.as_ptr(), partition.partition)
        };
        let queue = NonNull::new(queue)?;
        let waker = Arc::clone(waker);
        // SAFETY: the queue is valid. The callback's pointer is kept alive by `waker` in the result,
        // whose `drop` switches the callback off before it lets go of it.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            sys::rd_kafka_queue_cb_event_enable(
                queue.as_ptr(),
                Some(no_longer_empty),
                Arc::as_ptr(&waker).cast_mut().cast::<c_void>(),
            );
        }
        Some(Self {
            queue,
            _client: Arc::clone(client),
            waker,
        })
    }

    /// Move at most `count` messages, or errors, from the queue to `messages`, without waiting, and
    /// return how many there were.
    pub(super) fn take(&self, messages: &mut Vec<Message>, count: usize) -> usize {
        messages.reserve(count);
        let room = messages.spare_capacity_mut();
        // SAFETY: the queue is valid, and there is room for `count` pointers, as which `Message` is laid
        // out (`repr(transparent)` over a non-null pointer). librdkafka fills the first of them with
        // messages that are ours to free, none of them null.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, room.as_mut_ptr().cast(), count)
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        // SAFETY: so many elements were written behind the ones that were there.
        unsafe { messages.set_len(messages.len() + taken) };
        taken
    }

    /// Free what was fetched and is no longer wanted.
    pub(super) fn purge(&self) {
        let mut leftover = Vec::new();
        while self.take(&mut leftover, 64) > 0 {
            leftover.clear();
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and used no more. Switching the callback off takes the lock under
        // which it is called, so it is not running afterwards, and `waker` may go.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
        let _callback_pointed_to = &self.waker;
    }
}

/// A message, or an error in a message's place. Must not outlive its client: whoever keeps one keeps a
/// reference to the client that is dropped later.
#[repr(transparent)]
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message may be read and freed by any thread, one at a time: `Message` is not `Sync`.
unsafe impl Send for Message {}

impl Message {
    fn get(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message is ours until it is destroyed in `drop`, and nobody writes to it.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn offset(&self) -> Offset {
        self.get().offset
    }

    pub(super) fn size(&self) -> usize {
        self.get().len + self.get().key_len
    }

    /// Say whether this is a record; if not, there is a [`fault`](Self::fault) in its place.
    pub(super) fn is_record(&self) -> bool {
        number_at(&raw const self.get().err) == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as i32
    }

    /// Return the error, or the end of the log, that stands in a record's place, if it does.
    pub(super) fn fault(&self) -> Option<Fault> {
        if self.is_record() {
            return None;
        }
        let message = self.get();
        let code = code_of(number_at(&raw const message.err));
        // SAFETY: an error's payload is its description, of the length given, or null.
        let words = unsafe { slice_of(message.payload, message.len) }.unwrap_or_default();
        Some(Fault::new(code, String::from_utf8_lossy(words)))
    }

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: the key belongs to the message and lives as long; null is a null key.
        unsafe { slice_of(self.get().key, self.get().key_len) }
    }

    fn payload(&self) -> Option<&[u8]> {
        // SAFETY: the payload belongs to the message and lives as long; null is a tombstone.
        unsafe { slice_of(self.get().payload, self.get().len) }
    }

    fn timestamp(&self) -> Option<Timestamp> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, and `kind` may be written.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        let known = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        known.then(|| Timestamp::from_millis(millis))
    }

    /// Collect the headers. librdkafka parses them in place at the first call, so that only one thread
    /// may be in here for a message: the caller holds the lock of its batch.
    fn headers(&self) -> Headers {
        let Some(list) = self.header_list() else {
            return Headers::new();
        };
        let copy = |(name, value): (&CStr, Option<&[u8]>)| Header {
            name: name.to_string_lossy().into_owned().into(),
            value: value.map(Bytes::copy_from_slice),
        };
        self.iter_headers(list).map(copy).collect()
    }

    /// Find the last header of a name; the caller holds the lock of the batch, as above.
    fn header(&self, name: &str) -> Option<&[u8]> {
        let named = |(found, _): &(&CStr, _)| found.to_bytes() == name.as_bytes();
        self.iter_headers(self.header_list()?).filter(named).last()?.1
    }

    /// Return the parsed headers, if there are any; the caller holds the lock of the batch, as above.
    fn header_list(&self) -> Option<*const sys::rd_kafka_headers_t> {
        let mut list = ptr::null_mut();
        // SAFETY: the message is valid and, as the caller holds the batch's lock, not parsed by others.
        let found = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut list) };
        (Code::from(found) == Code::NoError && !list.is_null()).then_some(list.cast_const())
    }

    /// Look at the headers of this message; parsed once, they live as long as it does.
    fn iter_headers(
        &self,
        list: *const sys::rd_kafka_headers_t,
    ) -> impl Iterator<Item = (&CStr, Option<&[u8]>)> {
        (0..).map_while(move |index| header_at(list, index))
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours, and this is its end.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// Messages of one partition, in librdkafka's memory.
pub(super) struct Batch {
    partition: TopicPartition,
    /// Dropped before `client`: a message must not outlive it.
    messages: Vec<Message>,
    /// Held while headers are parsed, see [`Message::headers`].
    headers: Mutex<()>,
    /// Keeps librdkafka alive while there are messages.
    _client: Arc<Client>,
}

// SAFETY: everything that is read without the lock is never written after the message was fetched;
// headers are only touched under the lock.
unsafe impl Sync for Batch {}

impl Batch {
    /// Take messages of one partition, none of them an error, and at least one.
    pub(super) fn new(partition: TopicPartition, messages: Vec<Message>, client: Arc<Client>) -> Self {
        debug_assert!(!messages.is_empty(), "a batch holds at least one message");
        Self {
            partition,
            messages,
            headers: Mutex::new(()),
            _client: client,
        }
    }
}

impl RecordBatch for Batch {
    fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn offset(&self, index: usize) -> Offset {
        self.messages[index].offset()
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.messages[index].key()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.messages[index].payload()
    }

    fn timestamp(&self, index: usize) -> Option<Timestamp> {
        self.messages[index].timestamp()
    }

    fn headers(&self, index: usize) -> Headers {
        let _one_at_a_time = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        self.messages[index].headers()
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        let _one_at_a_time = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        self.messages[index].header(name)
    }
}

/// Say whether a record that was not acknowledged may stand in the log.
pub(super) fn may_be_written(message: &rdkafka::message::BorrowedMessage<'_>) -> bool {
    // SAFETY: the pointer is valid for as long as the message is borrowed.
    let status = unsafe { sys::rd_kafka_message_status(message.ptr()) };
    status != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Log in to new connections with another password.
pub(super) fn set_credentials<C: ProducerContext>(
    producer: &BaseProducer<C>,
    user: &str,
    password: &str,
) -> Result<(), Fault> {
    // SAFETY: the handle is valid for as long as the producer is borrowed.
    unsafe { tell_credentials(producer.client().native_ptr(), user, password) }
}

/// # Safety
/// `handle` is a valid client.
unsafe fn tell_credentials(handle: *mut sys::rd_kafka_t, user: &str, password: &str) -> Result<(), Fault> {
    let text = |text: &str| CString::new(text).map_err(|_zero| Fault::of(Code::InvalidArgument));
    let (user, password) = (text(user)?, text(password)?);
    // SAFETY: the handle is valid as the caller promises; librdkafka copies both texts.
    check_owned(unsafe { sys::rd_kafka_sasl_set_credentials(handle, user.as_ptr(), password.as_ptr()) })
}

/// Return what librdkafka was built with, such as `ssl` or `sasl_scram`.
pub(crate) fn features() -> Vec<String> {
    let built_in = ClientConfig::new()
        .create_native_config()
        .and_then(|config| config.get("builtin.features"))
        .unwrap_or_default();
    built_in.split(',').map(str::to_owned).collect()
}

/// Called by librdkafka, under the queue's lock, when a queue is no longer empty.
unsafe extern "C" fn no_longer_empty(_client: *mut sys::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: `waker` is the `AtomicWaker` that the queue was opened with; see `PartitionQueue::open`.
    let waker = unsafe { &*waker.cast_const().cast::<AtomicWaker>() };
    waker.wake();
}

/// Called by librdkafka, under the queue's lock, when a queue that wakes another is no longer empty.
unsafe extern "C" fn wake_other(_client: *mut sys::rd_kafka_t, other: *mut c_void) {
    // SAFETY: `other` is the queue that this one was made with; see `Client::main_queue`.
    let other = unsafe { &*other.cast_const().cast::<Queue>() };
    other.wake();
}

/// Called by librdkafka, on any of its threads, with a line for the log.
unsafe extern "C" fn log(
    _client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both are strings that live as long as this call.
    let (facility, line) = unsafe { (CStr::from_ptr(facility), CStr::from_ptr(line)) };
    super::fault::log_line(level, &facility.to_string_lossy(), &line.to_string_lossy());
}

/// Called by librdkafka, on any of its threads, when it needs a socket.
unsafe extern "C" fn open_socket(family: c_int, kind: c_int, protocol: c_int, sockets: *mut c_void) -> c_int {
    // SAFETY: `sockets` is what the client was made with, and lives until the client is freed.
    let sockets = unsafe { &*sockets.cast_const().cast::<Sockets>() };
    sockets.open(family, kind, protocol).unwrap_or(-1)
}

/// Called by librdkafka, on any of its threads, when it needs a socket no more.
unsafe extern "C" fn close_socket(socket: c_int, sockets: *mut c_void) -> c_int {
    // SAFETY: as above.
    let sockets = unsafe { &*sockets.cast_const().cast::<Sockets>() };
    sockets.forget(socket);
    // SAFETY: librdkafka gives its descriptor away and uses it no more.
    drop(unsafe { OwnedFd::from_raw_fd(socket) });
    0
}

/// Return a header of a list; what is returned lives as long as the list's message.
fn header_at<'a>(list: *const sys::rd_kafka_headers_t, index: usize) -> Option<(&'a CStr, Option<&'a [u8]>)> {
    let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the list belongs to a message that is alive; the three results may be written.
    let found =
        unsafe { sys::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut length) };
    if Code::from(found) != Code::NoError {
        return None;
    }
    // SAFETY: found, so the name is a string and the value null or of this length; both belong to the
    // message.
    Some(unsafe { (CStr::from_ptr(name), slice_of(value, length)) })
}

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// Copy the partitions of an event.
fn partitions_of(event: *mut sys::rd_kafka_event_t) -> Vec<TopicPartition> {
    entries_of(event)
        .iter()
        .map(|entry| {
            // SAFETY: the name is a string that lives as long as the event.
            let topic = unsafe { CStr::from_ptr(entry.topic) };
            TopicPartition::new(topic.to_string_lossy().as_ref(), entry.partition)
        })
        .collect()
}

/// Return the first error among the partitions of a commit.
fn first_refused(event: *mut sys::rd_kafka_event_t) -> Option<Fault> {
    let mut codes = entries_of(event)
        .iter()
        .map(|entry| code_of(number_at(&raw const entry.err)));
    codes.find(|code| *code != Code::NoError).map(Fault::of)
}

/// Return the partitions of an event; they live as long as the event, which the callers outlive not.
fn entries_of<'event>(event: *mut sys::rd_kafka_event_t) -> &'event [sys::rd_kafka_topic_partition_t] {
    // SAFETY: the event is valid, and its list, if it has one, holds `cnt` elements.
    unsafe {
        let list = sys::rd_kafka_event_topic_partition_list(event);
        if list.is_null() || (*list).elems.is_null() {
            return &[];
        }
        std::slice::from_raw_parts((*list).elems, usize::try_from((*list).cnt).unwrap_or(0))
    }
}

/// # Safety
/// `data` is null, or points to `length` bytes that live as long as `'a`.
unsafe fn slice_of<'a>(data: *const c_void, length: usize) -> Option<&'a [u8]> {
    if data.is_null() {
        return None;
    }
    // SAFETY: what the caller promises.
    Some(unsafe { std::slice::from_raw_parts(data.cast(), length) })
}

/// Calls that hand on what a broker said, which may be a code that this version of librdkafka does not
/// know. The bindings return an enum, and an enum must not hold what it has no name for. So they are
/// declared by the number that they return; see also [`number_at`].
mod numbers {
    use std::ffi::c_int;

    use rdkafka_sys as sys;

    unsafe extern "C" {
        pub(super) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
        pub(super) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
    }
}

/// Read a code in librdkafka's memory as the number that it is there.
fn number_at(code: *const sys::rd_kafka_resp_err_t) -> i32 {
    // SAFETY: the callers pass a field of a structure that is alive; the enum is laid out as an `i32`.
    unsafe { code.cast::<i32>().read() }
}

/// Return the code of a number; one without a name is an unknown error.
fn code_of(number: i32) -> Code {
    sys::rd_kafka_resp_err_t::try_from(number).map_or(Code::Unknown, Code::from)
}

fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), Fault> {
    match Code::from(code) {
        Code::NoError => Ok(()),
        code => Err(Fault::of(code)),
    }
}

/// Turn an error object, which is null for success, into a result, and free it.
fn check_owned(error: *mut sys::rd_kafka_error_t) -> Result<(), Fault> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is valid, ours, and freed at the end; its words are copied before.
    unsafe {
        let words = CStr::from_ptr(sys::rd_kafka_error_string(error))
            .to_string_lossy()
            .into_owned();
        let fault = Fault::new(code_of(numbers::rd_kafka_error_code(error)), words);
        sys::rd_kafka_error_destroy(error);
        Err(fault)
    }
}

/// Return the text up to the first zero.
fn text_in(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.to_ne_bytes()[0])
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Code, code_of};

    #[test]
    fn a_code_without_a_name_is_an_unknown_error() {
        assert_eq!(code_of(0), Code::NoError);
        assert_eq!(code_of(29), Code::TopicAuthorizationFailed);
        assert_eq!(code_of(-195), Code::BrokerTransportFailure);
        assert_eq!(code_of(32_000), Code::Unknown);
    }
}
