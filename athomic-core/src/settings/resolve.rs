//! From what was written to what it means: the one step that fills in defaults, inherits and compares.
//!
//! Every fault is collected; where one is found, the default stands in, so that the rest is checked too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::choice::Choice;
use super::environment::Environment;
use super::error::{Fault, Origin, Problem};
use super::raw::{
    Field, RawConnection, RawConsumer, RawDlq, RawMessaging, RawProducer, RawRetry, RawSecret, RawSecurity,
    RawSettings, RawTopics, RawTuning, Written,
};
use super::resolved::{
    AppSettings, Backend, ConnectionSettings, ConsumerSettings, DEFAULT_CONNECTION, DlqSettings,
    GroupProtocol, HandlerTuning, LifecycleSettings, MessagingSettings, ProducerSettings, RetrySettings,
    SecurityProtocol, SecuritySettings, Settings, TopicsSettings,
};
use super::schema::{CONNECTIONS, TUNING};
use super::secret::Secret;
use super::tree::{SecretPlace, join};
use crate::nearest::nearest;

/// The largest number of milliseconds, bytes or things: what client libraries take.
const MOST: i128 = i32::MAX as i128;

/// Give everything that was written its meaning.
///
/// # Errors
///
/// Every fault.
pub(super) fn resolve(raw: &RawSettings, environment: &Environment) -> Result<Settings, Vec<Fault>> {
    let mut resolver = Resolver {
        environment,
        fetch_secrets: false,
        faults: Vec::new(),
    };
    let settings = resolver.settings(raw);
    if resolver.faults.is_empty() {
        Ok(settings)
    } else {
        Err(resolver.faults)
    }
}

struct Resolver<'e> {
    environment: &'e Environment,
    /// Whether secrets are fetched: not for the embedded broker, so that a developer needs none.
    fetch_secrets: bool,
    faults: Vec<Fault>,
}

