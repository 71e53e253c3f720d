//! What a cluster is to be made of.

use std::path::PathBuf;

/// What a cluster is to be made of.
#[derive(Debug, Clone)]
pub struct Spec {
    pub(super) folder: PathBuf,
    pub(super) nodes: u32,
    pub(super) listeners: Vec<Listener>,
    pub(super) properties: Vec<(String, String)>,
    pub(super) format_arguments: Vec<String>,
}

impl Spec {
    /// Describe a cluster whose data and logs are in `folder`: give it
    /// `concat!(env!("CARGO_TARGET_TMPDIR"), "/a-name-of-its-own")`.
    ///
    /// What an earlier run left there is removed when it starts.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            nodes: 1,
            listeners: Vec::new(),
            properties: Vec::new(),
            format_arguments: Vec::new(),
        }
    }

    /// Have so many nodes, each broker and controller; with three, any one may be missing.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Have a further listener for clients.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Set a property of all brokers.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Give an argument to Kafka's `StorageTool`, such as `--add-scram`.
    #[must_use]
    pub fn format_argument(mut self, argument: impl Into<String>) -> Self {
        self.format_arguments.push(argument.into());
        self
    }
}

/// A listener of all brokers, on a port of its own.
#[derive(Debug, Clone)]
pub struct Listener {
    pub(super) name: String,
    pub(super) protocol: &'static str,
    pub(super) properties: Vec<(String, String)>,
}

impl Listener {
    /// Describe a listener with one of Kafka's security protocols, such as `SASL_SSL`.
    #[must_use]
    pub fn new(name: impl Into<String>, protocol: &'static str) -> Self {
        Self {
            name: name.into(),
            protocol,
            properties: Vec::new(),
        }
    }

    /// Set a property of this listener, without its prefix `listener.name.<name>.`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}
