//! One Kafka node that is broker and controller, in KRaft mode.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

pub(crate) const CONFIG: &str = "server.properties";

/// The cluster id is any 16 bytes in base64url: the data are thrown away with the node.
///
/// Formatting is a part of the process that becomes the broker, so that a killed `services up`
/// leaves one process behind in whatever moment.
pub(crate) const SCRIPT: &str = r#"
options=-Dlog4j2.configurationFile=log4j2.properties
java -Xmx128m -XX:TieredStopAtLevel=1 $options -cp "$1/*" \
    kafka.tools.StorageTool format -t athomic-test-cluster-A -c "$0" &&
exec java -Xmx512m $options -cp "$1/*" kafka.Kafka "$0"
"#;

/// Write the settings.
pub(crate) fn prepare(dir: &Path, port: u16, controller_port: u16) -> Result<()> {
    fs::write(
        dir.join(CONFIG),
        settings(&dir.join("data"), port, controller_port),
    )?;
    Ok(fs::write(dir.join("log4j2.properties"), LOGGING)?)
}

/// Whether the broker replies to an ApiVersions request.
///
/// A broker accepts connections before it serves them, so an open port alone proves nothing.
pub(crate) fn answers(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(&API_VERSIONS_REQUEST)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    let (correlation, error) = (&reply[4..8], &reply[8..10]);
    Ok(correlation == [0, 0, 0, 7] && error == [0, 0])
}

/// Size, api key 18, version 0, correlation id 7, no client id.
const API_VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// What our single node has in common with the clusters that tests start.
const COMMON: &str = include_str!("../../../tests/rig/src/cluster/test-broker.properties");

const LOGGING: &str = include_str!("../../../tests/rig/src/cluster/test-log4j2.properties");

/// The settings of a node that is all there is.
fn settings(data: &Path, port: u16, controller_port: u16) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
{COMMON}",
        data = data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_is_on_loopback() {
        let settings = settings(Path::new("data"), 1, 2);
        let addresses = settings
            .match_indices("://")
            .map(|(at, mark)| &settings[at + mark.len()..]);
        assert!(addresses.clone().count() > 0);
        addresses.for_each(|address| assert!(address.starts_with("127.0.0.1:"), "{address}"));
    }
}
