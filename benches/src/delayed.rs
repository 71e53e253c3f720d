//! Delayed messages: how many the republisher passes on, and how late they arrive.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use athomic::App;
use athomic::app::AppBuilder;
use athomic::handler::Meta;
use athomic::handler::register::subscribe;
use athomic::publisher::NewMessage;

use crate::statistics::quantile;
use crate::topic;

/// How many partitions each topic has.
const PARTITIONS: i32 = 4;
/// How many messages go together.
const BATCH: usize = 1_000;
/// What a payload has beside its due time.
const PADDING: usize = 180;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Messages that are all due when the republisher starts.
    Due,
    /// The same with `producer.client = "rskafka"`.
    DueInBulk,
    /// Messages that wait as long as their bucket: `kafka_topic_delay_strategy`.
    Topic,
    /// Delays in no order, through two buckets: `kafka_cascade_delay_strategy`.
    Cascade,
    /// Messages that are all due when the republisher starts, in Redis: `redis_sorted_set`.
    DueInRedis,
    /// Delays in no order, in Redis.
    Redis,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Due,
        Self::DueInBulk,
        Self::DueInRedis,
        Self::Topic,
        Self::Cascade,
        Self::Redis,
    ];

    /// Return the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::DueInBulk => "due-in-bulk",
            Self::Topic => "topic",
            Self::Cascade => "cascade",
            Self::DueInRedis => "due-in-redis",
            Self::Redis => "redis",
        }
    }

    /// Return how many messages there are.
    #[must_use]
    pub const fn messages(self) -> usize {
        match self {
            Self::Due | Self::DueInBulk | Self::DueInRedis => 200_000,
            Self::Topic | Self::Cascade | Self::Redis => 5_000,
        }
    }

    fn buckets(self) -> &'static [u32] {
        match self {
            Self::Due | Self::DueInBulk => &[1],
            Self::Topic => &[5],
            Self::Cascade => &[1, 4],
            Self::DueInRedis | Self::Redis => &[],
        }
    }

    fn delay(self, number: usize) -> Duration {
        match self {
            Self::Due | Self::DueInBulk | Self::DueInRedis => Duration::from_secs(1),
            Self::Topic => Duration::from_secs(5),
            // From 3 to 15 s; a prime spreads them out.
            Self::Cascade | Self::Redis => Duration::from_millis(3_000 + (number as u64 * 7_919) % 12_000),
        }
    }

    /// Measure it.
    ///
    /// # Errors
    /// The broker does not take part.
    pub fn run(self, bootstrap: &str, redis: &str) -> Result<Arrivals> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let stage = Stage::new(self, bootstrap, redis)?;
        runtime.block_on(async {
            match self {
                Self::Due | Self::DueInBulk | Self::DueInRedis => stage.all_due().await,
                Self::Topic | Self::Cascade | Self::Redis => stage.as_they_come().await,
            }
        })
    }
}

/// When messages were due and arrived, in milliseconds since the Unix epoch by their records' times.
#[derive(Debug, Clone)]
pub struct Arrivals(Vec<(i64, i64)>);

impl Arrivals {
    /// Return how many arrived in a second, from the first to the last.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let arrived = || self.0.iter().map(|(_, arrived)| *arrived);
        let (first, last) = (arrived().min().unwrap_or(0), arrived().max().unwrap_or(0));
        self.0.len() as f64 / ((last - first).max(1) as f64 / 1e3)
    }

    /// Return how many milliseconds such a part of them was late at most.
    #[must_use]
    pub fn late(&self, part: f64) -> f64 {
        let late: Vec<f64> = self
            .0
            .iter()
            .map(|(due, arrived)| (arrived - due) as f64)
            .collect();
        quantile(&late, part)
    }
}

/// Topics of a run's own.
struct Stage<'a> {
    case: Case,
    bootstrap: &'a str,
    redis: &'a str,
    topic: String,
    arrived: Arc<Mutex<Vec<(i64, i64)>>>,
}

impl<'a> Stage<'a> {
    fn new(case: Case, bootstrap: &'a str, redis: &'a str) -> Result<Self> {
        let topic = format!("athomic-bench.delayed.{}.{}", case.name(), millis());
        let stage = Self {
            case,
            bootstrap,
            redis,
            topic,
            arrived: Arc::default(),
        };
        topic::create_if_missing(bootstrap, &stage.topic, PARTITIONS)?;
        for bucket in case.buckets() {
            topic::create_if_missing(bootstrap, &stage.bucket(*bucket), PARTITIONS)?;
        }
        Ok(stage)
    }

