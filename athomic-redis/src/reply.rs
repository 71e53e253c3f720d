//! What a script returned.

use std::str::FromStr;
use std::vec::IntoIter;

use athomic_core::store::ordering::Frame;
use bytes::Bytes;
use fred::types::Value;

/// Why a reply cannot be read: another version of the script, or a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// The values of a list, one after the other.
#[derive(Debug)]
pub(crate) struct Reply(IntoIter<Value>);

impl Reply {
    /// Read a list.
    pub(crate) fn list(value: Value) -> Result<Self, Unreadable> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(Unreadable("a list was expected")),
        }
    }

    /// Read a list, or a value in the place of a list of one.
    pub(crate) fn list_or_one(value: Value) -> Self {
        match value {
            Value::Array(values) => Self(values.into_iter()),
            value => Self(vec![value].into_iter()),
        }
    }

    pub(crate) fn value(&mut self) -> Result<Value, Unreadable> {
        self.0.next().ok_or(Unreadable("it ends early"))
    }

    /// Read a number, however it was written.
    pub(crate) fn number<T: TryFrom<i64> + FromStr>(&mut self) -> Result<T, Unreadable> {
        let number = match self.value()? {
            Value::Integer(number) => T::try_from(number).ok(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or(Unreadable("a number was expected"))
    }

    /// Read a number, or nothing.
    pub(crate) fn optional<T: TryFrom<i64> + FromStr>(&mut self) -> Result<Option<T>, Unreadable> {
        match self.0.as_slice().first() {
            Some(Value::String(text)) if text.is_empty() => {
                self.0.next();
                Ok(None)
            }
            _ => self.number().map(Some),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, Unreadable> {
        match self.value()? {
            Value::String(text) => Ok(text.to_string()),
            _ => Err(Unreadable("a text was expected")),
        }
    }

    /// Read a text, of which an empty one is nothing.
    pub(crate) fn optional_text(&mut self) -> Result<Option<String>, Unreadable> {
        self.text().map(|text| (!text.is_empty()).then_some(text))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Unreadable> {
        match self.value()? {
            Value::String(text) => Ok(text.into_inner()),
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Unreadable("bytes were expected")),
        }
    }

    /// Read bytes from behind a `=`; without one there are none.
    pub(crate) fn optional_bytes(&mut self) -> Result<Option<Bytes>, Unreadable> {
        let mut bytes = self.bytes()?;
        Ok((!bytes.is_empty()).then(|| bytes.split_off(1)))
    }

    /// Read a frame from behind its digest.
    pub(crate) fn frame(&mut self) -> Result<Bytes, Unreadable> {
        let mut bytes = self.bytes()?;
        if bytes.len() < 16 {
            return Err(Unreadable("a frame is too short"));
        }
        Ok(bytes.split_off(16))
    }

    /// Read all that is left as texts.
    pub(crate) fn texts(mut self) -> Result<Vec<String>, Unreadable> {
        let mut texts = Vec::with_capacity(self.0.len());
        while !self.is_empty() {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    /// Read all that is left as frames that follow each other from a sequence on.
    pub(crate) fn frames(mut self, first: u64) -> Result<Vec<Frame>, Unreadable> {
        let mut frames = Vec::with_capacity(self.0.len());
        for sequence in first..=u64::MAX {
            if self.is_empty() {
                break;
            }
            let bytes = self.frame()?;
            frames.push(Frame { sequence, bytes });
        }
        Ok(frames)
    }

    pub(crate) fn nested(&mut self) -> Result<Self, Unreadable> {
        Self::list(self.value()?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}
