//! The broker that the tests share: a listener for each way to come in, and ACLs.

use std::path::{Path, PathBuf};

use athomic_rig::{Cluster, Listener, Spec, Tool, unique};
use tokio::sync::OnceCell;

use crate::logs;
use crate::pki::{Authority, Identity};

/// What no log, error or description may show.
pub(crate) const PASSWORD: &str = "canary-of-the-password";

/// The broker, and what a client needs to come in.
pub(crate) struct Broker {
    pub(crate) cluster: Cluster,
    pub(crate) authority: Authority,
    pub(crate) stranger: Authority,
    pub(crate) user: Identity,
    pub(crate) expired: Identity,
}

/// Started by the first test that asks, and ended with the test program.
static SHARED: OnceCell<Option<Broker>> = OnceCell::const_new();

/// Return the shared broker; `None` where there are no jars.
pub(crate) async fn shared() -> Option<&'static Broker> {
    logs::keep();
    SHARED.get_or_init(Broker::start).await.as_ref()
}

impl Broker {
    async fn start() -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("security");
        let certificates = folder.join("certificates");
        let authority = Authority::new(&certificates, "authority");
        let stranger = Authority::new(&certificates, "stranger");
        let server = authority.issue("server", &["127.0.0.1"]);
        let elsewhere = authority.issue("elsewhere", &["elsewhere.example.org"]);
        let outdated = authority.issue_expired("outdated", &["127.0.0.1"]);
        let trust = authority.file();
        let tls = |name, protocol, identity: &Identity| listener(name, protocol, identity, &trust);
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let plain = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_alice=\"{PASSWORD}\" user_bob=\"{PASSWORD}\";"
        );
        let oauth = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\";";
        let spec = Spec::new(folder.join("cluster"))
            .listener(tls("TLS", "SSL", &server))
            .listener(tls("MUTUAL", "SSL", &server).property("ssl.client.auth", "required"))
            .listener(tls("ELSEWHERE", "SSL", &elsewhere))
            .listener(tls("OUTDATED", "SSL", &outdated))
            .listener(
                tls("PASSWORD", "SASL_SSL", &server)
                    .property("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")
                    .property("plain.sasl.jaas.config", plain)
                    .property("scram-sha-256.sasl.jaas.config", scram)
                    .property("scram-sha-512.sasl.jaas.config", scram),
            )
            .listener(
                tls("TOKEN", "SASL_SSL", &server)
                    .property("sasl.enabled.mechanisms", "OAUTHBEARER")
                    .property("oauthbearer.sasl.jaas.config", oauth),
            )
            .property(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            );
        let spec = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
            .into_iter()
            .fold(spec, |spec, mechanism| {
                let user = format!("{mechanism}=[name=alice,password={PASSWORD}]");
                spec.format_argument("--add-scram").format_argument(user)
            });
        Some(Self {
            cluster: Cluster::start(spec).await?,
            user: authority.issue("user", &[]),
            expired: authority.issue_expired("expired", &[]),
            authority,
            stranger,
        })
    }

    /// Make a topic that nobody else uses; as everybody else, it is for super users alone at first.
    pub(crate) async fn topic(&self, name: &str) -> String {
        let topic = unique(name);
        self.tool(Tool::Topics, &["--create", "--topic", &topic]).await;
        topic
    }

    /// Allow operations: `--topic`, `--group`, or what else `kafka-acls` takes.
    pub(crate) async fn allow(&self, user: &str, operations: &[&str], resource: &[&str]) {
        self.acl("--add", user, operations, resource).await;
    }

    /// Take back what was allowed, as it was said.
    pub(crate) async fn forbid(&self, user: &str, operations: &[&str], resource: &[&str]) {
        self.acl("--remove", user, operations, resource).await;
    }

    /// Say whether a group has committed anything.
    pub(crate) async fn has_committed(&self, group: &str) -> bool {
        let arguments = ["--describe", "--group", group];
        let described = self.tool(Tool::ConsumerGroups, &arguments).await;
        // GROUP TOPIC PARTITION CURRENT-OFFSET ..., where an offset that is not there is a dash.
        let offset = |row: &str| row.split_whitespace().nth(3)?.parse::<u64>().ok();
        described.lines().filter_map(offset).any(|offset| offset > 0)
    }

    async fn acl(&self, change: &str, user: &str, operations: &[&str], resource: &[&str]) {
        let user = format!("User:{user}");
        let mut arguments = vec![change, "--force", "--allow-principal", &user];
        arguments.extend(operations.iter().flat_map(|operation| ["--operation", operation]));
        arguments.extend(resource);
        self.tool(Tool::Acls, &arguments).await;
    }

    async fn tool(&self, tool: Tool, arguments: &[&str]) -> String {
        self.cluster
            .tools()
            .run(tool, &self.cluster.bootstrap(), arguments)
            .await
    }
}

/// Describe a listener that shows a certificate and trusts an authority.
pub(crate) fn listener(name: &str, protocol: &'static str, identity: &Identity, trust: &Path) -> Listener {
    Listener::new(name, protocol)
        .property("ssl.keystore.type", "PEM")
        .property("ssl.keystore.location", identity.bundle.display().to_string())
        .property("ssl.truststore.type", "PEM")
        .property("ssl.truststore.location", trust.display().to_string())
}