    fn bucket(&self, seconds: u32) -> String {
        format!("{}.{seconds}s", self.topic)
    }

    fn app(&self, republishes: bool) -> AppBuilder {
        let buckets = self.case.buckets().iter();
        let buckets: Vec<_> = buckets
            .map(|seconds| format!("{seconds} = '{}'", self.bucket(*seconds)))
            .collect();
        let strategy = match self.case {
            Case::Cascade => "kafka_cascade_delay_strategy",
            Case::DueInRedis | Case::Redis => "redis_sorted_set",
            _ => "kafka_topic_delay_strategy",
        };
        let client = match self.case {
            Case::DueInBulk => "rskafka",
            _ => "librdkafka",
        };
        let settings = format!(
            "[integration.messaging]\nprovider.backend = 'kafka'\nproducer.client = '{client}'\n\
             consumer.bootstrap_servers = ['{}']\n[integration.messaging.republisher]\nenabled = {republishes}\n\
             delay_strategy_backend = '{strategy}'\nconsumer.group_id = '{}'\ndelay_topics = {{ {} }}\n{}",
            self.bootstrap,
            self.topic,
            buckets.join(", "),
            self.store()
        );
        App::builder().without_discovery().loader(move |loader| {
            let none: [(&str, &str); 0] = [];
            loader.text("bench.toml", settings).environment(none)
        })
    }

    /// Say where messages wait that do so in Redis, and what becomes of those that are given up.
    fn store(&self) -> String {
        if !matches!(self.case, Case::DueInRedis | Case::Redis) {
            return String::new();
        }
        format!(
            "[integration.messaging.dlq]\nstrategy = 'keep'\ntopic = '{0}.dlq'\n\
             [integration.messaging.topics]\nauto_create = 'always'\n\
             [database.kvstore.ordering.provider]\nbackend = 'redis'\nuri = '{1}'\n",
            self.topic, self.redis
        )
    }

    /// Add a handler that takes note of what arrives.
    fn gather(&self, app: AppBuilder) -> AppBuilder {
        let arrived = Arc::clone(&self.arrived);
        let handler = subscribe(&*self.topic).group_id(&*self.topic);
        app.register(
            handler.handler(move |(due, _padding): (i64, String), meta: Meta| {
                let at = meta.timestamp().map_or(0, |time| time.as_millis());
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.push((due, at));
                std::future::ready(())
            }),
        )
    }

    /// Publish everything; each payload says when its message is due.
    async fn publish(&self, publisher: &athomic::publisher::Publisher) -> Result<()> {
        let padding = "x".repeat(PADDING);
        for start in (0..self.case.messages()).step_by(BATCH) {
            let end = self.case.messages().min(start + BATCH);
            let now = millis();
            let message = |number: usize| {
                let delay = self.case.delay(number);
                let due = now + delay.as_millis() as i64;
                NewMessage::json(&*self.topic, &(due, &padding))
                    .key(number.to_string())
                    .delay(delay)
            };
            for result in publisher.publish_batch((start..end).map(message)).await {
                result?;
            }
        }
        Ok(())
    }

    async fn all_due(&self) -> Result<Arrivals> {
        let publishing = self.app(false).build()?.start().await?;
        self.publish(&publishing.publisher()).await?;
        publishing.stop().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let app = self.gather(self.app(true)).build()?.start().await?;
        let arrivals = self.until_all_arrived().await;
        app.stop().await;
        arrivals
    }

    async fn as_they_come(&self) -> Result<Arrivals> {
        let app = self.gather(self.app(true)).build()?.start().await?;
        // Joining the group is no part of what is measured.
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.publish(&app.publisher()).await?;
        let arrivals = self.until_all_arrived().await;
        app.stop().await;
        arrivals
    }

    async fn until_all_arrived(&self) -> Result<Arrivals> {
        let begun = Instant::now();
        loop {
            let arrived = self
                .arrived
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if arrived.len() >= self.case.messages() {
                return Ok(Arrivals(arrived));
            }
            let count = arrived.len();
            ensure!(
                begun.elapsed() < PATIENCE,
                "only {count} messages arrived in time"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Return the case of a name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<Case> {
    let case = Case::ALL.into_iter().find(|case| case.name() == name);
    case.with_context(|| format!("there is no case `{name}`"))
}
