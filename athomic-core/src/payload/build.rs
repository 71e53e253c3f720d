//! From the settings to pipelines: finds each step by its name, and says what is wrong with the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::check::PayloadCheck;
use super::compression::{self, NAME as COMPRESSION};
#[cfg(feature = "crypto")]
use super::crypto::KeyProvider;
use super::format::Format;
use super::parts::Parts;
use super::pipeline::{NamedStep, Pipeline};
#[cfg(feature = "schema-registry")]
use super::registry::SchemaRegistry;
use super::step::{DecodeLimits, Step};
use super::types::Reads;
use crate::handler::Priority;
use crate::handler::register::{HandlerDefinition, HandlerOptions};
use crate::nearest::nearest;
use crate::settings::{
    Fault, PayloadSettings, PipelineSettings, Problem, Settings, SettingsError, StepSettings, WireCompression,
};
use crate::telemetry::{StepTelemetry, Telemetry};

const SERIALIZER: &str = "serializer";
pub(super) const CRYPTO: &str = "crypto";
pub(super) const CLAIM_CHECK: &str = "claim_check";

/// Makes a step of its settings; `None` if they are wrong, and the faults say how.
type Factory = Arc<dyn Fn(&mut StepOptions<'_>) -> Option<Step> + Send + Sync>;

/// The steps that settings may name, but for the serializer.
#[derive(Clone, Default)]
pub(crate) struct PayloadSteps {
    factories: BTreeMap<String, Factory>,
    /// Where keys come from, if not from the settings.
    #[cfg(feature = "crypto")]
    pub(crate) keys: Option<Arc<dyn KeyProvider>>,
}

impl PayloadSteps {
    /// Add a step of the application's own, or replace one.
    pub(crate) fn register(
        &mut self,
        name: String,
        factory: impl Fn(&mut StepOptions<'_>) -> Option<Step> + Send + Sync + 'static,
    ) {
        self.factories.insert(name, Arc::new(factory));
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.factories.keys().map(String::as_str);
        [SERIALIZER, COMPRESSION, CRYPTO, CLAIM_CHECK]
            .into_iter()
            .chain(own)
    }
}

impl fmt::Debug for PayloadSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}

/// The settings of one step, for what makes it. Settings that it does not ask for are faults.
#[derive(Debug)]
pub struct StepOptions<'s> {
    settings: &'s StepSettings,
    asked: BTreeSet<&'s str>,
    faults: Vec<Fault>,
}

impl<'s> StepOptions<'s> {
    fn new(settings: &'s StepSettings) -> Self {
        Self {
            settings,
            asked: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Return a setting as it is written.
    pub fn text(&mut self, name: &'static str) -> Option<&'s str> {
        self.asked.insert(name);
        self.settings.settings.get(name).map(String::as_str)
    }

    /// Return a setting of another type, such as a number; the default if it is not set, or is wrong, which is
    /// a fault. `expected` says what it takes.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, expected: &str, default: T) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            self.refuse(name, format!("`{text}` is not {expected}"));
            default
        })
    }

    /// Return a whole number between two.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>, default: u64) -> u64 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.parsed(name, &expected, default);
        if range.contains(&number) {
            return number;
        }
        self.refuse(name, format!("`{number}` is not {expected}"));
        default
    }

    /// Say that a setting is wrong, and how to mend it.
    pub fn refuse(&mut self, name: &'static str, reason: impl Into<String>) {
        self.asked.insert(name);
        let problem = Problem::invalid(reason.into());
        self.faults.push(self.settings.fault_in(name, problem));
    }

    /// Refuse a word that is none of those that a setting takes.
    pub(super) fn refuse_word(&mut self, name: &'static str, word: &str, accepted: Vec<&'static str>) {
        let problem = Problem::UnknownValue {
            nearest: nearest(word, accepted.iter().copied()),
            value: word.to_owned(),
            accepted,
        };
        self.faults.push(self.settings.fault_in(name, problem));
    }

    /// Say that the program was built without the step.
    #[cfg(not(all(feature = "crypto", feature = "claim-check")))]
    pub(super) fn not_built_in(&mut self, step: &str, feature: &str) -> Option<Step> {
        let reason = format!(
            "this program was built without `{step}`; add the feature: `cargo add athomic --features {feature}`"
        );
        self.faults.push(self.settings.fault(Problem::invalid(reason)));
        self.asked
            .extend(self.settings.settings.keys().map(String::as_str));
        None
    }

    /// Return what was wrong, settings that nobody asked for included.
    fn finish(mut self) -> Vec<Fault> {
        let unknown = self.settings.settings.keys();
        for name in unknown.filter(|name| !self.asked.contains(name.as_str())) {
            let nearest = nearest(name, self.asked.iter().copied()).map(str::to_owned);
            let problem = Problem::UnknownKey { nearest };
            self.faults.push(self.settings.fault_in(name, problem));
        }
        self.faults
    }
}

