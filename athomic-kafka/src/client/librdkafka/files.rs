//! The files with certificates and keys of a client, watched for new contents.
//!
//! librdkafka reads them when a client is made, and never again. So whoever owns a client looks here from
//! time to time, and makes a new one when they were replaced.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::BaseProducer;

use super::Fault;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How long a refused connection waits for a look: many may be refused at once.
const SOON: Duration = Duration::from_secs(1);

/// Options of librdkafka that name files.
const NAMES: [&str; 3] = ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"];

type Options = BTreeMap<String, String>;

/// The files of a client, and what was in them when it was made.
pub(super) struct Files {
    connection: String,
    paths: Vec<PathBuf>,
    /// What a client needs to read them.
    security: Options,
    /// Nothing if one could not be read.
    contents: Option<u64>,
    next: Instant,
}

impl Files {
    /// Take note of what is in the files, before the client reads them.
    pub(super) fn of(connection: &str, options: &Options) -> Self {
        let paths = NAMES.iter().filter_map(|name| options.get(*name));
        let paths: Vec<_> = paths.map(PathBuf::from).collect();
        let is_about_security = |name: &str| {
            ["ssl.", "sasl.", "security."]
                .iter()
                .any(|start| name.starts_with(start))
        };
        let security = options.iter().filter(|(name, _)| is_about_security(name));
        Self {
            connection: connection.to_owned(),
            contents: contents(&paths),
            paths,
            security: security
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            next: Instant::now() + EVERY,
        }
    }

    /// Return when [`were_replaced`](Self::were_replaced) is to be called, if there are files.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.paths.is_empty()).then_some(self.next)
    }

    /// Look soon: a connection was refused.
    pub(super) fn hurry(&mut self) {
        self.next = self.next.min(Instant::now() + SOON);
    }

    /// Say whether there are new contents that a client can be made with.
    ///
    /// A certificate without its key, or half a file, is the state between two; it is looked at again
    /// when it has changed again.
    pub(super) fn were_replaced(&mut self) -> bool {
        if self.paths.is_empty() || Instant::now() < self.next {
            return false;
        }
        self.next = Instant::now() + EVERY;
        let contents = contents(&self.paths);
        if contents.is_none() || contents == self.contents {
            return false;
        }
        self.contents = contents;
        match try_out(&self.security) {
            Ok(()) => true,
            Err(fault) => {
                let connection = &self.connection;
                tracing::warn!(%connection, %fault, "the new certificates cannot be used, the old ones stay");
                false
            }
        }
    }
}

/// Return a fingerprint of all files; nothing if one cannot be read.
fn contents(paths: &[PathBuf]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        fs::read(path).ok()?.hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Make a client that connects to nobody.
fn try_out(security: &Options) -> Result<(), Fault> {
    let mut config: ClientConfig = security
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let _client: BaseProducer = config.set_log_level(RDKafkaLogLevel::Emerg).create()?;
    Ok(())
}

// A client without TLS refuses to be told of the files.
#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::path::Path;

    use super::*;

    /// Watch a file, looked at whenever it is asked about.
    fn watched(file: &Path, protocol: &str) -> Files {
        let options = [
            ("security.protocol", protocol),
            ("ssl.ca.location", file.to_str().expect("text")),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Files::of("default", &options.into())
    }

    fn replaced(files: &mut Files) -> bool {
        files.next = Instant::now();
        files.were_replaced()
    }

    fn file(name: &str) -> PathBuf {
        let name = format!("athomic-files-{name}-{}", std::process::id());
        std::env::temp_dir().join(name)
    }

    #[test]
    fn new_contents_are_noticed_once_and_a_touch_is_none() {
        let file = file("touched");
        fs::write(&file, "old").expect("written");
        // Without TLS librdkafka leaves the file alone, whatever is in it.
        let mut files = watched(&file, "plaintext");
        fs::write(&file, "old").expect("written");
        assert!(!replaced(&mut files));
        fs::write(&file, "new").expect("written");
        assert!(replaced(&mut files));
        assert!(!replaced(&mut files));
        fs::remove_file(&file).expect("removed");
        assert!(!replaced(&mut files), "a file between two states");
        files.next = Instant::now() + EVERY;
        files.hurry();
        assert!(files.next <= Instant::now() + SOON);
    }

    #[test]
    fn contents_that_no_client_can_be_made_with_change_nothing() {
        let file = file("broken");
        fs::write(&file, "no certificate").expect("written");
        let mut files = watched(&file, "ssl");
        fs::write(&file, "half a certificate").expect("written");
        assert!(!replaced(&mut files));
        fs::remove_file(&file).expect("removed");
    }
}
