//! A buffer that each thread keeps, in which payloads are written.
//!
//! How long a payload is shows when it is written. A vector that grows meanwhile is allocated several times and
//! ends with room to spare, which costs another allocation where the bytes are shared. So it is written here, and
//! copied into memory of the right size.

use std::cell::Cell;

/// What a thread keeps at most. A payload that is larger is not copied.
const KEPT: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Return what is written, in memory of its size.
pub(super) fn written<E>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Vec<u8>, E> {
    // Taken, not borrowed: what is written may write payloads of its own. A thread that ends has none any more.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    scratch.clear();
    write(&mut scratch)?;
    if scratch.capacity() > KEPT {
        return Ok(scratch);
    }
    let bytes = scratch.as_slice().to_vec();
    let _thread_ends = SCRATCH.try_with(|kept| kept.set(scratch));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{KEPT, written};

    fn check(parts: &[&[u8]]) -> Vec<u8> {
        let write = |out: &mut Vec<u8>| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            Ok::<_, ()>(())
        };
        let bytes = written(write).expect("nothing fails");
        assert_eq!(bytes, parts.concat());
        bytes
    }

    #[test]
    fn bytes_are_of_this_payload_alone_and_fit() {
        for parts in [
            [b"a long payload".as_slice(), b" in parts"],
            [b"s", b""],
            [b"", b""],
        ] {
            let bytes = check(&parts);
            assert_eq!(bytes.capacity(), bytes.len());
        }
        check(&[&vec![1; KEPT + 1]]);
        check(&[b"small again"]);
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let failed = written(|out| {
            out.push(1);
            Err("no form")
        });
        assert_eq!(failed, Err("no form"));
        check(&[b"x"]);
    }

    #[test]
    fn a_payload_may_be_written_inside_of_another() {
        let outer = written(|out| {
            out.push(b'<');
            out.extend(check(&[b"inner"]));
            out.push(b'>');
            Ok::<_, ()>(())
        });
        assert_eq!(outer, Ok(b"<inner>".to_vec()));
    }
}
