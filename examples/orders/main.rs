//! A small service: bills orders, ships what is paid, and counts. README.md beside it says how to run
//! and feed it.

mod bank;
mod handlers;

use std::io::IsTerminal;

use athomic::App;
use athomic::publisher::{PublishError, Publisher};
use athomic::transport::memory::BrokerControl;
use tracing_subscriber::EnvFilter;

use bank::Bank;
use handlers::{Order, PLACED};

#[tokio::main]
async fn main() -> athomic::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();

    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/orders/settings.toml");
    let app = App::builder()
        .settings_file(settings)
        .state(Bank::default())
        .build()?;
    if app.describe().backend == "memory" {
        tokio::spawn(feed(app.broker().control(), app.publisher()));
    }
    app.run().await?;
    Ok(())
}

/// Place a few orders: nobody outside this process can reach the embedded broker.
async fn feed(broker: BrokerControl, publisher: Publisher) -> Result<(), PublishError> {
    broker.create_topic(PLACED, 3);
    let orders = [("o-1", "ann", 1250), ("o-2", "ben", 0), ("o-3", "busy", 300)];
    for (id, customer, cents) in orders {
        let order = Order {
            id: id.to_owned(),
            customer: customer.to_owned(),
            cents,
        };
        publisher.publish(PLACED, &order).key(customer).await?;
    }
    Ok(())
}
