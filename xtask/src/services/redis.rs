//! One Redis without persistence.

use std::fs;
use std::io::{Read as _, Result, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

pub(crate) const CONFIG: &str = "redis.conf";

pub(crate) const SCRIPT: &str = r#"exec redis-server "$0""#;

/// Write the settings.
pub(crate) fn prepare(dir: &Path, port: u16) -> anyhow::Result<()> {
    Ok(fs::write(dir.join(CONFIG), settings(port))?)
}

/// Whether the server replies to PING.
pub(crate) fn answers(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    Ok(&reply == b"+PONG")
}

/// `set-proc-title no` keeps the settings' path in the command line, by which the process is known.
fn settings(port: u16) -> String {
    format!(
        "bind 127.0.0.1\n\
         port {port}\n\
         save \"\"\n\
         appendonly no\n\
         daemonize no\n\
         set-proc-title no\n"
    )
}
