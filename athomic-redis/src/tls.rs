//! TLS: rustls on ring, named here and not taken from the process, so that no other crate can change it.

use std::sync::Arc;

use fred::types::config::{TlsConfig, TlsConnector, TlsHostMapping};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files that a URI names for TLS.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Whom to trust; the system's certificates if none is named.
    pub(crate) authority: Option<String>,
    /// Who we are.
    pub(crate) certificate: Option<String>,
    /// The key of that.
    pub(crate) key: Option<String>,
}

/// Make a connector, or say what is wrong.
pub(crate) fn connector(files: &Files) -> Result<TlsConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(files)?);
    let config = match (&files.certificate, &files.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("`key_file` cannot be read: {error}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| error.to_string())?
        }
        _ => return Err("`cert_file` and `key_file` belong together".to_owned()),
    };
    Ok(TlsConfig {
        connector: TlsConnector::from(config),
        hostnames: TlsHostMapping::DefaultHost,
    })
}

fn roots(files: &Files) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(authority) = &files.authority {
        for certificate in certificates(authority)? {
            roots
                .add(certificate)
                .map_err(|error| format!("`ca_file` holds no authority: {error}"))?;
        }
        return Ok(roots);
    }
    // Single ones may be unreadable, as curl and others accept it; without any nothing can be trusted.
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("the system has no certificates of authorities; name some by `ca_file`".to_owned());
    }
    Ok(roots)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |error| format!("the certificates in `{file}` cannot be read: {error}");
    let certificates = CertificateDer::pem_file_iter(file).map_err(read)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(read)?;
    if certificates.is_empty() {
        return Err(format!("there is no certificate in `{file}`"));
    }
    Ok(certificates)
}
