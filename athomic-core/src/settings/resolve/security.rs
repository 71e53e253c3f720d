//! Resolve `security`: which values go together.

use std::path::PathBuf;

use super::Resolver;
use crate::settings::error::{Fault, Origin, Problem};
use crate::settings::raw::{Field, RawSecurity};
use crate::settings::resolved::{SaslMechanism, SecurityProtocol, SecuritySettings};
use crate::settings::tree::join;

impl Resolver<'_> {
    pub(super) fn security(&mut self, raw: &RawSecurity, path: &str) -> SecuritySettings {
        let protocol = self.choice(&raw.protocol, SecurityProtocol::Plaintext);
        let mechanism = self.optional_choice(&raw.mechanism);
        self.compare_sasl(raw, protocol, mechanism, path);
        self.compare_tls(raw, protocol, path);
        SecuritySettings {
            protocol,
            mechanism,
            username: self.text(&raw.username),
            password: self.secret(&raw.password),
            ca_file: self.text(&raw.ca_file).map(PathBuf::from),
            certificate_file: self.text(&raw.certificate_file).map(PathBuf::from),
            key_file: self.text(&raw.key_file).map(PathBuf::from),
            key_password: self.secret(&raw.key_password),
            oauth_token_url: self.text(&raw.oauth_token_url),
            oauth_client_id: self.text(&raw.oauth_client_id),
            oauth_client_secret: self.secret(&raw.oauth_client_secret),
            oauth_scope: self.text(&raw.oauth_scope),
            oauth_extensions: self.text(&raw.oauth_extensions),
            oauth_ca_file: self.text(&raw.oauth_ca_file).map(PathBuf::from),
        }
    }

    /// SASL takes a mechanism, and what that proves the user by; each is a mistake without it.
    fn compare_sasl(
        &mut self,
        raw: &RawSecurity,
        protocol: SecurityProtocol,
        mechanism: Option<SaslMechanism>,
        path: &str,
    ) {
        let by_protocol = format!("`protocol = \"{protocol}\"`");
        let origin = origin_of(&raw.protocol);
        let mechanism_place = ("mechanism", place(&raw.mechanism));
        if !protocol.uses_sasl() {
            let remedy = "; use `sasl_ssl` or `sasl_plaintext`, or remove it";
            let all = [mechanism_place]
                .into_iter()
                .chain(raw.user())
                .chain(raw.tokens());
            return self.refuse(all, &format!("has no effect with {by_protocol}{remedy}"));
        }
        self.require(
            [mechanism_place],
            &format!("{by_protocol} needs it"),
            origin,
            path,
        );
        // Which others are needed depends on it; where it is missing, most use a password.
        let by_token = mechanism == Some(SaslMechanism::OauthBearer);
        let word = mechanism.map_or("SASL", SaslMechanism::as_str);
        let needed = format!("`mechanism = \"{word}\"` needs it");
        let no_effect = format!("has no effect with `mechanism = \"{word}\"`; remove it");
        let origin = origin_of(&raw.mechanism);
        if by_token {
            self.refuse(raw.user(), &no_effect);
            self.require(raw.tokens().into_iter().take(TOKENS_NEED), &needed, origin, path);
        } else {
            self.refuse(raw.tokens(), &no_effect);
            let needed = if mechanism.is_some() {
                needed
            } else {
                format!("{by_protocol} needs it")
            };
            let origin = if mechanism.is_some() {
                origin
            } else {
                origin_of(&raw.protocol)
            };
            self.require(raw.user(), &needed, origin, path);
        }
    }

    /// Make a fault of each key that was written.
    fn refuse<'a>(&mut self, keys: impl IntoIterator<Item = (&'a str, Place<'a>)>, reason: &str) {
        for (key, origin) in keys.into_iter().filter_map(|(_, place)| place) {
            self.faults
                .push(Fault::new(key, origin, Problem::invalid(reason.to_owned())));
        }
    }

    /// Make a fault of each key that was not written.
    fn require<'a>(
        &mut self,
        keys: impl IntoIterator<Item = (&'a str, Place<'a>)>,
        reason: &str,
        origin: &Origin,
        path: &str,
    ) {
        for (name, _) in keys.into_iter().filter(|(_, place)| place.is_none()) {
            self.faults.push(Fault::new(
                join(path, name),
                origin,
                Problem::missing(reason.to_owned()),
            ));
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

/// How many of [`RawSecurity::tokens`] are needed, from the first on.
const TOKENS_NEED: usize = 3;

impl RawSecurity {
    /// Return whether nothing was written.
    pub(in crate::settings) fn is_empty(&self) -> bool {
        let others = [
            ("protocol", place(&self.protocol)),
            ("mechanism", place(&self.mechanism)),
            ("ca_file", place(&self.ca_file)),
            ("certificate_file", place(&self.certificate_file)),
            ("key_file", place(&self.key_file)),
            ("key_password", place(&self.key_password)),
        ];
        let all = others.into_iter().chain(self.user()).chain(self.tokens());
        all.into_iter().all(|(_, place)| place.is_none())
    }

    /// What proves a user by a password.
    fn user(&self) -> [(&str, Place<'_>); 2] {
        [
            ("username", place(&self.username)),
            ("password", place(&self.password)),
        ]
    }

    /// What proves a user by tokens.
    fn tokens(&self) -> [(&str, Place<'_>); 6] {
        [
            ("oauth_token_url", place(&self.oauth_token_url)),
            ("oauth_client_id", place(&self.oauth_client_id)),
            ("oauth_client_secret", place(&self.oauth_client_secret)),
            ("oauth_scope", place(&self.oauth_scope)),
            ("oauth_extensions", place(&self.oauth_extensions)),
            ("oauth_ca_file", place(&self.oauth_ca_file)),
        ]
    }
}

/// A key as it was written, and where; nothing if it was not.
type Place<'a> = Option<(&'a str, &'a Origin)>;

fn place<T>(field: &Field<T>) -> Place<'_> {
    field
        .as_ref()
        .map(|written| (written.key.as_str(), &written.origin))
}

fn origin_of<T>(field: &Field<T>) -> &Origin {
    field.as_ref().map_or(&Origin::BuiltIn, |written| &written.origin)
}
