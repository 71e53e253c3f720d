//! What an application is made of, for people and as JSON.

use std::fmt;

use serde::Serialize;

use crate::consumer::ConsumerDescription;
use crate::settings::Settings;

/// An application's handlers and the settings that differ from the defaults.
///
/// `Display` writes it for people; it serializes for programs. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// The application's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The profile in force.
    pub profile: Option<String>,
    /// The broker: `memory` or `kafka`.
    pub backend: &'static str,
    /// The handlers, by id.
    pub handlers: Vec<ConsumerDescription>,
    /// The types of the values that handlers can take as `State<S>`.
    pub states: Vec<&'static str>,
    /// The settings that differ from the defaults.
    pub settings: Vec<SettingDescription>,
}

/// A setting that differs from its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SettingDescription {
    /// The key's path.
    pub key: String,
    /// The value, masked if it is a secret.
    pub value: String,
    /// Who said it.
    pub origin: String,
}

impl Description {
    pub(super) fn new(
        settings: &Settings,
        handlers: &[ConsumerDescription],
        states: Vec<&'static str>,
    ) -> Self {
        let differences = settings
            .differences()
            .into_iter()
            .map(|difference| SettingDescription {
                key: difference.key.to_string(),
                value: difference.value.to_string(),
                origin: difference.origin.to_string(),
            });
        Self {
            name: settings.app.name.clone(),
            version: settings.app.version.clone(),
            profile: settings.profile.clone(),
            backend: settings.messaging.backend.as_str(),
            handlers: handlers.to_vec(),
            states,
            settings: differences.collect(),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.profile.as_deref().unwrap_or("default");
        writeln!(
            f,
            "{} {} (profile {profile}, backend {})",
            self.name, self.version, self.backend
        )?;
        writeln!(f, "handlers: {}", self.handlers.len())?;
        for handler in &self.handlers {
            write_handler(f, handler)?;
        }
        writeln!(f, "states: {}", self.states.join(", "))?;
        writeln!(
            f,
            "settings that differ from the defaults: {}",
            self.settings.len()
        )?;
        for setting in &self.settings {
            writeln!(f, "  {} = {} ({})", setting.key, setting.value, setting.origin)?;
        }
        Ok(())
    }
}

fn write_handler(f: &mut fmt::Formatter<'_>, handler: &ConsumerDescription) -> fmt::Result {
    writeln!(
        f,
        "  {}{}",
        handler.handler_id,
        if handler.paused { " (paused)" } else { "" }
    )?;
    writeln!(
        f,
        "    at {}, payload `{}`",
        handler.location, handler.target_type
    )?;
    writeln!(
        f,
        "    topics {} in group {}",
        handler.topics.join(", "),
        handler.group_id
    )?;
    write!(
        f,
        "    {} over connection {}",
        handler.strategy, handler.connection
    )?;
    if let Some(size) = handler.batch_size {
        write!(f, ", up to {size} messages")?;
    }
    match handler.concurrency {
        Some(limit) => writeln!(f, ", up to {limit} at once, in order by {}", handler.ordering),
        None => writeln!(f, ", each partition in order"),
    }
}
