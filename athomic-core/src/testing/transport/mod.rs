//! The conformance suite of transports: the contract of [`crate::transport`], case by case.
//!
//! Implement [`TestCluster`] for the broker at hand and expand the macro in an integration test; each
//! case becomes a `#[test]` of its own, so that a failure has a name. It needs the feature `testing`.
//!
//! ```no_run
//! # mod nothing_runs_here {
//! use athomic_core::testing::transport::{Capabilities, ConsumerOptions, TestCluster};
//! use athomic_core::transport::memory::{MemoryBroker, MemoryConsumerConfig, MemoryTransport};
//!
//! struct Cluster(MemoryBroker);
//!
//! impl TestCluster for Cluster {
//!     type Transport = MemoryTransport;
//!
//!     async fn transport(&self, options: ConsumerOptions) -> MemoryTransport {
//!         self.0.transport(MemoryConsumerConfig {
//!             offset_reset: options.offset_reset,
//!             ..MemoryConsumerConfig::default()
//!         })
//!     }
//! }
//!
//! async fn cluster() -> Cluster {
//!     Cluster(MemoryBroker::new())
//! }
//!
//! athomic_core::transport_conformance!(cluster, Capabilities::BASIC);
//! # }
//! ```
//!
//! The suite runs on real brokers: nothing in it depends on how long a thing takes. It waits for
//! what must happen up to [`TestCluster::deadline`], and watches for [`TestCluster::quiet`] where
//! something must not happen. Topics and groups have names of their own, so that cases run side by
//! side on one broker.

mod cases;
mod member;
mod rig;

#[doc(hidden)]
pub use cases::*;

use std::future::Future;
use std::time::Duration;

use crate::message::{Offset, TopicPartition};
use crate::settings::OffsetReset;
use crate::transport::Transport;

/// The broker under test, one value for each case.
///
/// The methods with a default are powers over the broker: each is called only if [`Capabilities`]
/// declare it, and then it must be written.
pub trait TestCluster: Send + Sync {
    /// What is under test.
    type Transport: Transport;

    /// Connect to the broker.
    fn transport(&self, options: ConsumerOptions) -> impl Future<Output = Self::Transport> + Send;

    /// Say whether there is a broker; if not, the case is skipped. For brokers that a machine may lack.
    fn available(&self) -> bool {
        true
    }

    /// Return how long to wait for what must happen before the case fails.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Return how long to watch for what must not happen.
    fn quiet(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// Stop the broker and start it again with its data. For [`Capabilities::restart`].
    fn restart(&self) -> impl Future<Output = ()> + Send {
        async { missing("restart") }
    }

    /// Write so many records in one transaction to a partition and abort it, which leaves them and
    /// one marker in the log. For [`Capabilities::transactions`].
    fn abort_transaction(&self, partition: &TopicPartition, records: u32) -> impl Future<Output = ()> + Send {
        let _ = (partition, records);
        async { missing("abort_transaction") }
    }

    /// Delete what stands below an offset. For [`Capabilities::deletion`].
    fn delete_before(&self, partition: &TopicPartition, offset: Offset) -> impl Future<Output = ()> + Send {
        let _ = (partition, offset);
        async { missing("delete_before") }
    }

    /// Let a topic grow to so many partitions. For [`Capabilities::growth`].
    fn add_partitions(&self, topic: &str, partitions: u32) -> impl Future<Output = ()> + Send {
        let _ = (topic, partitions);
        async { missing("add_partitions") }
    }

    /// Delete a topic with its messages and make another one of its name and with so many partitions,
    /// without leaving anybody time in between. For [`Capabilities::recreation`].
    fn recreate_topic(&self, topic: &str, partitions: u32) -> impl Future<Output = ()> + Send {
        let _ = (topic, partitions);
        async { missing("recreate_topic") }
    }
}

fn missing(method: &str) {
    panic!("the capability is declared, but `TestCluster::{method}` is not written");
}

/// How a case wants its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// Where to begin without a commit.
    pub offset_reset: OffsetReset,
}

impl ConsumerOptions {
    /// Begin there without a commit.
    #[must_use]
    pub const fn starting_at(offset_reset: OffsetReset) -> Self {
        Self { offset_reset }
    }
}

