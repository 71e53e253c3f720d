//! Certificates and passwords that are replaced on disk are used without a restart of the process, also
//! when the old ones are worth nothing any more.

use std::fs;
use std::path::{Path, PathBuf};

use athomic_rig::{Cluster, Listener, Spec, Tool};

use crate::app::{Client, SOON, publish};
use crate::broker::listener;
use crate::logs;
use crate::pki::{Authority, Identity};

/// Files as both sides read them, to be replaced.
struct Installed {
    server: Identity,
    client: Identity,
    trust: PathBuf,
}

impl Installed {
    fn at(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let identity = |name: &str| Identity {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
            bundle: folder.join(format!("{name}.bundle.pem")),
        };
        Self {
            server: identity("server"),
            client: identity("client"),
            trust: folder.join("trust.pem"),
        }
    }

    /// Replace all files by those of an authority, one after the other.
    fn replace(&self, authority: &Authority) {
        let server = authority.issue("server", &["127.0.0.1"]);
        let client = authority.issue("client", &[]);
        for (new, old) in [(&server, &self.server), (&client, &self.client)] {
            install(&new.certificate, &old.certificate);
            install(&new.key, &old.key);
            install(&new.bundle, &old.bundle);
        }
        install(&authority.file(), &self.trust);
    }
}

/// Put a file in the place of another at once, as everything does that rotates certificates.
fn install(new: &Path, old: &Path) {
    let beside = old.with_extension("new");
    fs::copy(new, &beside).expect("copied");
    fs::rename(beside, old).expect("replaced");
}

async fn goes_on_with_new_certificates(protocol: &str) {
    logs::keep();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("security-rotated-{protocol}"));
    let installed = Installed::at(&folder.join("installed"));
    installed.replace(&Authority::new(&folder.join("old"), "old"));
    let mutual = listener("MUTUAL", "SSL", &installed.server, &installed.trust)
        .property("ssl.client.auth", "required");
    let Some(cluster) = Cluster::start(Spec::new(folder.join("cluster")).listener(mutual)).await else {
        return;
    };
    let topic = "rotated";
    let create = ["--create", "--topic", topic, "--partitions", "2"];
    cluster
        .tools()
        .run(Tool::Topics, &cluster.bootstrap(), &create)
        .await;
    let client = Client::on(&cluster.bootstrap_of("MUTUAL"), topic, "ssl")
        .file("ca_file", &installed.trust)
        .identity(&installed.client)
        .with("integration.messaging.consumer.group_protocol", protocol)
        .with("integration.messaging.consumer.commit_interval_ms", 200);
    let (app, mut orders) = client.build();
    let app = app.start().await.expect("it starts");
    for order in 0..10 {
        publish(&app, topic, order).await;
        assert_eq!(
            tokio::time::timeout(SOON, orders.recv()).await.expect("in time"),
            Some(order)
        );
    }

    installed.replace(&Authority::new(&folder.join("new"), "new"));
    let node = cluster.node(1);
    node.terminate().await;
    node.start().await;
    node.wait_until_ready().await;
    let mut seen = Vec::new();
    for order in 10..20 {
        // What the old certificates cannot be sent with any more goes out with the new ones.
        publish(&app, topic, order).await;
        while !seen.contains(&order) {
            let next = tokio::time::timeout(2 * SOON, orders.recv()).await;
            seen.extend(next.expect("it goes on by itself"));
        }
    }
    let repeats = seen.len() - 10;
    println!("{protocol}: {repeats} repeats");
    app.stop().await;
    cluster.stop().await;
}

/// A user of the broker whose password is changed.
const USER: &str = "carol";

async fn change_password(cluster: &Cluster, new: &str) {
    let set = format!("SCRAM-SHA-256=[password={new}]");
    let of_user = ["--entity-type", "users", "--entity-name", USER];
    let arguments = [&["--alter", "--add-config", &set], &of_user[..]].concat();
    cluster
        .tools()
        .run(Tool::Configs, &cluster.bootstrap(), &arguments)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_at_the_broker_and_in_its_file() {
    logs::keep();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("security-password");
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let listener = Listener::new("SCRAM", "SASL_PLAINTEXT")
        .property("sasl.enabled.mechanisms", "SCRAM-SHA-256")
        .property("scram-sha-256.sasl.jaas.config", scram);
    let Some(cluster) = Cluster::start(Spec::new(folder.join("cluster")).listener(listener)).await else {
        return;
    };
    let (topic, file) = ("passwords", folder.join("password"));
    let create = ["--create", "--topic", topic, "--partitions", "1"];
    let tools = cluster.tools();
    tools.run(Tool::Topics, &cluster.bootstrap(), &create).await;
    change_password(&cluster, "the-old-one").await;
    fs::write(&file, "the-old-one\n").expect("written");
    let client = Client::on(&cluster.bootstrap_of("SCRAM"), topic, "sasl_plaintext")
        .set("mechanism", "SCRAM-SHA-256")
        .set("username", USER)
        .password_file(&file);
    let (app, mut orders) = client.build();
    let app = app.start().await.expect("it starts");
    for order in 0..3 {
        publish(&app, topic, order).await;
        let next = tokio::time::timeout(SOON, orders.recv()).await;
        assert_eq!(next.expect("in time"), Some(order));
    }

    change_password(&cluster, "the-new-one").await;
    let beside = file.with_extension("new");
    fs::write(&beside, "the-new-one\n").expect("written");
    fs::rename(beside, &file).expect("replaced");
    // All connections are made anew, by which time the old password is worth nothing.
    cluster.node(1).restart().await;
    for order in 3..6 {
        publish(&app, topic, order).await;
        let next = tokio::time::timeout(2 * SOON, async {
            // What was not committed when the broker went comes again.
            while orders.recv().await.expect("it runs") != order {}
        });
        next.await.expect("it goes on by itself");
    }
    app.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_classic_protocol() {
    goes_on_with_new_certificates("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_consumer_protocol() {
    goes_on_with_new_certificates("consumer").await;
}
