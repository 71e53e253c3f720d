//! Which settings of the client make athomic's single handler fast, and what memory they cost.

use crate::case::Case;
use crate::rounds::Variant;

/// What is tried for each setting; its default is among it, as a check on the noise.
const VALUES: &[(&str, &[&str])] = &[
    ("queued_max_kbytes", &["2048", "4096", "8192", "16384", "65536"]),
    ("queued.min.messages", &["10000", "30000", "100000"]),
    ("fetch.queue.backoff.ms", &["1", "5", "20", "1000"]),
    (
        "max.partition.fetch.bytes",
        &["65536", "131072", "262144", "524288", "1048576"],
    ),
    ("max_poll_records", &["100", "500", "2000"]),
];

/// Return the variants: the defaults, and each value of each setting with the others at their defaults.
#[must_use]
pub fn variants() -> Vec<Variant> {
    let each = VALUES.iter().flat_map(|(name, values)| {
        let changed = |value: &&str| (Case::SINGLE, vec![((*name).to_owned(), (*value).to_owned())]);
        values.iter().map(changed)
    });
    std::iter::once((Case::SINGLE, Vec::new())).chain(each).collect()
}
