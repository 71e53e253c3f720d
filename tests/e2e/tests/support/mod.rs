//! What the end-to-end tests of this crate share.
#![allow(dead_code, reason = "each file of tests needs a part of it")]

pub(crate) mod stage;

use athomic_rig::{Rig, Worker};

/// How many partitions a test's topic has.
pub(crate) const PARTITIONS: u32 = 6;

/// Make a topic on the shared broker.
pub(crate) async fn rig(name: &str) -> Option<Rig> {
    Rig::on_shared_broker(env!("CARGO_TARGET_TMPDIR"), name, PARTITIONS).await
}

/// Start a worker, with further environment variables.
pub(crate) fn worker(rig: &Rig, name: &'static str, protocol: &str, further: &[(&str, &str)]) -> Worker {
    rig.worker(env!("CARGO_BIN_EXE_worker"), name, protocol, further)
}

/// Say whether the long forms of the tests are wanted, which take tens of minutes.
pub(crate) fn is_long() -> bool {
    std::env::var_os("ATHOMIC_TEST_LONG").is_some()
}
