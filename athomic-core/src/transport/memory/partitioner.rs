//! Which partition a key belongs to: murmur2, bit for bit as Kafka's own clients have it.
//!
//! A message that a Java producer would put into partition 3 goes to partition 3 here too, so that
//! what is tried out on the embedded broker keeps its places on a real one.

use crate::message::Partition;

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;

/// Return the partition of a key in a topic with so many partitions.
///
/// An empty key is a key like any other; only a null key has no place of its own.
///
/// ```
/// use athomic_core::transport::memory::partition_for_key;
///
/// assert_eq!(partition_for_key(b"foobar", 6), 0);
/// ```
///
/// # Panics
/// If there are no partitions.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: Partition) -> Partition {
    assert!(partitions > 0, "a topic has at least one partition");
    let positive = (murmur2(key) & 0x7fff_ffff).cast_signed();
    positive % partitions
}

/// Hash as `org.apache.kafka.common.utils.Utils.murmur2` does; Java reads the result as signed.
fn murmur2(data: &[u8]) -> u32 {
    // Java computes with 32-bit lengths, and no key comes near their end.
    #[expect(clippy::cast_possible_truncation, reason = "keys are far below 4 GiB")]
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ (word ^ (word >> 24)).wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_kafka() {
        let check = |key: &str, expected: i32| assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected);
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    #[test]
    fn negative_hashes_are_masked_and_not_negated() {
        assert_eq!(
            partition_for_key(b"21", 1000),
            (-973_932_308_i32 & 0x7fff_ffff) % 1000
        );
    }
}