/// What a broker and its [`TestCluster`] can do beyond the least. Cases that need more are skipped, and
/// print the capability they lack. More may be added: write `..Capabilities::BASIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub struct Capabilities {
    /// The broker can be restarted.
    pub restart: bool,
    /// The log can hold aborted records and transaction markers.
    pub transactions: bool,
    /// Records can be deleted from the beginning of a log.
    pub deletion: bool,
    /// Partitions can be added to a topic, and consumers notice within the deadline.
    pub growth: bool,
    /// A topic can be deleted and made anew, and consumers notice within the deadline.
    pub recreation: bool,
    /// A topic that does not exist is an error; `false` where the broker makes it.
    pub unknown_topics: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self {
        restart: true,
        transactions: true,
        deletion: true,
        growth: true,
        recreation: true,
        unknown_topics: true,
    };

    /// Nothing beyond what the contract asks of every transport.
    pub const BASIC: Self = Self {
        restart: false,
        transactions: false,
        deletion: false,
        growth: false,
        recreation: false,
        unknown_topics: false,
    };
}

/// Make the tests: `transport_conformance!(setup, capabilities)`.
///
/// `setup` is an `async fn() -> impl TestCluster`, called once for each case; `capabilities` is a
/// [`Capabilities`](crate::testing::transport::Capabilities). See [`crate::testing::transport`].
#[macro_export]
macro_rules! transport_conformance {
    ($setup:expr, $capabilities:expr $(,)?) => {
        $crate::__transport_cases! { ($setup) ($capabilities)
            headers_keep_order_repeats_and_nulls,
            null_and_empty_keys_and_payloads_differ,
            messages_carry_a_time,
            large_messages_pass,
            messages_of_a_partition_keep_their_order,
            keys_go_where_kafka_puts_them,
            a_chosen_partition_wins_over_the_key,
            acknowledgements_say_where_messages_stand,
            a_dropped_publish_is_neither_stopped_nor_repeated,
            flushing_nothing_is_done_at_once,
            publishing_to_an_unknown_topic_fails [unknown_topics],
            topics_are_made_once_and_counted,
            settings_of_topics_can_be_looked_up,
            commits_can_be_looked_up,

            uncommitted_messages_come_again,
            a_group_resumes_at_its_commit,
            a_commit_may_stand_at_the_end,
            groups_do_not_share_commits,
            earliest_begins_with_the_oldest,
            latest_begins_with_what_comes_later,
            fail_without_a_commit_is_an_error,
            a_commit_that_is_gone_begins_again_at_the_oldest [deletion],
            a_commit_that_is_gone_fails_where_asked [deletion],

            fetch_limits_hold,
            a_stream_that_is_not_read_holds_up_no_other,
            a_waiting_fetch_is_woken_by_a_message,
            cancelled_waits_lose_nothing,
            the_position_moves_over_what_nobody_sees [transactions],
            aborted_records_are_not_seen [transactions],
            a_commit_among_unseen_records_resumes_behind_them [transactions],

            one_subscription_may_name_many_topics,
            members_may_subscribe_to_different_topics,
            a_member_without_partitions_is_told_so,
            two_members_share_all_partitions,
            members_come_and_go_without_a_loss,
            retained_partitions_are_not_disturbed,
            retained_partitions_go_on_during_a_revocation,
            a_revoked_partition_moves_when_it_is_given_back,
            a_dropped_revocation_gives_back,
            commits_work_until_a_revocation_is_complete,
            a_commit_after_the_loss_changes_nothing,
            a_revoked_stream_ends_and_gives_nothing_more,
            completing_a_revocation_ends_a_waiting_fetch,
            a_waiting_event_is_woken_by_an_assignment,
            the_epoch_rises_when_a_partition_comes_back,
            added_partitions_are_read_from_their_beginning [growth],
            latest_reads_added_partitions_from_their_beginning [growth],
            a_topic_made_anew_is_read_from_its_beginning [recreation],

            closing_is_idempotent,
            closing_ends_a_waiting_event,
            closing_ends_a_waiting_fetch,
            nothing_can_be_committed_after_closing,
            a_commit_lands_after_preparing_to_close,
            consuming_and_publishing_survive_a_restart [restart],
        }
    };
}

/// Expands one test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_cases {
    ($setup:tt $capabilities:tt $($case:ident $([$need:ident])?,)*) => {
        $(
            #[test]
            fn $case() {
                let capabilities: $crate::testing::transport::Capabilities = $capabilities;
                let _ = capabilities;
                $(
                    if !capabilities.$need {
                        $crate::testing::transport::skip(stringify!($case), stringify!($need));
                        return;
                    }
                )?
                $crate::testing::transport::run(async {
                    let cluster = $setup().await;
                    if $crate::testing::transport::TestCluster::available(&cluster) {
                        $crate::testing::transport::$case(&cluster).await;
                    } else {
                        $crate::testing::transport::skip(stringify!($case), "broker");
                    }
                });
            }
        )*
    };
}

/// Say that a case does not run.
#[doc(hidden)]
pub fn skip(case: &str, capability: &str) {
    println!("skipped: {case} needs the capability `{capability}`");
}

/// Run a case on a runtime of its own, so that users of the macro need none.
#[doc(hidden)]
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(case);
}
