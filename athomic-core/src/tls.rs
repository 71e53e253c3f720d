//! The one provider of TLS, for all clients of HTTP.

/// Let rustls use ring, unless the application has chosen a provider itself.
pub(crate) fn provide() {
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
}
