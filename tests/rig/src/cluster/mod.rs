//! A cluster of brokers that lives no longer than the test.

mod node;
mod properties;
mod spec;
mod topology;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::ports;
use crate::tools::Tools;

pub use node::Node;
pub use spec::{Listener, Spec};

use properties::Ports;

const LOGGING: &str = include_str!("test-log4j2.properties");

/// A cluster of brokers that lives no longer than the test.
///
/// Dropping it ends all nodes; so does the end of the process, in whatever way. [`Cluster::stop`]
/// also waits for their end and removes their data.
#[derive(Debug)]
pub struct Cluster {
    spec: Spec,
    ports: Vec<Ports>,
    nodes: Vec<Node>,
    tools: Tools,
}

impl Cluster {
    /// Start a cluster and wait until all nodes serve clients; `None`, with a line to say so, where
    /// Kafka's jars are not.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(spec: Spec) -> Option<Self> {
        let tools = Tools::from_environment()?;
        remove(&spec.folder);
        let ports: Vec<_> = (0..spec.nodes).map(|_node| ports_for(&spec)).collect();
        let mut nodes = Vec::new();
        for (id, own) in (1..).zip(&ports) {
            let folder = spec.folder.join(format!("node-{id}"));
            fs::create_dir_all(&folder).expect("a folder for the node");
            let settings = properties::settings(&spec, &folder.join(node::DATA), id, &ports);
            fs::write(folder.join(node::SETTINGS), settings).expect("settings are written");
            fs::write(folder.join("log4j2.properties"), LOGGING).expect("settings are written");
            let arguments = spec.format_arguments.clone();
            let node = Node::new(id, folder, tools.jars().to_owned(), own.plain, arguments);
            node.start().await;
            nodes.push(node);
        }
        for node in &nodes {
            node.wait_until_ready().await;
        }
        Some(Self {
            spec,
            ports,
            nodes,
            tools,
        })
    }

    /// Return all nodes, in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Return the node with an id, as [`leader`](Self::leader) and others have it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize - 1]
    }

    /// Return the addresses for clients, on the listener without security.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        addresses(self.ports.iter().map(|ports| ports.plain))
    }

    /// Return the addresses for clients on one of the spec's listeners.
    ///
    /// # Panics
    /// When the spec has no such listener.
    #[must_use]
    pub fn bootstrap_of(&self, listener: &str) -> String {
        let index = self.spec.listeners.iter().position(|it| it.name == listener);
        let index = index.expect("a listener of the spec");
        addresses(self.ports.iter().map(|ports| ports.others[index]))
    }

    /// Return Kafka's tools, for this cluster.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Return where the nodes' settings, data and logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.spec.folder
    }

    /// Kill all nodes, wait for their end, and remove their data.
    pub async fn stop(self) {
        for node in &self.nodes {
            node.kill().await;
        }
        remove(&self.spec.folder);
    }
}

fn ports_for(spec: &Spec) -> Ports {
    Ports {
        controller: ports::free(),
        plain: ports::free(),
        others: spec.listeners.iter().map(|_listener| ports::free()).collect(),
    }
}

fn addresses(ports: impl Iterator<Item = u16>) -> String {
    let addresses: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.join(",")
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            panic!("cannot remove {}: {error}", folder.display())
        }
        _ => {}
    }
}