/// The pipelines of an application, by topic.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    default: Arc<Pipeline>,
    topics: BTreeMap<String, Arc<Pipeline>>,
    /// What single handlers read by, whatever their topics say.
    handlers: BTreeMap<String, Arc<Pipeline>>,
    /// Who knows the schemas that payloads name, if the settings have one.
    #[cfg(feature = "schema-registry")]
    pub(crate) registry: Option<Arc<SchemaRegistry>>,
}

/// JSON alone.
impl Default for Payloads {
    fn default() -> Self {
        Self {
            default: Arc::new(plain(limits(&PayloadSettings::default()))),
            topics: BTreeMap::new(),
            handlers: BTreeMap::new(),
            #[cfg(feature = "schema-registry")]
            registry: None,
        }
    }
}

impl Payloads {
    /// Make all pipelines of the settings.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn new(
        settings: &Settings,
        steps: &PayloadSteps,
        telemetry: Option<&Arc<Telemetry>>,
    ) -> Result<Self, SettingsError> {
        let payload = &settings.messaging.payload;
        let (parts, faults) = Parts::new(settings, steps);
        let mut builder = Builder {
            steps,
            telemetry,
            plain: Pipeline {
                #[cfg(feature = "schema-registry")]
                registry: parts.registry.clone(),
                ..plain(limits(payload))
            },
            parts,
            wire_compression: wire_compression(settings),
            faults,
        };
        let default = payload
            .pipeline
            .as_ref()
            .map(|pipeline| builder.pipeline(pipeline));
        let mut topics = BTreeMap::new();
        for (topic, pipeline) in &payload.topics {
            builder.check_topic(topic, pipeline);
            topics.insert(topic.clone(), builder.pipeline(pipeline));
        }
        let mut handlers = BTreeMap::new();
        for tuning in &settings.messaging.handler_tuning {
            if let Some(pipeline) = &tuning.pipeline {
                handlers.insert(tuning.handler_id.clone(), builder.pipeline(pipeline));
            }
        }
        if !builder.faults.is_empty() {
            return Err(SettingsError::Invalid {
                faults: builder.faults,
            });
        }
        Ok(Self {
            default: default.unwrap_or_else(|| Arc::new(builder.plain)),
            topics,
            handlers,
            #[cfg(feature = "schema-registry")]
            registry: builder.parts.registry,
        })
    }

    /// Return what checks at the start whether the steps can do their part, if one of them needs anything.
    pub(crate) fn check(self: &Arc<Self>) -> Option<PayloadCheck> {
        let waits = self.pipelines().any(Pipeline::may_wait);
        waits.then(|| PayloadCheck(Arc::clone(self)))
    }

    /// Return all pipelines.
    pub(super) fn pipelines(&self) -> impl Iterator<Item = &Pipeline> {
        let listed = self.topics.values().chain(self.handlers.values());
        listed.chain([&self.default]).map(|pipeline| &**pipeline)
    }

    /// Return the pipeline of a topic; those of its priorities share one.
    pub(crate) fn of(&self, topic: &str) -> &Arc<Pipeline> {
        if self.topics.is_empty() {
            return &self.default;
        }
        let suffixes = [Priority::High, Priority::Low]
            .into_iter()
            .filter_map(Priority::suffix);
        let base = suffixes.filter_map(|suffix| topic.strip_suffix(suffix)).next();
        self.topics.get(base.unwrap_or(topic)).unwrap_or(&self.default)
    }

    /// Say that a handler's type cannot be read in a format that was chosen for it, and what to do.
    pub(crate) fn unreadable(&self, definition: &HandlerDefinition) -> Option<(String, String)> {
        let target = &definition.target_type;
        if let Err(wrong) = (definition.processor.payload().check)() {
            return Some((
                format!("it takes `{target}`: {wrong}"),
                "correct that type".to_owned(),
            ));
        }
        let tuned = self.handlers.get(&definition.handler_id);
        let chosen = tuned.map(|pipeline| pipeline.format).or(definition.options.codec);
        match (definition.processor.payload().reads, chosen) {
            (_, Some(chosen)) if !chosen.is_built_in() => Some((
                format!("it reads `{chosen}`, and this program was built without it"),
                format!("add the feature: `cargo add athomic --features {chosen}`"),
            )),
            (Reads::Only(format), Some(chosen)) if chosen != format => Some((
                format!("it takes `{target}`, which is read in `{format}`, and is told to read `{chosen}`"),
                format!("take out `codec`, or name `{format}`, in the attribute and in `handler_tuning`"),
            )),
            (Reads::Serde, _) => {
                let format = self.of_handler(definition).format_of_its_own()?;
                let (wrapper, needed) = format.wrapper();
                Some((
                    format!(
                        "it takes `{target}`, which has no form in the format `{format}` that it would read"
                    ),
                    format!("take a `{wrapper}` of a type that implements {needed}, or set another `codec`"),
                ))
            }
            _ => None,
        }
    }

    /// Return how a handler reads its topics.
    pub(crate) fn of_handler(&self, definition: &HandlerDefinition) -> HandlerPayloads {
        let HandlerOptions { codec, encrypted, .. } = definition.options;
        let own = match definition.processor.payload().reads {
            Reads::Only(format) => Some(format),
            Reads::Serde | Reads::Bytes => None,
        };
        let (read, codec) = match self.handlers.get(&definition.handler_id) {
            Some(tuned) => (HandlerPayloads::one(Arc::clone(tuned)), own),
            None => {
                let topics = definition.options.topics.iter();
                let pipelines = topics.map(|topic| (topic.as_str().into(), Arc::clone(self.of(topic))));
                (HandlerPayloads::by_topic(pipelines.collect()), own.or(codec))
            }
        };
        if codec.is_none() && !encrypted {
            return read;
        }
        read.changed(|pipeline| Pipeline {
            format: codec.unwrap_or(pipeline.format),
            // What a record says of itself does not change the handler's type.
            accepted: own.map_or_else(|| pipeline.accepted.clone(), |_| Vec::new()),
            encrypted_only: encrypted,
            ..pipeline.clone()
        })
    }
}

