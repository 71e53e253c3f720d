//! What an ordered handler says of its messages: which aggregate, and which place in its order.
//!
//! `#[ordered_consumer]` implements [`OrderedHandler`] by reading the two fields that its attribute
//! names; [`ordered`](super::register::ordered) by two functions.

use std::borrow::Cow;
use std::sync::Arc;

use super::Handler;

/// A field that names an aggregate: a string or an integer.
///
/// Two messages belong to one aggregate when their keys are the same text. Implement it for types
/// of your own, and for those of other crates through a type of your own around them:
///
/// ```
/// use std::borrow::Cow;
/// use athomic_core::handler::AggregateKey;
///
/// struct OrderId(u128);
///
/// impl AggregateKey for OrderId {
///     fn aggregate_key(&self) -> Cow<'_, str> {
///         format!("{:032x}", self.0).into()
///     }
/// }
/// ```
///
/// There is no implementation by way of `Display`: that is text for people, and may hide or shorten
/// what sets two keys apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name an aggregate",
    label = "`aggregate_key_field` is of type `{Self}`, which is no key",
    note = "keys are strings (`String`, `&str`, `Box<str>`, `Arc<str>`) and integers; implement `AggregateKey` for a type of your own, and take a field that is no `Option`"
)]
pub trait AggregateKey {
    /// Return the key as text, the same for all messages of the aggregate and in all versions of
    /// the program.
    fn aggregate_key(&self) -> Cow<'_, str>;

    /// Turn into the key as text: without a copy, where that is what it is.
    fn into_key(self) -> String
    where
        Self: Sized,
    {
        self.aggregate_key().into_owned()
    }
}

/// A field that numbers the messages of an aggregate, one by one: an unsigned integer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot number the messages of an aggregate",
    label = "`sequence_id_field` is of type `{Self}`, which is no sequence",
    note = "a sequence is `u8`, `u16`, `u32` or `u64`: it never falls and is never absent; implement `SequenceId` for a type of your own around one of them"
)]
pub trait SequenceId {
    /// Return the number.
    fn sequence_id(&self) -> u64;
}

/// A handler whose messages are handled in the order of their aggregates.
pub trait OrderedHandler: Handler {
    /// Return the aggregate that a message belongs to.
    fn aggregate_key<'a>(&self, payload: &'a Self::Payload) -> Cow<'a, str>;

    /// Return a message's place in the order of its aggregate.
    fn sequence_id(&self, payload: &Self::Payload) -> u64;
}

impl AggregateKey for str {
    fn aggregate_key(&self) -> Cow<'_, str> {
        self.into()
    }
}

macro_rules! borrowed_keys {
    ($($kind:ty),*) => {$(
        impl AggregateKey for $kind {
            fn aggregate_key(&self) -> Cow<'_, str> {
                Cow::Borrowed(self)
            }
        }
    )*};
}

impl AggregateKey for String {
    fn aggregate_key(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }

    fn into_key(self) -> String {
        self
    }
}

borrowed_keys!(&str, Box<str>, Arc<str>, Cow<'_, str>);

macro_rules! integer_keys {
    ($($kind:ty),*) => {$(
        impl AggregateKey for $kind {
            fn aggregate_key(&self) -> Cow<'_, str> {
                self.to_string().into()
            }
        }
    )*};
}

integer_keys!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128);

macro_rules! sequences {
    ($($kind:ty),*) => {$(
        impl SequenceId for $kind {
            fn sequence_id(&self) -> u64 {
                (*self).into()
            }
        }
    )*};
}

sequences!(u8, u16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text() {
        let check = |key: &dyn AggregateKey, expected: &str| assert_eq!(key.aggregate_key(), expected);
        check(&"a".to_owned(), "a");
        check(&"a", "a");
        check(&Arc::<str>::from("a"), "a");
        check(&Cow::Borrowed("a"), "a");
        check(&-7_i64, "-7");
        check(&u128::MAX, "340282366920938463463374607431768211455");
    }

    #[test]
    fn text_is_not_copied() {
        assert!(matches!("a".to_owned().aggregate_key(), Cow::Borrowed("a")));
    }

    #[test]
    fn sequences_are_widened() {
        assert_eq!((7_u8.sequence_id(), u64::MAX.sequence_id()), (7, u64::MAX));
    }
}
