//! What tests on real Kafka and Redis share: servers to start and break, Kafka's own tools and clients, and
//! processes that consume, to be killed.
//!
//! Modules in reading order: `cluster` (brokers that live no longer than the test), `tools` (Kafka's
//! command line, and its console clients), `rig` (a topic, a group and the processes in it), `foreign`
//! (members of the group that are not ours), `feeder` (publishes all the while), `journal` (what those
//! processes noted) and `account` (what that proves). `redis` is a Redis to break and a proxy in front of
//! it, `ordered` the same as `feeder`, `journal` and `account` for ordered consumption.
//!
//! A rig that fails panics with the reason, as a test does. Nothing here waits without a deadline.

mod account;
mod cluster;
mod feeder;
mod foreign;
mod journal;
mod ordered;
mod ports;
mod redis;
mod rig;
mod tools;
mod wait;
mod watched;

pub use rig::{Rig, Worker};
pub use rustix::process::Signal;

pub use account::Account;
pub use cluster::{Cluster, Listener, Node, Spec};
pub use feeder::Feeder;
pub use foreign::Foreign;
pub use journal::{Note, ends, whole_lines};
pub use ordered::{Allowed, OrderedAccount, Shuffled, ShuffledFeeder, Turn, What};
pub use redis::{Answer, Proxy, Redis, Replies};
pub use tools::{ConsoleConsumer, Tool, Tools};
pub use wait::{unique, until, within};
