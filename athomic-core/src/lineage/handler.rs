//! What is told of one handler: its run, and with a finer granularity each execution.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::event::{Dataset, EventType, FacetWriter, Facets, Job, LineageEvent, Run};
use super::reporter::Reporter;
use crate::context::LineageRun;
use crate::message::{Offset, RecordBatch, TopicPartition};
use crate::outcome::{BatchOutcome, Outcome};
use crate::settings::LineageGranularity;

tokio::task_local! {
    /// What the execution that runs here has written.
    static WRITTEN: Mutex<Tallies>;
}

/// How much was read or written, by topic.
type Tallies = BTreeMap<String, Tally>;

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    messages: u64,
    bytes: u64,
}

/// Tells what one handler reads and writes.
pub(crate) struct HandlerLineage {
    reporter: Arc<Reporter>,
    facets: FacetWriter,
    job: Job,
    /// Where the handler's topics are.
    namespace: String,
    topics: Vec<String>,
    group: String,
    granularity: LineageGranularity,
    state: Mutex<State>,
}

/// The run that is under way.
#[derive(Debug, Default)]
struct State {
    run: Option<Arc<str>>,
    read: Tallies,
    written: Tallies,
}

/// What a handler's lineage is made of.
#[derive(Debug)]
pub(crate) struct HandlerParts {
    /// Whose job the handler is.
    pub(crate) job_namespace: String,
    pub(crate) handler_id: String,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    /// Where the topics are, as OpenLineage names the place.
    pub(crate) namespace: String,
    pub(crate) is_batch: bool,
}

impl HandlerLineage {
    pub(super) fn new(reporter: &Arc<Reporter>, parts: HandlerParts) -> Self {
        let settings = reporter.settings();
        let facets = FacetWriter {
            producer: settings.producer_uri.clone(),
        };
        let granularity = match (settings.granularity, parts.is_batch) {
            (LineageGranularity::Batch, false) => LineageGranularity::Run,
            (LineageGranularity::Message, true) => LineageGranularity::Batch,
            (granularity, _) => granularity,
        };
        Self {
            job: Job {
                namespace: parts.job_namespace,
                name: parts.handler_id,
                facets: Facets::from([facets.job_type(settings.interval.as_secs().max(1))]),
            },
            reporter: Arc::clone(reporter),
            facets,
            namespace: parts.namespace,
            topics: parts.topics,
            group: parts.group,
            granularity,
            state: Mutex::default(),
        }
    }

