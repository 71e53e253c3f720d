//! From a spec to the settings file of each node.

use std::fmt::Write as _;
use std::path::Path;

use super::spec::Spec;

/// The listener that the brokers themselves use; open to everybody, and a super user where there are ACLs.
pub(super) const PLAIN: &str = "PLAIN";
const CONTROLLER: &str = "CONTROLLER";

const COMMON: &str = include_str!("test-broker.properties");

/// The ports of a node.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    pub(super) controller: u16,
    pub(super) plain: u16,
    /// Of the spec's listeners, in their order.
    pub(super) others: Vec<u16>,
}

/// Write the settings of node `id` of a cluster with these ports, the first being those of node 1.
pub(super) fn settings(spec: &Spec, data: &Path, id: u32, ports: &[Ports]) -> String {
    let own = &ports[id as usize - 1];
    let named: Vec<_> = [(PLAIN, own.plain)]
        .into_iter()
        .chain(
            spec.listeners
                .iter()
                .map(|listener| listener.name.as_str())
                .zip(own.others.iter().copied()),
        )
        .collect();
    let clients = listed(&named, |(name, port)| format!("{name}://127.0.0.1:{port}"));
    let protocols = listed(&spec.listeners, |listener| {
        format!("{}:{}", listener.name, listener.protocol)
    });
    let voters: Vec<_> = (1..).zip(ports).collect();
    let voters = listed(&voters, |(id, ports)| {
        format!("{id}@127.0.0.1:{}", ports.controller)
    });
    let (copies, controller) = (spec.nodes.min(3), own.controller);
    let (in_sync, data) = (copies.max(2) - 1, data.display());
    let mut text = format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners={clients},{CONTROLLER}://127.0.0.1:{controller}
advertised.listeners={clients}
controller.listener.names={CONTROLLER}
inter.broker.listener.name={PLAIN}
listener.security.protocol.map={PLAIN}:PLAINTEXT,{CONTROLLER}:PLAINTEXT,{protocols}
super.users=User:ANONYMOUS
log.dirs={data}

default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
{COMMON}"
    );
    let mut set = |name: &str, value: &str| {
        writeln!(text, "{name}={value}").expect("text grows");
    };
    for listener in &spec.listeners {
        let prefix = format!("listener.name.{}.", listener.name.to_lowercase());
        for (name, value) in &listener.properties {
            set(&format!("{prefix}{name}"), value);
        }
    }
    for (name, value) in &spec.properties {
        set(name, value);
    }
    text
}

fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(",")
}
