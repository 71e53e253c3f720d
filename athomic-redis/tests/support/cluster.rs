//! A cluster of three masters.

use std::process::Command;

use athomic_core::testing::eventually;

use super::server::{LIMIT, Server};

/// Three masters that share the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(Server::start(&["cluster-enabled yes", "cluster-node-timeout 2000"]).await);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster-yes", "--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let made = create.output().expect("`redis-cli` can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        let is_ok = |node: &Server| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        assert!(eventually(LIMIT, || cluster.nodes.iter().all(is_ok)).await);
        cluster
    }

    pub(crate) fn uri(&self) -> String {
        let [first, others @ ..] = &self.nodes[..] else {
            panic!("there are nodes");
        };
        let others: Vec<_> = others
            .iter()
            .map(|node| format!("node=127.0.0.1:{}", node.port))
            .collect();
        format!("redis-cluster://127.0.0.1:{}?{}", first.port, others.join("&"))
    }

    /// Return the node that has a slot.
    pub(crate) fn owner(&self, slot: &str) -> usize {
        let slot: u16 = slot.parse().expect("a slot");
        let has = |node: &Server| {
            let nodes = node.cli(&["CLUSTER", "NODES"]);
            let own = nodes
                .lines()
                .find(|line| line.contains("myself"))
                .unwrap_or_default();
            own.split_whitespace()
                .skip(8)
                .filter(|range| !range.starts_with('['))
                .any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let bound = |bound: &str| bound.parse::<u16>().expect("a slot");
                    (bound(first)..=bound(last)).contains(&slot)
                })
        };
        self.nodes.iter().position(has).expect("somebody has it")
    }

    /// Move a slot from one node to another, key by key.
    pub(crate) fn migrate(&self, slot: &str, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let id = |node: &Server| node.cli(&["CLUSTER", "MYID"]).trim().to_owned();
        target.cli(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &id(source)]);
        source.cli(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &id(target)]);
        let port = target.port.to_string();
        loop {
            let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", slot, "3"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            source.cli(&[&migrate[..], &keys].concat());
        }
        for node in [target, source] {
            node.cli(&["CLUSTER", "SETSLOT", slot, "NODE", &id(target)]);
        }
        for node in &self.nodes {
            node.cli(&["CLUSTER", "SETSLOT", slot, "NODE", &id(target)]);
        }
    }
}