    /// Begin a run; it is over when what is returned is [finished](HandlerRun::finish), and cut off when
    /// that is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> HandlerRun {
        *self.state() = State {
            run: Some(new_id()),
            ..State::default()
        };
        self.tell(EventType::Start, None);
        HandlerRun {
            lineage: Some(Arc::clone(self)),
        }
    }

    /// Tell how far the run is, if there is one.
    pub(super) fn go_on(&self) {
        self.tell(EventType::Running, None);
    }

    /// Take note of what was fetched.
    pub(crate) fn read(&self, batch: &dyn RecordBatch) {
        let bytes = (0..batch.len()).map(|index| batch.payload(index).map_or(0, <[u8]>::len));
        let (messages, bytes) = (batch.len() as u64, bytes.sum::<usize>() as u64);
        add(&mut self.state().read, &batch.partition().topic, messages, bytes);
    }

    /// Take note of a message that was published for the handler.
    pub(crate) fn wrote(&self, topic: &str, bytes: usize) {
        let bytes = bytes as u64;
        add(&mut self.state().written, topic, 1, bytes);
        let _not_in_an_execution = WRITTEN.try_with(|written| add(&mut locked(written), topic, 1, bytes));
    }

    /// Say whether each execution is a run of its own.
    pub(crate) fn follows_executions(&self) -> bool {
        self.granularity != LineageGranularity::Run
    }

    /// Run the handler once, as a run of its own; `origin` is the run that its message comes of, if it says so.
    pub(crate) async fn execution<T: Finished, E: Finished>(
        &self,
        partition: &TopicPartition,
        offset: Offset,
        origin: Option<LineageRun>,
        run: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let execution = Execution {
            run_id: new_id(),
            parent: self.state().run.clone(),
            origin,
            partition,
            offset,
        };
        self.tell_of(&execution, EventType::Start, &Tallies::new(), None);
        WRITTEN
            .scope(Mutex::default(), async {
                let result = run.await;
                let fault = match &result {
                    Ok(ended) => ended.fault(),
                    Err(failure) => failure.fault(),
                };
                let event = if fault.is_some() {
                    EventType::Fail
                } else {
                    EventType::Complete
                };
                WRITTEN.with(|written| self.tell_of(&execution, event, &locked(written), fault.as_deref()));
                result
            })
            .await
    }

    fn tell(&self, event: EventType, fault: Option<&str>) {
        let state = self.state();
        let Some(run_id) = state.run.clone() else {
            return;
        };
        let inputs = self.topics.iter().map(|topic| {
            let tally = state.read.get(topic).copied().unwrap_or_default();
            Dataset {
                input_facets: Facets::from([self.facets.read(tally.messages, tally.bytes)]),
                ..Dataset::topic(&self.namespace, topic)
            }
        });
        let (inputs, outputs) = (inputs.collect(), self.outputs(&state.written));
        drop(state);
        let mut facets = Facets::from([
            self.facets.engine(),
            self.facets
                .tags(&[("messaging.consumer.group.name", &self.group)]),
        ]);
        facets.extend(fault.map(|fault| self.facets.error(fault)));
        self.report(
            event,
            Run {
                run_id: run_id.to_string(),
                facets,
            },
            self.job.clone(),
            inputs,
            outputs,
        );
    }

    fn tell_of(&self, execution: &Execution<'_>, event: EventType, written: &Tallies, fault: Option<&str>) {
        let mut facets = Facets::from([
            self.facets.engine(),
            self.facets.tags(&[
                ("messaging.consumer.group.name", &self.group),
                (
                    "messaging.destination.partition.id",
                    &execution.partition.partition.to_string(),
                ),
                ("messaging.kafka.offset", &execution.offset.to_string()),
            ]),
        ]);
        facets.extend(
            execution
                .parent
                .as_deref()
                .map(|run| self.facets.parent(run, &self.job, execution.origin.as_ref())),
        );
        facets.extend(fault.map(|fault| self.facets.error(fault)));
        let run = Run {
            run_id: execution.run_id.to_string(),
            facets,
        };
        let job = Job {
            name: format!("{}.{}", self.job.name, self.granularity),
            facets: Facets::new(),
            namespace: self.job.namespace.clone(),
        };
        let inputs = vec![Dataset::topic(&self.namespace, &execution.partition.topic)];
        self.report(event, run, job, inputs, self.outputs(written));
    }

    fn outputs(&self, written: &Tallies) -> Vec<Dataset> {
        let dataset = |(topic, tally): (&String, &Tally)| Dataset {
            output_facets: Facets::from([self.facets.written(tally.messages, tally.bytes)]),
            ..Dataset::topic(&self.namespace, topic)
        };
        written.iter().map(dataset).collect()
    }

    fn report(&self, event: EventType, run: Run, job: Job, inputs: Vec<Dataset>, outputs: Vec<Dataset>) {
        let now = self.reporter.now();
        let event = LineageEvent::new(now, event, &self.facets.producer, run, job, inputs, outputs);
        self.reporter.report(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl std::fmt::Debug for HandlerLineage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerLineage")
            .field("job", &self.job.name)
            .finish_non_exhaustive()
    }
}

/// One execution of a handler.
struct Execution<'a> {
    run_id: Arc<str>,
    /// The handler's run.
    parent: Option<Arc<str>>,
    /// The run that its message comes of.
    origin: Option<LineageRun>,
    partition: &'a TopicPartition,
    offset: Offset,
}

/// A handler's run that is under way.
#[derive(Debug)]
pub(crate) struct HandlerRun {
    /// None when its end is told.
    lineage: Option<Arc<HandlerLineage>>,
}

impl HandlerRun {
    /// Tell that the run is over, and why if it failed.
    pub(crate) fn finish(mut self, fault: Option<&str>) {
        let event = if fault.is_some() {
            EventType::Fail
        } else {
            EventType::Complete
        };
        self.end(event, fault);
    }

    fn end(&mut self, event: EventType, fault: Option<&str>) {
        if let Some(lineage) = self.lineage.take() {
            lineage.tell(event, fault);
            lineage.state().run = None;
        }
    }
}

impl Drop for HandlerRun {
    fn drop(&mut self) {
        self.end(EventType::Abort, None);
    }
}

/// What an execution can end with.
pub(crate) trait Finished {
    /// Say what went wrong, if anything did.
    fn fault(&self) -> Option<String>;
}

impl Finished for Outcome {
    fn fault(&self) -> Option<String> {
        match self {
            Self::Ack => None,
            Self::Retry { error, .. } | Self::DeadLetter { error } | Self::Ignore { error } => {
                Some(error.to_string())
            }
        }
    }
}

impl Finished for BatchOutcome {
    fn fault(&self) -> Option<String> {
        match self {
            Self::All(outcome) => outcome.fault(),
            Self::Each(outcomes) => {
                let mut faults = outcomes.iter().filter_map(Finished::fault);
                let first = faults.next()?;
                let others = faults.count();
                Some(format!(
                    "{} of {} messages failed, first: {first}",
                    others + 1,
                    outcomes.len()
                ))
            }
        }
    }
}

fn new_id() -> Arc<str> {
    Uuid::now_v7().to_string().into()
}

fn add(tallies: &mut Tallies, topic: &str, messages: u64, bytes: u64) {
    if !tallies.contains_key(topic) {
        tallies.insert(topic.to_owned(), Tally::default());
    }
    if let Some(tally) = tallies.get_mut(topic) {
        tally.messages += messages;
        tally.bytes += bytes;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