impl Resolver<'_> {
    fn settings(&mut self, raw: &RawSettings) -> Settings {
        let (app, lifecycle) = (AppSettings::default(), LifecycleSettings::default());
        let messaging = self.messaging(&raw.messaging);
        Settings {
            app: AppSettings {
                name: self.text(&raw.app.name).unwrap_or(app.name),
                version: self.text(&raw.app.version).unwrap_or(app.version),
            },
            messaging,
            lifecycle: LifecycleSettings {
                startup_timeout: self
                    .some_seconds(&raw.lifecycle.startup_timeout_seconds, lifecycle.startup_timeout),
                shutdown_timeout: self.some_seconds(
                    &raw.lifecycle.shutdown_timeout_seconds,
                    lifecycle.shutdown_timeout,
                ),
            },
            ..Settings::default()
        }
    }

    fn messaging(&mut self, raw: &RawMessaging) -> MessagingSettings {
        let backend = self.choice(&raw.provider.backend, Backend::Memory);
        self.fetch_secrets = backend == Backend::Kafka;
        MessagingSettings {
            enabled: value_or(&raw.switch.enabled, true),
            backend,
            connections: self.connections(raw),
            topics: self.topics(&raw.topics),
            dlq: self.dlq(&raw.dlq, &raw.retry),
            handler_tuning: self.handler_tuning(&raw.handler_tuning),
        }
    }

    fn connections(&mut self, raw: &RawMessaging) -> BTreeMap<String, ConnectionSettings> {
        let parent = self.connection(
            DEFAULT_CONNECTION,
            &raw.connection,
            &ConnectionSettings::default(),
        );
        let mut connections = BTreeMap::new();
        for (name, raw) in &raw.connections {
            if name == DEFAULT_CONNECTION {
                self.refuse_default_connection(raw);
            } else {
                connections.insert(name.clone(), self.connection(name, raw, &parent));
            }
        }
        connections.insert(parent.name.clone(), parent);
        connections
    }

    fn refuse_default_connection(&mut self, raw: &RawConnection) {
        let reason = "the default connection is `integration.messaging.consumer`, `producer` and `security`; set it there";
        let origin = raw.origin.as_ref().unwrap_or(&Origin::BuiltIn);
        self.faults.push(Fault::new(
            join(CONNECTIONS, DEFAULT_CONNECTION),
            origin,
            Problem::invalid(reason),
        ));
    }

    /// Resolve a connection that inherits from `parent`, which for the default one holds the defaults.
    fn connection(
        &mut self,
        name: &str,
        raw: &RawConnection,
        parent: &ConnectionSettings,
    ) -> ConnectionSettings {
        let servers = self.servers(&raw.consumer.bootstrap_servers);
        let own = self.servers(&raw.producer.bootstrap_servers);
        let (consuming, publishing) = (
            servers.as_ref().or(own.as_ref()),
            own.as_ref().or(servers.as_ref()),
        );
        let mut consumer = self.consumer(&raw.consumer, &parent.consumer);
        let mut producer = self.producer(&raw.producer, &parent.producer);
        // Invariant: credentials follow the servers. A connection to servers of its own inherits none.
        let other_cluster = consuming.is_some() && name != DEFAULT_CONNECTION;
        if let Some(servers) = consuming {
            consumer.bootstrap_servers.clone_from(servers);
        }
        if let Some(servers) = publishing {
            producer.bootstrap_servers.clone_from(servers);
        }
        let security = if raw.security.is_empty() && !other_cluster {
            parent.security.clone()
        } else {
            self.security(&raw.security, &raw.security_path)
        };
        ConnectionSettings {
            name: name.to_owned(),
            consumer,
            producer,
            security,
        }
    }

    fn consumer(&mut self, raw: &RawConsumer, parent: &ConsumerSettings) -> ConsumerSettings {
        let consumer = ConsumerSettings {
            bootstrap_servers: parent.bootstrap_servers.clone(),
            group_id: self.text(&raw.group_id).or_else(|| parent.group_id.clone()),
            auto_offset_reset: self.choice(&raw.auto_offset_reset, parent.auto_offset_reset),
            commit_interval: self.some_milliseconds(&raw.commit_interval_ms, parent.commit_interval),
            session_timeout: self.some_milliseconds(&raw.session_timeout_ms, parent.session_timeout),
            max_poll_records: self.count(&raw.max_poll_records, parent.max_poll_records),
            fetch_max_bytes: self.count(&raw.fetch_max_bytes, parent.fetch_max_bytes),
            fetch_max_wait: self.milliseconds(&raw.fetch_max_wait_ms, parent.fetch_max_wait),
            isolation_level: self.choice(&raw.isolation_level, parent.isolation_level),
            group_protocol: self.choice(&raw.group_protocol, parent.group_protocol),
            group_instance_id: self
                .text(&raw.group_instance_id)
                .or_else(|| parent.group_instance_id.clone()),
            client_id: self.text(&raw.client_id).or_else(|| parent.client_id.clone()),
            max_poll_interval: self.some_milliseconds(&raw.max_poll_interval_ms, parent.max_poll_interval),
            revoke_timeout: self.milliseconds(&raw.revoke_timeout_ms, parent.revoke_timeout),
            handler_timeout: self.timeout(&raw.handler_timeout_ms, parent.handler_timeout),
            max_in_flight_messages: self.count(&raw.max_in_flight_messages, parent.max_in_flight_messages),
            max_in_flight_bytes: self.count(&raw.max_in_flight_bytes, parent.max_in_flight_bytes),
            queued_max_kbytes: self.count(&raw.queued_max_kbytes, parent.queued_max_kbytes),
            librdkafka: self.options(&raw.librdkafka, &parent.librdkafka),
        };
        self.compare_consumer(raw, &consumer);
        consumer
    }

    fn compare_consumer(&mut self, raw: &RawConsumer, consumer: &ConsumerSettings) {
        let broker_decides = consumer.group_protocol == GroupProtocol::Consumer;
        if let (true, Some(written)) = (broker_decides, &raw.session_timeout_ms)
            && raw.group_protocol.is_some()
        {
            let reason = "with `group_protocol = \"consumer\"` the broker decides \
                          (`group.consumer.session.timeout.ms`); remove it";
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        let poll = consumer.max_poll_interval;
        let revoke = (&raw.revoke_timeout_ms, &raw.max_poll_interval_ms);
        if consumer.revoke_timeout >= poll
            && let Some(written) = revoke.0.as_ref().or(revoke.1.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`revoke_timeout_ms` ({}) must be less than `max_poll_interval_ms` ({}), or draining costs the membership",
                consumer.revoke_timeout.as_millis(),
                poll.as_millis(),
            ))));
        }
        let session = (&raw.session_timeout_ms, &raw.max_poll_interval_ms);
        if !broker_decides
            && consumer.session_timeout > poll
            && let Some(written) = session.0.as_ref().or(session.1.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`session_timeout_ms` ({}) must not be more than `max_poll_interval_ms` ({})",
                consumer.session_timeout.as_millis(),
                poll.as_millis(),
            ))));
        }
    }

    fn producer(&mut self, raw: &RawProducer, parent: &ProducerSettings) -> ProducerSettings {
        let producer = ProducerSettings {
            bootstrap_servers: parent.bootstrap_servers.clone(),
            linger: self.milliseconds(&raw.linger_ms, parent.linger),
            batch_max_bytes: self.count(&raw.batch_max_bytes, parent.batch_max_bytes),
            wire_compression: self.choice(&raw.wire_compression, parent.wire_compression),
            delivery_timeout: self.some_milliseconds(&raw.delivery_timeout_ms, parent.delivery_timeout),
            librdkafka: self.options(&raw.librdkafka, &parent.librdkafka),
        };
        if producer.linger > producer.delivery_timeout
            && let Some(written) = raw.delivery_timeout_ms.as_ref().or(raw.linger_ms.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`delivery_timeout_ms` ({}) must not be less than `linger_ms` ({})",
                producer.delivery_timeout.as_millis(),
                producer.linger.as_millis(),
            ))));
        }
        producer
    }

    fn security(&mut self, raw: &RawSecurity, path: &str) -> SecuritySettings {
        let protocol = self.choice(&raw.protocol, SecurityProtocol::Plaintext);
        self.compare_sasl(raw, protocol, path);
        self.compare_tls(raw, protocol, path);
        SecuritySettings {
            protocol,
            mechanism: self.optional_choice(&raw.mechanism),
            username: self.text(&raw.username),
            password: self.secret(&raw.password),
            ca_file: self.text(&raw.ca_file).map(PathBuf::from),
            certificate_file: self.text(&raw.certificate_file).map(PathBuf::from),
            key_file: self.text(&raw.key_file).map(PathBuf::from),
            key_password: self.secret(&raw.key_password),
        }
    }

    /// SASL takes mechanism, user and password, all of them; without SASL each is a mistake.
    fn compare_sasl(&mut self, raw: &RawSecurity, protocol: SecurityProtocol, path: &str) {
        let written = [
            ("mechanism", place(&raw.mechanism)),
            ("username", place(&raw.username)),
            ("password", place(&raw.password)),
        ];
        for (name, place) in written {
            match place {
                None if protocol.uses_sasl() => {
                    let reason = format!("`protocol = \"{protocol}\"` needs it");
                    let origin = raw
                        .protocol
                        .as_ref()
                        .map_or(&Origin::BuiltIn, |written| &written.origin);
                    self.faults
                        .push(Fault::new(join(path, name), origin, Problem::missing(reason)));
                }
                Some((key, origin)) if !protocol.uses_sasl() => {
                    let reason = format!(
                        "has no effect with `protocol = \"{protocol}\"`; use `sasl_ssl` or `sasl_plaintext`, or remove it"
                    );
                    self.faults
                        .push(Fault::new(key, origin, Problem::invalid(reason)));
                }
                _ => {}
            }
        }
    }

    /// Files go with TLS; a certificate with its key, a key's password with the key.
    fn compare_tls(&mut self, raw: &RawSecurity, protocol: SecurityProtocol, path: &str) {
        let certificate = place(&raw.certificate_file);
        let key = place(&raw.key_file);
        let password = place(&raw.key_password);
        if !protocol.uses_tls() {
            for (name, origin) in [place(&raw.ca_file), certificate, key, password]
                .into_iter()
                .flatten()
            {
                let reason = format!(
                    "has no effect with `protocol = \"{protocol}\"`; use `ssl` or `sasl_ssl`, or remove it"
                );
                self.faults
                    .push(Fault::new(name, origin, Problem::invalid(reason)));
            }
            return;
        }
        let pairs = [
            (certificate, key, "key_file", "`certificate_file` needs its key"),
            (
                key,
                certificate,
                "certificate_file",
                "`key_file` needs its certificate",
            ),
            (password, key, "key_file", "`key_password` needs a key file"),
        ];
        for (present, needed, name, reason) in pairs {
            if let (Some((_, origin)), None) = (present, needed) {
                self.faults
                    .push(Fault::new(join(path, name), origin, Problem::missing(reason)));
            }
        }
    }

    fn topics(&mut self, raw: &RawTopics) -> TopicsSettings {
        let default = TopicsSettings::default();
        TopicsSettings {
            auto_create: self.choice(&raw.auto_create, default.auto_create),
            default_partitions: self.count(&raw.default_partitions, default.default_partitions),
            default_replication: self.count(&raw.default_replication, default.default_replication),
        }
    }

    fn dlq(&mut self, raw: &RawDlq, retry: &RawRetry) -> DlqSettings {
        let default = DlqSettings::default();
        DlqSettings {
            enabled: value_or(&raw.enabled, default.enabled),
            max_attempts: self.count(&raw.max_attempts, default.max_attempts),
            strategy: self.choice(&raw.strategy, default.strategy),
            retry: self.retry(retry),
        }
    }

    fn retry(&mut self, raw: &RawRetry) -> RetrySettings {
        let default = RetrySettings::default();
        let retry = RetrySettings {
            mode: self.choice(&raw.mode, default.mode),
            min_delay: self.seconds(&raw.min_delay_seconds, default.min_delay),
            max_delay: self.seconds(&raw.max_delay_seconds, default.max_delay),
            factor: value_or(&raw.factor, default.factor),
            jitter: value_or(&raw.jitter, default.jitter),
        };
        if let Some(written) = &raw.factor
            && !(written.value.is_finite() && written.value >= 1.0)
        {
            self.faults
                .push(written.fault(Problem::invalid("must be a number of at least 1")));
        }
        if retry.min_delay > retry.max_delay
            && let Some(written) = raw.min_delay_seconds.as_ref().or(raw.max_delay_seconds.as_ref())
        {
            self.faults.push(written.fault(Problem::invalid(format!(
                "`min_delay_seconds` ({}) must not be more than `max_delay_seconds` ({})",
                retry.min_delay.as_secs_f64(),
                retry.max_delay.as_secs_f64(),
            ))));
        }
        retry
    }

    fn handler_tuning(&mut self, raw: &[(Origin, RawTuning)]) -> Vec<HandlerTuning> {
        let mut tuned: Vec<HandlerTuning> = Vec::new();
        for (index, (origin, raw)) in raw.iter().enumerate() {
            let handler_id = self.text(&raw.handler_id);
            let tuning = HandlerTuning {
                handler_id: handler_id.unwrap_or_default(),
                concurrency: self.optional_count(&raw.concurrency),
                priority: self.optional_choice(&raw.priority),
                paused: raw.paused.as_ref().map(|written| written.value),
                origin: origin.clone(),
            };
            match &raw.handler_id {
                None => {
                    let problem = Problem::missing("an entry names the handler that it tunes");
                    self.faults.push(Fault::new(
                        format!("{TUNING}.{index}.handler_id"),
                        origin,
                        problem,
                    ));
                }
                Some(written) => {
                    if let Some(first) = tuned.iter().find(|first| first.handler_id == written.value) {
                        let reason = format!("`{}` is tuned already at {}", written.value, first.origin);
                        self.faults.push(written.fault(Problem::invalid(reason)));
                    }
                }
            }
            tuned.push(tuning);
        }
        tuned
    }

    fn text(&mut self, field: &Field<String>) -> Option<String> {
        let written = field.as_ref()?;
        if written.value.trim().is_empty() {
            self.faults
                .push(written.fault(Problem::invalid("must not be empty")));
            return None;
        }
        Some(written.value.clone())
    }

    fn servers(&mut self, field: &Field<Vec<String>>) -> Option<Vec<String>> {
        let written = field.as_ref()?;
        let problem: Option<Cow<'static, str>> = if written.value.is_empty() {
            Some("must name at least one broker, such as \"localhost:9092\"".into())
        } else {
            let odd = |server: &&String| server.is_empty() || server.contains([',', ' ', '\t', '\n']);
            written.value.iter().find(odd).map(|server| {
                format!("`{server}` is not `host:port`; write one broker per item of the list").into()
            })
        };
        if let Some(reason) = problem {
            self.faults.push(written.fault(Problem::Invalid { reason }));
            return None;
        }
        Some(written.value.clone())
    }

    fn options(
        &mut self,
        field: &Field<BTreeMap<String, Written<String>>>,
        parent: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut options = parent.clone();
        for (name, written) in field.iter().flat_map(|written| &written.value) {
            if carries_a_secret(name) {
                let reason =
                    "an option with a secret in it cannot be handed over as text; use the `security` section";
                self.faults.push(written.fault(Problem::invalid(reason)));
            } else {
                options.insert(name.clone(), written.value.clone());
            }
        }
        options
    }

    /// Fetch a secret. It never appears in a fault.
    fn secret(&mut self, field: &Field<RawSecret>) -> Option<Secret> {
        let written = field.as_ref()?;
        let fetched = match &written.value {
            RawSecret::Text(secret) => Ok(secret.clone()),
            RawSecret::Place(_) if !self.fetch_secrets => return None,
            RawSecret::Place(place) => self.fetch(place),
        };
        let fetched = fetched.and_then(|secret| {
            if secret.expose().is_empty() {
                Err("the secret is empty".to_owned())
            } else {
                Ok(secret)
            }
        });
        fetched
            .map_err(|reason| {
                self.faults
                    .push(written.fault(Problem::SecretUnavailable { reason }))
            })
            .ok()
    }

    fn fetch(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(name) => match self.environment.get(name)? {
                Some(text) => Ok(Secret::new(text)),
                None => Err(format!("environment variable {name} is not set")),
            },
            SecretPlace::File(path) => match fs::read_to_string(path) {
                Ok(text) => Ok(Secret::new(text.trim_end_matches(['\r', '\n']))),
                Err(error) => Err(format!("cannot read `{}`: {error}", path.display())),
            },
        }
    }

    fn choice<C: Choice>(&mut self, field: &Field<String>, default: C) -> C {
        self.optional_choice(field).unwrap_or(default)
    }

    fn optional_choice<C: Choice>(&mut self, field: &Field<String>) -> Option<C> {
        let written = field.as_ref()?;
        let word = written.value.as_str();
        let accepted = C::WORDS.accepted();
        let value = word.to_owned();
        let problem = if C::WORDS.not_built.contains(&word) {
            Problem::ValueNotBuilt { value, accepted }
        } else if let Some(choice) = C::from_word(word) {
            return Some(choice);
        } else {
            let nearest = nearest(word, accepted.iter().copied());
            Problem::UnknownValue {
                value,
                accepted,
                nearest,
            }
        };
        self.faults.push(written.fault(problem));
        None
    }

    fn count<N: Count>(&mut self, field: &Field<i128>, default: N) -> N {
        self.optional_count(field).unwrap_or(default)
    }

    fn optional_count<N: Count>(&mut self, field: &Field<i128>) -> Option<N> {
        let written = field.as_ref()?;
        let count = N::from_integer(written.value);
        if count.is_none() {
            let reason = format!("must be between 1 and {}", N::MOST);
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        count
    }

    /// Read a duration that may be zero.
    fn milliseconds(&mut self, field: &Field<i128>, default: Duration) -> Duration {
        self.milliseconds_from(0, field).unwrap_or(default)
    }

    /// Read a duration that may not be zero.
    fn some_milliseconds(&mut self, field: &Field<i128>, default: Duration) -> Duration {
        self.milliseconds_from(1, field).unwrap_or(default)
    }

    fn milliseconds_from(&mut self, least: i128, field: &Field<i128>) -> Option<Duration> {
        let written = field.as_ref()?;
        match u64::try_from(written.value) {
            Ok(milliseconds) if (least..=MOST).contains(&written.value) => {
                Some(Duration::from_millis(milliseconds))
            }
            _ => {
                let reason = format!("must be between {least} and {MOST} milliseconds");
                self.faults.push(written.fault(Problem::invalid(reason)));
                None
            }
        }
    }

    /// Read a limit of which zero means that there is none.
    fn timeout(&mut self, field: &Field<i128>, default: Option<Duration>) -> Option<Duration> {
        match self.milliseconds_from(0, field) {
            Some(timeout) => (!timeout.is_zero()).then_some(timeout),
            None => default,
        }
    }

    /// Read a duration that may be zero.
    fn seconds(&mut self, field: &Field<f64>, default: Duration) -> Duration {
        let Some(written) = field else { return default };
        let duration = Duration::try_from_secs_f64(written.value).ok();
        #[expect(clippy::cast_precision_loss, reason = "far below the precision of the type")]
        let duration = duration.filter(|duration| duration.as_secs_f64() <= MOST as f64);
        duration.unwrap_or_else(|| {
            let reason = format!("must be between 0 and {MOST} seconds");
            self.faults.push(written.fault(Problem::invalid(reason)));
            default
        })
    }

    /// Read a duration that may not be zero.
    fn some_seconds(&mut self, field: &Field<f64>, default: Duration) -> Duration {
        let duration = self.seconds(field, default);
        if let (true, Some(written)) = (duration.is_zero(), field) {
            self.faults
                .push(written.fault(Problem::invalid("must be more than 0 seconds")));
        }
        duration
    }
}

