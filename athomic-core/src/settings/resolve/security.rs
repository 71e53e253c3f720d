//! Resolve `security`: which values go together.

use std::path::PathBuf;

use super::Resolver;
use crate::settings::error::{Fault, Origin, Problem};
use crate::settings::raw::{Field, RawSecurity};
use crate::settings::resolved::{SecurityProtocol, SecuritySettings};
use crate::settings::tree::join;

impl Resolver<'_> {
    pub(super) fn security(&mut self, raw: &RawSecurity, path: &str) -> SecuritySettings {
        let protocol = self.choice(&raw.protocol, SecurityProtocol::Plaintext);
        self.compare_sasl(raw, protocol, path);
        self.compare_tls(raw, protocol, path);
        SecuritySettings {
            protocol,
            mechanism: self.optional_choice(&raw.mechanism),
            username: self.text(&raw.username),
            password: self.secret(&raw.password),
            ca_file: self.text(&raw.ca_file).map(PathBuf::from),
            certificate_file: self.text(&raw.certificate_file).map(PathBuf::from),
            key_file: self.text(&raw.key_file).map(PathBuf::from),
            key_password: self.secret(&raw.key_password),
        }
    }

    /// SASL takes mechanism, user and password, all of them; without SASL each is a mistake.
    fn compare_sasl(&mut self, raw: &RawSecurity, protocol: SecurityProtocol, path: &str) {
        let written = [
            ("mechanism", place(&raw.mechanism)),
            ("username", place(&raw.username)),
            ("password", place(&raw.password)),
        ];
        for (name, place) in written {
            match place {
                None if protocol.uses_sasl() => {
                    let reason = format!("`protocol = \"{protocol}\"` needs it");
                    let origin = raw
                        .protocol
                        .as_ref()
                        .map_or(&Origin::BuiltIn, |written| &written.origin);
                    self.faults
                        .push(Fault::new(join(path, name), origin, Problem::missing(reason)));
                }
                Some((key, origin)) if !protocol.uses_sasl() => {
                    let reason = format!(
                        "has no effect with `protocol = \"{protocol}\"`; use `sasl_ssl` or `sasl_plaintext`, or remove it"
                    );
                    self.faults
                        .push(Fault::new(key, origin, Problem::invalid(reason)));
                }
                _ => {}
            }
        }
    }

    /// Files go with TLS; a certificate with its key, a key's password with the key.
    fn compare_tls(&mut self, raw: &RawSecurity, protocol: SecurityProtocol, path: &str) {
        let certificate = place(&raw.certificate_file);
        let key = place(&raw.key_file);
        let password = place(&raw.key_password);
        if !protocol.uses_tls() {
            for (name, origin) in [place(&raw.ca_file), certificate, key, password]
                .into_iter()
                .flatten()
            {
                let reason = format!(
                    "has no effect with `protocol = \"{protocol}\"`; use `ssl` or `sasl_ssl`, or remove it"
                );
                self.faults
                    .push(Fault::new(name, origin, Problem::invalid(reason)));
            }
            return;
        }
        let pairs = [
            (certificate, key, "key_file", "`certificate_file` needs its key"),
            (
                key,
                certificate,
                "certificate_file",
                "`key_file` needs its certificate",
            ),
            (password, key, "key_file", "`key_password` needs a key file"),
        ];
        for (present, needed, name, reason) in pairs {
            if let (Some((_, origin)), None) = (present, needed) {
                self.faults
                    .push(Fault::new(join(path, name), origin, Problem::missing(reason)));
            }
        }
    }
}

impl RawSecurity {
    /// Return whether nothing was written.
    pub(in crate::settings) fn is_empty(&self) -> bool {
        let Self {
            protocol,
            mechanism,
            username,
            password,
            ca_file,
            certificate_file,
            key_file,
            key_password,
        } = self;
        let texts = [protocol, mechanism, username, ca_file, certificate_file, key_file];
        texts.iter().all(|field| field.is_none()) && password.is_none() && key_password.is_none()
    }
}

fn place<T>(field: &Field<T>) -> Option<(&str, &Origin)> {
    field
        .as_ref()
        .map(|written| (written.key.as_str(), &written.origin))
}
