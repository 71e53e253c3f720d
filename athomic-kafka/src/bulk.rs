//! What the bulk publisher takes from the settings, and what it cannot do.
#![cfg_attr(
    not(feature = "bulk"),
    allow(dead_code, reason = "without the feature it is only refused")
)]

use std::time::Duration;

use athomic_core::settings::{
    ConnectionSettings, ProducerClient, SaslMechanism, Secret, SecuritySettings, WireCompression,
};

/// The most bytes in one request that a broker takes by default, with room for what is around the records.
const REQUEST: usize = 1_000_000;

/// The settings of the bulk publisher.
#[derive(Clone)]
pub(crate) struct BulkSettings {
    pub(crate) servers: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) login: Option<Login>,
    /// The most bytes in one request.
    pub(crate) batch_bytes: usize,
    pub(crate) delivery_timeout: Duration,
}

/// Who we are.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) mechanism: SaslMechanism,
    pub(crate) user: String,
    password: Secret,
}

impl Login {
    fn of(security: &SecuritySettings) -> Option<Self> {
        if !security.protocol.uses_sasl() {
            return None;
        }
        Some(Self {
            mechanism: security.mechanism?,
            user: security.username.clone()?,
            password: security.password.clone()?,
        })
    }

    /// Return the password; one that stands in a file as it is there now.
    pub(crate) fn password(&self) -> String {
        let now = self.password.read_again();
        now.as_ref().unwrap_or(&self.password).expose().to_owned()
    }
}

impl BulkSettings {
    /// Take what a connection says of the bulk publisher; nothing if it has none.
    ///
    /// # Errors
    /// What is asked of it that it cannot do, and what to do instead.
    pub(crate) fn of(connection: &ConnectionSettings, client_id: &str) -> Result<Option<Self>, String> {
        let producer = &connection.producer;
        if producer.client != ProducerClient::Rskafka {
            return Ok(None);
        }
        let security = &connection.security;
        if let Some((problem, remedy)) = refused(security, producer.wire_compression) {
            return Err(format!("`producer.client = \"rskafka\"` {problem}; {remedy}"));
        }
        Ok(Some(Self {
            servers: producer.bootstrap_servers.clone(),
            client_id: client_id.to_owned(),
            login: Login::of(security),
            batch_bytes: producer.batch_max_bytes.clamp(1, REQUEST),
            delivery_timeout: producer.delivery_timeout,
        }))
    }
}

/// Return what cannot be had with rskafka, and what to do instead.
fn refused(security: &SecuritySettings, compression: WireCompression) -> Option<(String, &'static str)> {
    const LIBRDKAFKA: &str = "set `producer.client = \"librdkafka\"`";
    if !cfg!(feature = "bulk") {
        let problem = "needs code that this program was built without".to_owned();
        return Some((problem, "add the feature `kafka-bulk` of `athomic`"));
    }
    if security.protocol.uses_tls() {
        let problem = format!(
            "does not encrypt, as `security.protocol = \"{}\"` asks",
            security.protocol
        );
        return Some((problem, LIBRDKAFKA));
    }
    if security.protocol.uses_sasl() && security.mechanism == Some(SaslMechanism::OauthBearer) {
        return Some((
            "does not know `security.mechanism = \"OAUTHBEARER\"`".to_owned(),
            LIBRDKAFKA,
        ));
    }
    if compression != WireCompression::None {
        // It would: some 45 ms for a request, at a tenth of librdkafka's throughput.
        let problem = format!("does not compress, as `producer.wire_compression = \"{compression}\"` asks");
        return Some((
            problem,
            "set that to \"none\", or `producer.client = \"librdkafka\"`",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use athomic_core::settings::SecurityProtocol;

    use super::*;

    fn connection() -> ConnectionSettings {
        let mut connection = ConnectionSettings::default();
        connection.producer.client = ProducerClient::Rskafka;
        connection
    }

    fn check(connection: &ConnectionSettings, expected: &str) {
        let refused = BulkSettings::of(connection, "c").map(drop).expect_err(expected);
        let expected = if cfg!(feature = "bulk") {
            expected
        } else {
            "add the feature `kafka-bulk`"
        };
        assert!(refused.contains(expected), "{refused}");
    }

    #[test]
    fn what_it_cannot_do_is_refused_by_name() {
        let mut tls = connection();
        tls.security.protocol = SecurityProtocol::Ssl;
        check(&tls, "`security.protocol = \"ssl\"`");
        let mut tokens = connection();
        tokens.security.protocol = SecurityProtocol::SaslPlaintext;
        tokens.security.mechanism = Some(SaslMechanism::OauthBearer);
        check(&tokens, "OAUTHBEARER");
        let mut compressed = connection();
        compressed.producer.wire_compression = WireCompression::Zstd;
        check(&compressed, "`producer.wire_compression = \"zstd\"`");
    }

    #[test]
    fn who_does_not_ask_for_it_has_none() {
        let librdkafka = BulkSettings::of(&ConnectionSettings::default(), "c");
        assert!(librdkafka.is_ok_and(|bulk| bulk.is_none()));
        assert_eq!(
            BulkSettings::of(&connection(), "c").is_ok(),
            cfg!(feature = "bulk")
        );
    }
}
