//! The files with certificates, keys and secrets of a client, watched for new contents.
//!
//! librdkafka reads certificates when a client is made, and never again. So whoever owns a client looks here
//! from time to time, and makes a new one when they were replaced. A password can be told to a running one,
//! which logs in with it to its next connections.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use athomic_core::settings::Secret;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::BaseProducer;

use super::Fault;
use crate::security::{self, PASSWORD, Secrets};

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
    /// Those that take a new client.
    paths: Vec<PathBuf>,
    /// The user, and the password if it stands in a file.
    user: String,
    password: Option<Secret>,
    secrets: Secrets,
    /// What a client needs to read them.
    security: Options,
    /// Nothing if one could not be read.
    contents: Option<u64>,
    next: Instant,
}

impl Files {
    /// Take note of what is in the files, before the client reads them.
    pub(super) fn of(connection: &str, options: &Options, secrets: &Secrets) -> Self {
        let named = NAMES.iter().filter_map(|name| options.get(*name));
        let others = secrets.iter().filter(|(name, _)| **name != PASSWORD);
        let others = others.filter_map(|(_, secret)| secret.file());
        let paths: Vec<_> = named
            .map(PathBuf::from)
            .chain(others.map(PathBuf::from))
            .collect();
        let in_file = secrets.get(PASSWORD);
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
            user: options.get("sasl.username").cloned().unwrap_or_default(),
            // What the client was made with, which may be newer than what the settings were read with.
            password: in_file.and(options.get(PASSWORD)).map(Secret::new),
            secrets: secrets.clone(),
            security: security
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            next: Instant::now() + EVERY,
        }
    }

    /// Return when [`look`](Self::look) is to be called, if there are files.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.paths.is_empty() || self.password.is_some()).then_some(self.next)
    }

    /// Look soon: a connection was refused.
    pub(super) fn hurry(&mut self) {
        self.next = self.next.min(Instant::now() + SOON);
    }

    /// Say what has changed, if it is time to look.
    pub(super) fn look(&mut self) -> Change {
        if self.due().is_none_or(|due| Instant::now() < due) {
            return Change::Nothing;
        }
        self.next = Instant::now() + EVERY;
        if self.were_replaced() {
            return Change::Certificates;
        }
        self.new_password().map_or(Change::Nothing, Change::Password)
    }

    fn new_password(&mut self) -> Option<NewPassword> {
        let now = self.secrets.get(PASSWORD)?.read_again()?;
        if self.password.as_ref() == Some(&now) {
            return None;
        }
        self.password = Some(now.clone());
        Some(NewPassword {
            connection: self.connection.clone(),
            user: self.user.clone(),
            password: now,
        })
    }

    /// Say whether there are new contents that a client can be made with.
    ///
    /// A certificate without its key, or half a file, is the state between two; it is looked at again
    /// when it has changed again.
    fn were_replaced(&mut self) -> bool {
        let contents = contents(&self.paths);
        if contents.is_none() || contents == self.contents {
            return false;
        }
        self.contents = contents;
        security::renew(&mut self.security, &self.secrets);
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

/// What has changed in the files of a client.
pub(super) enum Change {
    Nothing,
    Password(NewPassword),
    /// Or anything else that takes a new client.
    Certificates,
}

/// A password that was replaced.
pub(super) struct NewPassword {
    connection: String,
    user: String,
    password: Secret,
}

impl NewPassword {
    /// Hand user and password to whoever logs in with them.
    pub(super) fn tell(&self, whom: impl FnOnce(&str, &str) -> Result<(), Fault>) {
        let connection = &self.connection;
        match whom(&self.user, self.password.expose()) {
            Ok(()) => tracing::info!(%connection, "logging in with the new password from now on"),
            Err(fault) => tracing::warn!(%connection, %fault, "the new password cannot be used"),
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
        Files::of("default", &options.into(), &Secrets::new())
    }

    fn replaced(files: &mut Files) -> bool {
        files.next = Instant::now();
        matches!(files.look(), Change::Certificates)
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
    fn a_password_is_told_once_each_time_that_it_is_replaced() {
        let file = file("password");
        fs::write(&file, "old\n").expect("written");
        let secret = Secret::in_file(&file).expect("read");
        let options = [("sasl.username", "alice"), (PASSWORD, "old")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut files = Files::of("default", &options.into(), &[(PASSWORD, secret)].into());
        let mut told = || {
            files.next = Instant::now();
            let mut told = Vec::new();
            if let Change::Password(new) = files.look() {
                new.tell(|user, password| {
                    told.push(format!("{user}:{password}"));
                    Ok(())
                });
            }
            told
        };
        assert!(told().is_empty());
        fs::write(&file, "new\n").expect("written");
        assert_eq!(told(), ["alice:new"]);
        assert!(told().is_empty());
        fs::write(&file, "").expect("written");
        assert!(told().is_empty(), "a file between two states");
        fs::remove_file(&file).expect("removed");
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
