//! The values of the schema registry.

use super::Values;
use crate::settings::resolved::SchemaRegistrySettings;
use crate::settings::schema::SCHEMA_REGISTRY;
use crate::settings::secret::MASK;

impl Values {
    pub(super) fn schema_registry(&mut self, registry: &SchemaRegistrySettings) {
        let SchemaRegistrySettings {
            urls,
            user,
            token,
            ca_file,
            timeout,
            cache_size,
        } = registry;
        let section = self.section(SCHEMA_REGISTRY);
        match urls.as_slice() {
            [] => section.put("urls", None),
            urls => section.texts("urls", urls),
        };
        section
            .maybe_text("username", user.as_ref().map(|(username, _)| username))
            .maybe_text("password", user.as_ref().map(|_| MASK))
            .maybe_text("token", token.as_ref().map(|_| MASK))
            .maybe_text("ca_file", ca_file.as_ref().map(|file| file.to_string_lossy()))
            .milliseconds("timeout_ms", *timeout)
            .is("cache_size", cache_size);
    }
}
