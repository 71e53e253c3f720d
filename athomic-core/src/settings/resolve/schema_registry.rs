//! Resolve `schema_registry`: what its servers are told, and by whom.

use std::path::PathBuf;

use super::Resolver;
use crate::settings::error::Problem;
use crate::settings::raw::{Field, RawSchemaRegistry, Written};
use crate::settings::resolved::SchemaRegistrySettings;
use crate::settings::secret::Secret;

impl Resolver<'_> {
    pub(super) fn schema_registry(&mut self, raw: &RawSchemaRegistry) -> SchemaRegistrySettings {
        let default = SchemaRegistrySettings::default();
        let urls = self.registry_urls(&raw.urls);
        self.fetch_secrets = !urls.is_empty();
        SchemaRegistrySettings {
            user: self.registry_user(raw),
            token: self.secret(&raw.token),
            ca_file: self.text(&raw.ca_file).map(PathBuf::from),
            timeout: self.some_milliseconds(&raw.timeout_ms, default.timeout),
            cache_size: self.count(&raw.cache_size, default.cache_size),
            urls,
        }
    }

    fn registry_urls(&mut self, field: &Field<Vec<String>>) -> Vec<String> {
        let Some(written) = field else {
            return Vec::new();
        };
        if let Some((place, reason)) =
            (written.value.iter().enumerate()).find_map(|(place, url)| Some((place, wrong_with(url)?)))
        {
            let reason = format!("item {} {reason}", place + 1);
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        written.value.clone()
    }

    /// Read the user, who comes with a password, and not with a token.
    fn registry_user(&mut self, raw: &RawSchemaRegistry) -> Option<(String, Secret)> {
        let (username, password) = (self.text(&raw.username), self.secret(&raw.password));
        if let (Some(written), None) = (&raw.username, &raw.password) {
            self.refuse_login(
                written,
                "a user has a password; set `schema_registry.password` too",
            );
        }
        if let (None, Some(written)) = (&raw.username, &raw.password) {
            self.refuse_login(
                written,
                "a password is a user's; set `schema_registry.username` too",
            );
        }
        if let (Some(written), Some(_)) = (&raw.token, &raw.username) {
            self.refuse_login(
                written,
                "there is a user as well; keep the token or `username` and `password`",
            );
        }
        username.zip(password)
    }

    fn refuse_login<T>(&mut self, written: &Written<T>, reason: &'static str) {
        self.faults.push(written.fault(Problem::invalid(reason)));
    }
}

/// Say what keeps a text from being a server's URL.
fn wrong_with(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("is no URL, such as \"http://localhost:8081\"");
    };
    if !matches!(scheme, "http" | "https") {
        return Some("is no URL of `http` or `https`");
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Some("has a user in it; use `schema_registry.username` and `schema_registry.password`");
    }
    (host.is_empty() || rest.contains(['?', '#', ' '])).then_some("is not a server and perhaps a path")
}
