//! What a topic may be called. Constant functions, so that names in attributes are checked when
//! compiling.

/// The longest topic name that Kafka takes.
pub const MAX_TOPIC_LENGTH: usize = 249;

/// A name that Kafka refuses for a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// The name has no characters.
    #[error("topic is empty; use letters, digits, `.`, `_`, `-`")]
    Empty,
    /// The name is `.` or `..`.
    #[error("topic cannot be `.` or `..`")]
    Dots,
    /// The name contains something else than letters, digits, `.`, `_` and `-`.
    #[error("topic contains an illegal character; use letters, digits, `.`, `_`, `-`")]
    IllegalCharacter,
    /// The name has more than [`MAX_TOPIC_LENGTH`] characters.
    #[error("topic is too long; use {MAX_TOPIC_LENGTH} characters at most")]
    TooLong,
}

/// Check a topic's name.
///
/// # Errors
/// See [`TopicNameError`].
///
/// ```
/// use athomic_core::message::{TopicNameError, check_topic_name};
///
/// assert_eq!(check_topic_name("orders.v1"), Ok(()));
/// assert_eq!(check_topic_name("pay ments"), Err(TopicNameError::IllegalCharacter));
/// ```
pub const fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    let bytes = name.as_bytes();
    match bytes {
        [] => return Err(TopicNameError::Empty),
        b"." | b".." => return Err(TopicNameError::Dots),
        _ => {}
    }
    // `for` is not for constant functions.
    let mut i = 0;
    while i < bytes.len() {
        if !matches!(bytes[i], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-') {
            return Err(TopicNameError::IllegalCharacter);
        }
        i += 1;
    }
    if bytes.len() > MAX_TOPIC_LENGTH {
        return Err(TopicNameError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kafka_takes() {
        let check = |name: &str, expected| assert_eq!(check_topic_name(name), expected, "{name}");
        check("A_b-9.z", Ok(()));
        check("...", Ok(()));
        check(&"x".repeat(249), Ok(()));
        check("", Err(TopicNameError::Empty));
        check(".", Err(TopicNameError::Dots));
        check("..", Err(TopicNameError::Dots));
        check("a b", Err(TopicNameError::IllegalCharacter));
        check("ü", Err(TopicNameError::IllegalCharacter));
        check(&"x".repeat(250), Err(TopicNameError::TooLong));
    }
}