impl RawSecurity {
    fn is_empty(&self) -> bool {
        let Self {
            protocol,
            mechanism,
            username,
            password,
            ca_file,
            certificate_file,
            key_file,
            key_password,
        } = self;
        let texts = [protocol, mechanism, username, ca_file, certificate_file, key_file];
        texts.iter().all(|field| field.is_none()) && password.is_none() && key_password.is_none()
    }
}

fn place<T>(field: &Field<T>) -> Option<(&str, &Origin)> {
    field
        .as_ref()
        .map(|written| (written.key.as_str(), &written.origin))
}

fn value_or<T: Copy>(field: &Field<T>, default: T) -> T {
    field.as_ref().map_or(default, |written| written.value)
}

/// Return whether an option of the client library holds a password, key or token.
fn carries_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", ".pem", "oauthbearer.config", "token.value"]
        .iter()
        .any(|part| name.contains(part))
}

/// A number of things, at least one.
trait Count: Copy {
    const MOST: i128;

    fn from_integer(integer: i128) -> Option<Self>;
}

/// `Count` for a type that can be made from a plain integer type.
macro_rules! count {
    ($($type:ty, $plain:ty, $most:expr;)*) => {$(
        impl Count for $type {
            const MOST: i128 = $most;

            fn from_integer(integer: i128) -> Option<Self> {
                let in_range = (1..=Self::MOST).contains(&integer);
                let plain = <$plain>::try_from(integer).ok().filter(|_| in_range)?;
                Self::try_from(plain).ok()
            }
        }
    )*};
}

count! {
    NonZeroUsize, usize, MOST;
    NonZeroU32, u32, MOST;
    NonZeroU16, u16, i16::MAX as i128;
    usize, usize, MOST;
}
