//! How one handler's messages are ordered, after all that is said about it was put together.
//!
//! Precedence: `handler_tuning`, then the attribute (or the registration by hand), then
//! `integration.messaging.ordering`, then the defaults; key by key.

use super::{Conflict, OrderingPolicies, Source, merge};
use crate::consumer::InvalidConsumerConfigurationError;
use crate::handler::HandlerKind;
use crate::handler::register::HandlerDefinition;
use crate::settings::{Backend, HandlerTuning, KvStoreSettings, Settings, StoreBackend};

/// How a handler's messages are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerOrdering<'s> {
    /// Its policies.
    pub policies: OrderingPolicies,
    /// The store that keeps the order.
    pub store: &'s KvStoreSettings,
    /// What is legal and seldom meant, for the log.
    pub caveats: Vec<String>,
}

/// Something that is said about a handler's order and cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("handler `{handler}`: {problem}; {remedy}")]
#[non_exhaustive]
pub struct PolicyFault {
    /// The handler, with its place in the source.
    pub handler: String,
    /// The key, as it was or would be written: a path in the settings, or a name in the attribute.
    pub key: String,
    /// What is wrong, with the key and the place where it was written.
    pub problem: String,
    /// What to change.
    pub remedy: String,
}

impl From<PolicyFault> for InvalidConsumerConfigurationError {
    fn from(fault: PolicyFault) -> Self {
        Self {
            handler: fault.handler,
            problem: fault.problem,
            remedy: fault.remedy,
        }
    }
}

/// Put together what is said about a handler's order; `None` for a handler that is not ordered.
///
/// # Errors
/// All that cannot hold. For a handler that is not ordered, all that is said about its order.
pub fn resolve<'s>(
    definition: &HandlerDefinition,
    settings: &'s Settings,
) -> Result<Option<HandlerOrdering<'s>>, Vec<PolicyFault>> {
    let mut resolver = Resolver::new(definition, settings);
    let resolved = if matches!(definition.kind, HandlerKind::Ordered { .. }) {
        resolver.ordering()
    } else {
        resolver.refuse_all();
        None
    };
    if resolver.faults.is_empty() {
        Ok(resolved)
    } else {
        Err(resolver.faults)
    }
}

struct Resolver<'a, 's> {
    definition: &'a HandlerDefinition,
    settings: &'s Settings,
    /// The entry that tunes the handler, with its number.
    tuning: Option<(usize, &'s HandlerTuning)>,
    faults: Vec<PolicyFault>,
}

impl<'a, 's> Resolver<'a, 's> {
    fn new(definition: &'a HandlerDefinition, settings: &'s Settings) -> Self {
        let mut tunings = settings.messaging.handler_tuning.iter().enumerate();
        Self {
            definition,
            settings,
            tuning: tunings.find(|(_, tuning)| tuning.handler_id == definition.handler_id),
            faults: Vec::new(),
        }
    }

    fn ordering(&mut self) -> Option<HandlerOrdering<'s>> {
        let tuning = self.tuning.map(|(_, tuning)| &tuning.ordering.policies);
        let attribute = &self.definition.options.policies;
        let layers = [(Source::Attribute, attribute)]
            .into_iter()
            .chain(tuning.map(|options| (Source::HandlerTuning, options)));
        let layers: Vec<_> = layers.collect();
        let base = &self.settings.messaging.ordering.policies;
        let (policies, conflicts) = merge(base, &layers);
        for conflict in conflicts {
            self.conflict(conflict);
        }
        let store = self.store()?;
        let caveats = self.caveats(&policies, store);
        Some(HandlerOrdering {
            policies,
            store,
            caveats,
        })
    }

