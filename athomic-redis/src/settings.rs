//! A URI → what the client needs.
//!
//! ```text
//! redis://[user:password@]host[:6379][/database]          one server
//! redis-cluster://host:port[?node=host:port ...]           a cluster, by some of its nodes
//! redis-sentinel://host[:26379][/database]?sentinelServiceName=name[&node=host:port ...]
//!                 [&sentinelUsername=user][&sentinelPassword=password]
//! ```
//!
//! With TLS the scheme begins with `rediss`, and `ca_file`, `cert_file` and `key_file` may name files with
//! certificates in PEM.

use athomic_core::store::{KeyValueSettings, StoreError};
use fred::types::config::Config;

use crate::tls::{self, Files};

/// Parameters that the client knows.
const PARAMETERS: [&str; 4] = [
    "node",
    "sentinelServiceName",
    "sentinelUsername",
    "sentinelPassword",
];

/// Where to connect to, and as whom.
#[derive(Clone)]
pub(crate) struct Target {
    /// The store's name in errors.
    pub(crate) name: String,
    pub(crate) config: Config,
}

impl Target {
    /// Read the settings of a store.
    pub(crate) fn new(settings: &KeyValueSettings) -> Result<Self, StoreError> {
        let name = settings.display_name();
        match config(settings.uri.expose()) {
            Ok(config) => Ok(Self { name, config }),
            Err(reason) => Err(StoreError::Unfit {
                store: name,
                reason: format!("its `uri` cannot be used: {reason}"),
                remedy:
                    "write `redis://`, `redis-cluster://` or `redis-sentinel://`, with `rediss` for TLS, \
                         and `user:password@host:port`; characters with a meaning in a URI as `%XX`"
                        .to_owned(),
            }),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.config.server.is_clustered()
    }
}

/// Read a URI. No part of it that may be secret is in the error.
fn config(uri: &str) -> Result<Config, String> {
    let (scheme, rest) = uri.split_once("://").ok_or("it has no scheme")?;
    let (kind, deployment) = scheme
        .split_once('-')
        .map_or((scheme, ""), |(kind, deployment)| (kind, deployment));
    let is_tls = match kind {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(format!("its scheme is `{scheme}`")),
    };
    let suffix = match deployment {
        "" => "",
        "cluster" => "-cluster",
        "sentinel" => "-sentinel",
        _ => return Err(format!("its scheme is `{scheme}`")),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (query, files) = parameters(query)?;
    if !is_tls && files != Files::default() {
        return Err("it names certificates and its scheme is without TLS".to_owned());
    }
    // Without TLS, since the client would take whatever provider the process has.
    let plain = format!("redis{suffix}://{place}?{query}");
    let mut config = Config::from_url(&plain).map_err(|error| error.details().to_owned())?;
    if is_tls {
        config.tls = Some(tls::connector(&files)?);
    }
    Ok(config)
}

/// Tell the client's parameters from ours.
fn parameters(query: &str) -> Result<(String, Files), String> {
    let (mut theirs, mut files) = (Vec::new(), Files::default());
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let file = match name {
            "ca_file" => &mut files.authority,
            "cert_file" => &mut files.certificate,
            "key_file" => &mut files.key,
            _ if PARAMETERS.contains(&name) => {
                theirs.push(parameter);
                continue;
            }
            _ => return Err(format!("its parameter `{name}` is not known")),
        };
        *file = Some(value.to_owned());
    }
    Ok((theirs.join("&"), files))
}

#[cfg(test)]
mod tests {
    use fred::types::config::ServerConfig;

    use super::*;

    fn settings(uri: &str) -> KeyValueSettings {
        KeyValueSettings {
            name: "ordering".into(),
            namespace: "shop".into(),
            backend: "redis".into(),
            uri: uri.into(),
        }
    }

    fn target(uri: &str) -> Target {
        Target::new(&settings(uri)).unwrap_or_else(|error| panic!("{uri}: {error}"))
    }

    #[test]
    fn each_kind_of_deployment_is_known() {
        assert!(matches!(
            target("redis://h").config.server,
            ServerConfig::Centralized { .. }
        ));
        let cluster = target("redis-cluster://h:1?node=i:2").config.server;
        assert!(matches!(cluster, ServerConfig::Clustered { hosts, .. } if hosts.len() == 2));
        let sentinel = target("redis-sentinel://h?sentinelServiceName=main")
            .config
            .server;
        assert!(matches!(sentinel, ServerConfig::Sentinel { service_name, .. } if service_name == "main"));
    }

    #[test]
    fn user_password_and_database_are_taken() {
        let config = target("redis://us%2Fer:pass%40word@h:7000/3").config;
        assert_eq!(config.username.as_deref(), Some("us/er"));
        assert_eq!(config.password.as_deref(), Some("pass@word"));
        assert_eq!(config.database, Some(3));
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_no_secret_is_told() {
        let cases = [
            ("redis//:canary@h", "it has no scheme"),
            ("http://user:canary@h", "its scheme is `http`"),
            ("redis-ring://user:canary@h", "its scheme is `redis-ring`"),
            ("redis://user:canary@h?password=canary", "`password` is not known"),
            ("redis://user:canary@h?ca_file=canary", "without tls"),
            ("redis-sentinel://user:canary@h", "sentinel service name"),
            ("rediss://user:canary@h?cert_file=x", "belong together"),
            ("redis://user:canary@h:port", "port"),
        ];
        for (uri, expected) in cases {
            let error = Target::new(&settings(uri)).err().expect(uri);
            let text = format!("{error} {error:?}");
            assert!(text.to_lowercase().contains(expected), "{uri}: {text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
