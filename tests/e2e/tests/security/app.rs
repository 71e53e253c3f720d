//! An application with one handler that consumes over a listener.

use std::path::Path;
use std::time::Duration;

use athomic::handler::register::subscribe;
use athomic::settings::Loader;
use athomic::{App, RunningApp};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::broker::Broker;
use crate::pki::Identity;

/// How long anything may take that has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// What errors call the handler.
pub(crate) const HANDLER: &str = "shop::on_order";
const SECURITY: &str = "integration.messaging.security";

/// What an application is told about its connection, to be changed by each test.
pub(crate) struct Client {
    loader: Loader,
    topic: String,
    group: String,
}

impl Client {
    /// Come in by a listener, trusting the broker's authority.
    pub(crate) fn new(broker: &Broker, listener: &str, topic: &str, protocol: &str) -> Self {
        Self::on(&broker.cluster.bootstrap_of(listener), topic, protocol)
            .file("ca_file", &broker.authority.file())
    }

    /// Come in at an address.
    pub(crate) fn on(server: &str, topic: &str, protocol: &str) -> Self {
        let servers = vec![server.to_owned()];
        let loader = athomic::settings::Settings::loader()
            .environment([("", ""); 0])
            .text("test.toml", SETTINGS)
            .set("integration.messaging.consumer.bootstrap_servers", servers);
        let client = Self {
            loader,
            topic: topic.to_owned(),
            group: topic.to_owned(),
        };
        client.set("protocol", protocol)
    }

    /// Set a key of `security`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.loader = self.loader.set(format!("{SECURITY}.{key}"), value);
        self
    }

    /// Say in which file the password is.
    pub(crate) fn password_file(mut self, path: &Path) -> Self {
        let text = format!(
            "[{SECURITY}]\npassword = {{ file = {:?} }}",
            path.display().to_string()
        );
        self.loader = self.loader.text("password.toml", text);
        self
    }

    pub(crate) fn file(self, key: &str, path: &Path) -> Self {
        self.set(key, &path.display().to_string())
    }

    /// Set any key.
    pub(crate) fn with(mut self, key: &str, value: impl Into<athomic::settings::SettingValue>) -> Self {
        self.loader = self.loader.set(key, value);
        self
    }

    /// Show a certificate.
    pub(crate) fn identity(self, identity: &Identity) -> Self {
        self.file("certificate_file", &identity.certificate)
            .file("key_file", &identity.key)
    }

    /// Use a SASL mechanism with a password.
    pub(crate) fn sasl(self, mechanism: &str, user: &str, password: &str) -> Self {
        self.set("mechanism", mechanism)
            .set("username", user)
            .set("password", password)
    }

    /// Make the application.
    pub(crate) fn build(self) -> (App, UnboundedReceiver<u32>) {
        let (seen, orders) = unbounded_channel();
        let handler = subscribe(self.topic)
            .group_id(self.group)
            .handler_id(HANDLER)
            .handler(move |order: u32| {
                let seen = seen.clone();
                async move { seen.send(order) }
            });
        let loader = self.loader;
        let app = App::builder()
            .loader(move |_defaults| loader)
            .without_discovery()
            .register(handler)
            .build();
        (app.expect("an application"), orders)
    }

    /// Publish a message, have it consumed, and stop.
    pub(crate) async fn works(self) {
        let topic = self.topic.clone();
        let (app, mut orders) = self.build();
        let app = app.start().await.expect("it starts");
        publish(&app, &topic, 42).await;
        let order = tokio::time::timeout(SOON, orders.recv()).await;
        assert_eq!(order.expect("in time"), Some(42));
        app.stop().await;
    }

    /// Run until it ends by itself; return the error with its causes.
    pub(crate) async fn fails(self) -> String {
        let (app, _orders) = self.build();
        let ended = tokio::time::timeout(SOON, app.run()).await;
        let error = ended
            .expect("it ends within the time for starting")
            .expect_err("it fails");
        chain(&error)
    }
}

pub(crate) async fn publish(app: &RunningApp, topic: &str, order: u32) {
    app.publisher()
        .publish(topic, &order)
        .await
        .expect("acknowledged");
}

/// Write an error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

const SETTINGS: &str = r#"
[integration.messaging.provider]
backend = "kafka"

[lifecycle]
startup_timeout_seconds = 20
"#;