    /// Refuse what is said about the order of a handler that is not ordered.
    fn refuse_all(&mut self) {
        let remedy = "remove it, or make it an ordered consumer (`#[ordered_consumer]`, `register::ordered`)";
        if !self.definition.options.policies.is_empty() {
            self.fault(
                "policies".to_owned(),
                "policies of ordered consumption have no effect: it is not ordered",
                remedy,
            );
        }
        if let Some((index, tuning)) = self.tuning
            && !tuning.ordering.is_empty()
        {
            let key = format!("integration.messaging.handler_tuning.{index}.ordering");
            let problem = format!(
                "`{key}` ({}) has no effect: the handler is not ordered",
                tuning.origin
            );
            self.fault(key, problem, remedy);
        }
    }

    fn fault(&mut self, key: String, problem: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(PolicyFault {
            handler: self.definition.to_string(),
            key,
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    fn conflict(&mut self, conflict: Conflict) {
        let Conflict {
            source,
            problem,
            remedy,
            ..
        } = conflict;
        let key = self.written(source, conflict.key);
        let problem = if conflict.is_missing {
            format!("`{key}` is missing: {problem}")
        } else {
            match self.settings.origin(&key) {
                Some(origin) => format!("`{key}` ({origin}) {problem}"),
                None => format!("`{key}` {problem}"),
            }
        };
        self.fault(key, problem, remedy);
    }

    /// Return a key as its source writes it.
    fn written(&self, source: Source, key: &str) -> String {
        match (source, self.tuning) {
            (Source::Attribute, _) => key
                .trim_end_matches("_seconds")
                .trim_end_matches("_ms")
                .to_owned(),
            (Source::HandlerTuning, Some((index, _))) => {
                format!("integration.messaging.handler_tuning.{index}.ordering.{key}")
            }
            _ => format!("integration.messaging.ordering.{key}"),
        }
    }

    fn store(&mut self) -> Option<&'s KvStoreSettings> {
        let tuned = self
            .tuning
            .and_then(|(_, tuning)| tuning.ordering.kvstore.as_deref());
        let source = tuned.map_or(Source::Settings, |_| Source::HandlerTuning);
        let name = tuned.unwrap_or(&self.settings.messaging.ordering.kvstore);
        let key = self.written(source, "kvstore");
        let store = self.settings.kvstores.get(name);
        match store {
            Some(store) if !store.enabled => self.fault(
                key,
                format!("its store `{name}` is switched off"),
                format!("set `database.kvstore.{name}.enabled = true`, or name another"),
            ),
            // Only where the settings were changed in code: from files it is required.
            Some(store) if store.backend == StoreBackend::Redis && store.uri.is_none() => self.fault(
                key,
                format!("nobody says where its store `{name}` is"),
                format!("set `database.kvstore.{name}.provider.uri`"),
            ),
            Some(store) => return Some(store),
            None => self.fault(
                key,
                format!("there is no store `{name}`"),
                format!("add `database.kvstore.{name}`, or name another"),
            ),
        }
        None
    }

    /// What the embedded store cannot do, refused where a profile is active.
    fn caveats(&mut self, policies: &OrderingPolicies, store: &KvStoreSettings) -> Vec<String> {
        let mut caveats = Vec::new();
        if store.backend != StoreBackend::Memory {
            return caveats;
        }
        let name = &store.name;
        if policies.durability != super::Durability::Kafka {
            let problem = format!(
                "`durability = \"redis\"` commits messages that wait, and the embedded store `{name}` loses them with the process"
            );
            if self.settings.profile.is_some() {
                let remedy = format!(
                    "set `database.kvstore.{name}.provider.backend = \"redis\"`, or `durability = \"kafka\"`"
                );
                self.fault("durability".to_owned(), problem, remedy);
            } else {
                caveats.push(problem);
            }
        }
        if self.settings.messaging.backend == Backend::Kafka {
            caveats.push(format!(
                "the embedded store `{name}` keeps the order within this process only, and forgets it with it; \
                 for more than one instance set `database.kvstore.{name}.provider.backend = \"redis\"`"
            ));
        }
        caveats
    }
}

#[cfg(test)]
mod tests;