/// How one handler reads the topics that it consumes.
#[derive(Debug, Clone)]
pub struct HandlerPayloads {
    /// For the topics that are not listed.
    all: Arc<Pipeline>,
    /// For topics that differ from each other; empty for most handlers.
    topics: Arc<[(Arc<str>, Arc<Pipeline>)]>,
}

/// JSON alone.
impl Default for HandlerPayloads {
    fn default() -> Self {
        Self::one(Payloads::default().default)
    }
}

impl HandlerPayloads {
    /// Read all topics alike.
    pub(crate) fn one(pipeline: Arc<Pipeline>) -> Self {
        Self {
            all: pipeline,
            topics: Arc::default(),
        }
    }

    fn by_topic(topics: Vec<(Arc<str>, Arc<Pipeline>)>) -> Self {
        let first = topics.first().map(|(_, pipeline)| Arc::clone(pipeline));
        let Some(first) = first else {
            return Self::default();
        };
        if topics.iter().all(|(_, pipeline)| Arc::ptr_eq(pipeline, &first)) {
            return Self::one(first);
        }
        Self {
            all: first,
            topics: topics.into(),
        }
    }

    /// Read otherwise than the topics say.
    fn changed(self, change: impl Fn(&Pipeline) -> Pipeline) -> Self {
        let topics = self.topics.iter();
        Self {
            all: Arc::new(change(&self.all)),
            topics: topics
                .map(|(topic, pipeline)| (Arc::clone(topic), Arc::new(change(pipeline))))
                .collect(),
        }
    }

