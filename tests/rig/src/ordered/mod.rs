//! Ordered consumption: events of aggregates in no order, what handlers note, and what that proves.
//!
//! The checks bear the names that the design gives them: C1 nothing is lost, C2 aggregates are done in
//! their order, C3 one at a time, C4 repeats are bounded, C5 no offset is committed early, C6 the lag
//! goes to zero, C9 nothing is left behind.

mod account;
mod feed;
mod note;

pub use account::{Allowed, OrderedAccount};
pub use feed::{Shuffled, ShuffledFeeder};
pub use note::{Turn, What};
