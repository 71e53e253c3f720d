//! What a member asks its cluster beside the group protocol: where its group stands, and which topics
//! there are behind the names.

use std::ffi::{CStr, CString, c_int};
use std::time::Duration;

use athomic_core::message::{Offset, Partition, TopicPartition};
use rdkafka_sys as sys;
use rdkafka_sys::types::RDKafkaErrorCode as Code;

use super::super::Fault;
use super::{Client, Event, Queue, check, list_of, text_in};

/// Where a group stands in a partition; nothing if it has not committed there.
pub(in super::super) type Committed = Result<Option<Offset>, Fault>;

/// Tells topics of the same name apart (KIP-516).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct TopicId(pub(in super::super) i64, pub(in super::super) i64);

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct TopicSeen {
    pub(in super::super) name: String,
    pub(in super::super) id: TopicId,
    pub(in super::super) partitions: Partition,
}

/// Where to begin to read a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Begin {
    At(Offset),
    Oldest,
    Newest,
}

impl From<Begin> for rdkafka::Offset {
    fn from(begin: Begin) -> Self {
        match begin {
            Begin::At(offset) => Self::Offset(offset),
            Begin::Oldest => Self::Beginning,
            Begin::Newest => Self::End,
        }
    }
}

impl Client {
    /// Ask where the group stands in each of these partitions. Blocks, at most so long.
    pub(in super::super) fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Committed)>, Fault> {
        let list = list_of(partitions);
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: handle and list are valid; librdkafka fills in the list before it returns.
        check(unsafe { sys::rd_kafka_committed(self.handle.as_ptr(), list.ptr(), millis) })?;
        let answers = list.elements().into_iter().map(|answer| {
            let partition = TopicPartition::new(answer.topic(), answer.partition());
            let committed = answer
                .error()
                .map_err(Fault::from)
                .map(|()| match answer.offset() {
                    rdkafka::Offset::Offset(offset) => Some(offset),
                    _ => None,
                });
            (partition, committed)
        });
        Ok(answers.collect())
    }

    /// Ask for the ids of topics; the answer comes by `queue` as [`Event::Topics`].
    pub(in super::super) fn describe_topics(
        &self,
        topics: &[String],
        timeout: Duration,
        queue: &Queue,
    ) -> Result<(), Fault> {
        let names: Vec<CString> = topics
            .iter()
            .filter_map(|topic| CString::new(topic.as_str()).ok())
            .collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        let mut words = [0; 512];
        // SAFETY: the handle and the queue are valid; the names live until the collection has copied
        // them; collection and options are freed here, after librdkafka has copied them.
        let refused = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(
                self.handle.as_ptr(),
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            );
            let refused = sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis,
                words.as_mut_ptr(),
                words.len(),
            );
            let asked = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            if Code::from(refused) == Code::NoError {
                sys::rd_kafka_DescribeTopics(self.handle.as_ptr(), asked, options, queue.queue.as_ptr());
            }
            sys::rd_kafka_TopicCollection_destroy(asked);
            sys::rd_kafka_AdminOptions_destroy(options);
            refused
        };
        check(refused).map_err(|fault| Fault::new(fault.code, text_in(&words)))
    }
}

/// Read the answer to [`Client::describe_topics`]; topics that do not exist are left out.
pub(super) fn topics_of(event: *mut sys::rd_kafka_event_t) -> Event {
    let mut count = 0;
    // SAFETY: the event is valid for the whole of this function, and what it holds lives as long.
    let topics = unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Event::Topics(Vec::new());
        }
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() {
            return Event::Topics(Vec::new());
        }
        std::slice::from_raw_parts(topics, count)
    };
    Event::Topics(topics.iter().filter_map(|topic| topic_seen(*topic)).collect())
}

fn topic_seen(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<TopicSeen> {
    let mut partitions = 0;
    // SAFETY: the description belongs to an event that is alive; name, id and error belong to it.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && Code::from(sys::rd_kafka_error_code(error)) != Code::NoError {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return None;
        }
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic));
        Some(TopicSeen {
            name: name.to_string_lossy().into_owned(),
            id: TopicId(
                sys::rd_kafka_Uuid_most_significant_bits(id),
                sys::rd_kafka_Uuid_least_significant_bits(id),
            ),
            partitions: Partition::try_from(partitions).unwrap_or(Partition::MAX),
        })
    }
}
