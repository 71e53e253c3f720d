//! Record headers: ordered, with repeated names and null values, as Kafka keeps them.

use std::borrow::Cow;

use bytes::Bytes;

/// The header with the id of a message: the same for all its copies, wherever a retry, a delay or a crash
/// has made one.
pub const MESSAGE_ID: &str = "athomic-message-id";

/// How the framework's own headers begin. Applications choose other names.
pub const RESERVED: &str = "athomic-";

/// One header: a name and a value, which may be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name. Names may repeat within a message. The framework's own are borrowed, which costs nothing.
    pub name: Cow<'static, str>,
    /// The value; `None` is Kafka's null, not an empty value.
    pub value: Option<Bytes>,
}

/// The headers of a message, in their order, repeated names and null values included.
///
/// ```
/// use athomic_core::message::Headers;
///
/// let headers = Headers::new().with("tenant", "acme").with_null("checked");
/// assert_eq!(headers.get("tenant"), Some(b"acme".as_slice()));
/// assert_eq!(headers.get("checked"), None);
/// assert_eq!(headers.len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// Start with no headers; does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Add a header at the end and return the headers.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.push(name, Some(value.into()));
        self
    }

    /// Add a header with a null value at the end and return the headers.
    #[must_use]
    pub fn with_null(mut self, name: impl Into<String>) -> Self {
        self.push(name, None);
        self
    }

    /// Add a header at the end.
    pub fn push(&mut self, name: impl Into<String>, value: Option<Bytes>) {
        self.0.push(Header {
            name: Cow::Owned(name.into()),
            value,
        });
    }

    /// Put a header at the end in the place of all of its name.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        self.remove(name);
        self.push(name, Some(value.into()));
    }

    /// Put a header before all others, in the place of all of its name.
    pub fn set_first(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.remove(name);
        let header = Header {
            name: Cow::Borrowed(name),
            value: Some(value.into()),
        };
        self.0.insert(0, header);
    }

    /// Take all headers of this name away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|header| header.name != name);
    }

    /// Return the value of the last header of this name that is not null.
    ///
    /// The last one wins, as in Kafka's own `Headers.lastHeader`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .rev()
            .find(|header| header.name == name)?
            .value
            .as_deref()
    }

    /// Iterate over the headers in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// Return how many headers there are, repeated names counted each time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Say whether there is no header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Headers {
    type Item = Header;
    type IntoIter = std::vec::IntoIter<Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}
