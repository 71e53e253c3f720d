//! Feeds the decoders of athomic. A program for each stands in `fuzz_targets/`; what they do is in
//! `athomic_core::testing::fuzz`, where the gate's own test finds it, too.
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run gzip
//! cargo +nightly fuzz run json -- -max_total_time=600 -rss_limit_mb=512
//! ```
//!
//! What it finds stands in `artifacts/`; put it into `corpus/<target>/`, so that the test keeps it.

use athomic_core::testing::fuzz::TARGETS;

/// Feed the decoder of this name.
///
/// # Panics
/// There is none, or it has a fault.
pub fn feed(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    target.expect("each program is named for a target").feed(input);
}