    /// Say whether something is read that was not encrypted, in spite of what the handler wants.
    pub(crate) fn is_open(&self) -> bool {
        let topics = self.topics.iter().map(|(_, pipeline)| pipeline);
        let mut pipelines = topics.chain([&self.all]);
        pipelines.any(|pipeline| pipeline.encrypted_only && !pipeline.has(CRYPTO))
    }

    /// Return a format among those that are read in which values of serde have no form.
    fn format_of_its_own(&self) -> Option<Format> {
        let topics = self.topics.iter().map(|(_, pipeline)| pipeline);
        let formats = topics.chain([&self.all]).map(|pipeline| pipeline.format);
        formats.into_iter().find(|format| !format.is_of_serde())
    }

    /// Return the pipeline for messages of a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> &Pipeline {
        let listed = self.topics.iter().find(|(name, _)| **name == *topic);
        listed.map_or(&self.all, |(_, pipeline)| pipeline)
    }

    /// Say whether decoding may have to wait for something.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        let topics = self.topics.iter().map(|(_, pipeline)| pipeline);
        topics.chain([&self.all]).any(|pipeline| pipeline.may_wait())
    }

    /// Return all that the handler reads by, once each, in words.
    pub(crate) fn describe(&self) -> String {
        let topics = self.topics.iter().map(|(_, pipeline)| pipeline);
        let words: BTreeSet<String> = topics.chain([&self.all]).map(ToString::to_string).collect();
        words.into_iter().collect::<Vec<_>>().join(" | ")
    }
}

fn plain(limits: DecodeLimits) -> Pipeline {
    Pipeline {
        format: Format::Json,
        accepted: Vec::new(),
        steps: Vec::new(),
        limits,
        encrypted_only: false,
        #[cfg(feature = "schema-registry")]
        registry: None,
    }
}

fn limits(settings: &PayloadSettings) -> DecodeLimits {
    DecodeLimits {
        bytes: settings.max_decoded_bytes.get(),
        ratio: settings.max_ratio.get(),
    }
}

/// Return a connection whose client compresses batches of records, if there is one.
fn wire_compression(settings: &Settings) -> Option<String> {
    let connections = settings.messaging.connections.values();
    let mut compressing =
        connections.filter(|connection| connection.producer.wire_compression != WireCompression::None);
    compressing.next().map(|connection| connection.name.clone())
}

/// Makes pipelines and collects what is wrong with them.
struct Builder<'a> {
    steps: &'a PayloadSteps,
    /// What the built-in steps share.
    parts: Parts<'a>,
    /// What records what the steps do.
    telemetry: Option<&'a Arc<Telemetry>>,
    /// What each pipeline begins as: JSON alone.
    plain: Pipeline,
    wire_compression: Option<String>,
    faults: Vec<Fault>,
}

impl Builder<'_> {
    fn check_topic(&mut self, topic: &str, settings: &PipelineSettings) {
        let suffixes = [Priority::High, Priority::Low]
            .into_iter()
            .filter_map(Priority::suffix);
        if let Some(base) = suffixes.filter_map(|suffix| topic.strip_suffix(suffix)).next() {
            self.faults.push(settings.fault(format!(
                "the priorities of a topic share its pipeline: set it for `{base}`"
            )));
        }
    }

    fn pipeline(&mut self, settings: &PipelineSettings) -> Arc<Pipeline> {
        let mut pipeline = self.plain.clone();
        let Some((first, rest)) = settings.steps.split_first() else {
            let reason =
                "the list is empty; leave it out for plain JSON, or begin with `step = \"serializer\"`";
            self.faults.push(settings.fault(reason));
            return Arc::new(pipeline);
        };
        if first.step == SERIALIZER {
            self.serializer(first, &mut pipeline);
        } else if !first.step.is_empty() {
            let reason =
                "the first step is `serializer`, which makes bytes of a value; put it before this one";
            self.faults.push(first.fault(Problem::invalid(reason)));
        }
        for step in rest {
            pipeline.steps.extend(self.step(step));
        }
        self.check_order(&settings.steps);
        Arc::new(pipeline)
    }

    fn serializer(&mut self, settings: &StepSettings, pipeline: &mut Pipeline) {
        let mut options = StepOptions::new(settings);
        if let Some(word) = options.text("backend") {
            pipeline.format = format(&mut options, "backend", word);
        }
        if let Some(words) = options.text("accept") {
            let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
            pipeline.accepted = words.map(|word| accepted(&mut options, word)).collect();
        }
        self.faults.append(&mut options.finish());
    }

    fn step(&mut self, settings: &StepSettings) -> Option<NamedStep> {
        let name = settings.step.as_str();
        let mut options = StepOptions::new(settings);
        if name == SERIALIZER {
            let reason = "there is one serializer, and it is the first step; remove this one";
            self.faults.push(settings.fault(Problem::invalid(reason)));
            return None;
        }
        let step = match (self.steps.factories.get(name), name) {
            (Some(make), _) => make(&mut options),
            (None, COMPRESSION) => compression::step(&mut options),
            (None, CRYPTO) => self.parts.crypto(&mut options),
            (None, CLAIM_CHECK) => self.parts.claim_check(&mut options),
            (None, _) => {
                self.faults.extend(self.unknown(settings));
                return None;
            }
        };
        self.faults.append(&mut options.finish());
        Some(NamedStep {
            name: name.into(),
            step: step?,
            telemetry: self
                .telemetry
                .and_then(|telemetry| StepTelemetry::new(telemetry, name))
                .map(Arc::new),
        })
    }

    /// Say what may have been meant by a name that nothing answers to.
    fn unknown(&self, settings: &StepSettings) -> Option<Fault> {
        let name = settings.step.as_str();
        if name.is_empty() {
            // The settings have said already that it is missing.
            return None;
        }
        let known: Vec<&str> = self.steps.names().collect();
        let near = nearest(name, known.iter().copied())
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        Some(settings.fault(Problem::invalid(format!(
            "no step is called `{name}`; {near}there are `{}`; add your own by `App::builder().payload_step(..)`",
            known.join("`, `")
        ))))
    }

    /// Refuse an order that cannot work, and warn of one that serves nothing.
    fn check_order(&mut self, steps: &[StepSettings]) {
        for (place, step) in steps.iter().enumerate() {
            if !step.step.is_empty() && steps[..place].iter().any(|other| other.step == step.step) {
                let reason = format!("`{}` is in the list twice; remove one of the two", step.step);
                self.faults.push(step.fault(Problem::invalid(reason)));
            }
        }
        let place = |name: &str| steps.iter().position(|step| step.step == name);
        if let Some(claim) = place(CLAIM_CHECK)
            && claim + 1 < steps.len()
        {
            let reason = format!(
                "`claim_check` is the last step: what comes after it would see a reference to the payload, and `{}` \
                 not the payload itself; move it to the end",
                steps[claim + 1].step
            );
            self.faults.push(steps[claim].fault(Problem::invalid(reason)));
        }
        let (compression, crypto) = (place(COMPRESSION), place(CRYPTO));
        if let (Some(compression), Some(crypto)) = (compression, crypto)
            && compression > crypto
        {
            let step = &steps[compression];
            tracing::warn!(
                key = step.key,
                origin = %step.origin,
                "compression gains nothing after `crypto`, since what is encrypted looks random: put it before"
            );
        }
        if let (Some(compression), Some(connection)) = (compression, &self.wire_compression) {
            let step = &steps[compression];
            tracing::warn!(
                key = step.key,
                origin = %step.origin,
                connection,
                "payloads are compressed, and batches of records again by `wire_compression`: one of the two is enough"
            );
        }
    }
}

/// Find a format that a record may choose: one that any type may be read in.
fn accepted(options: &mut StepOptions<'_>, word: &str) -> Format {
    let format = format(options, "accept", word);
    if !format.is_of_serde() {
        let reason =
            format!("`{format}` is read by types of its own, which no record can choose; take it out");
        options.refuse("accept", reason);
    }
    format
}

/// Find the format that a word stands for.
fn format(options: &mut StepOptions<'_>, name: &'static str, word: &str) -> Format {
    if word == "orjson" {
        tracing::warn!("settings: `orjson` is read as `json`");
    }
    match Format::from_word(word) {
        Some(format) if format.is_built_in() => return format,
        Some(format) => options.refuse(
            name,
            format!("this program was built without `{format}`; add the feature: `cargo add athomic --features {format}`"),
        ),
        None => options.refuse_word(name, word, Format::ALL.map(Format::as_str).to_vec()),
    }
    Format::Json
}
