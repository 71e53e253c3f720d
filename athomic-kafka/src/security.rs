//! From the section `security` to librdkafka's options.

use std::collections::BTreeMap;
use std::path::Path;

use athomic_core::settings::{SaslMechanism, Secret, SecurityProtocol, SecuritySettings};

use crate::settings::{Options, pairs};

/// The option with a user's password: the one secret that a running client can be told anew.
pub(crate) const PASSWORD: &str = "sasl.password";
const KEY_PASSWORD: &str = "ssl.key.password";
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.secret";

/// Secrets that stand in files, by librdkafka's names of them. The files may be replaced at any time.
pub(crate) type Secrets = BTreeMap<&'static str, Secret>;

/// Return the secrets that stand in files.
pub(crate) fn secrets(settings: &SecuritySettings) -> Secrets {
    let all = [
        (PASSWORD, &settings.password),
        (KEY_PASSWORD, &settings.key_password),
        (CLIENT_SECRET, &settings.oauth_client_secret),
    ];
    let in_files = all.into_iter().filter_map(|(name, secret)| {
        let secret = secret.as_ref().filter(|secret| secret.file().is_some())?;
        Some((name, secret.clone()))
    });
    in_files.collect()
}

/// Read secrets again, for those of the options that they stand in.
pub(crate) fn renew(options: &mut Options, secrets: &Secrets) {
    for (name, secret) in secrets {
        if let Some(value) = options.get_mut(*name) {
            let now = secret.read_again();
            now.as_ref().unwrap_or(secret).expose().clone_into(value);
        }
    }
}

/// Return the options of encryption and identity, checked against what librdkafka was built with.
pub(crate) fn options(settings: &SecuritySettings, features: &[String]) -> Result<Options, String> {
    let mut options = pairs([("security.protocol", protocol(settings.protocol).to_owned())]);
    if settings.protocol.uses_tls() {
        need(
            "ssl",
            &format!("`security.protocol = \"{}\"`", settings.protocol),
            features,
        )?;
        let files = [
            ("ssl.ca.location", &settings.ca_file),
            ("ssl.certificate.location", &settings.certificate_file),
            ("ssl.key.location", &settings.key_file),
        ];
        for (name, file) in files {
            options.extend(file.as_deref().map(|file| (name.to_owned(), text_of(file))));
        }
        let password = settings.key_password.as_ref();
        options.extend(password.map(|it| (KEY_PASSWORD.to_owned(), it.expose().to_owned())));
    }
    if settings.protocol.uses_sasl() {
        let mechanism = settings.mechanism.ok_or("SASL needs `security.mechanism`")?;
        let setting = format!("`security.mechanism = \"{mechanism}\"`");
        options.insert("sasl.mechanism".to_owned(), mechanism.as_str().to_owned());
        match mechanism {
            SaslMechanism::OauthBearer => {
                need("oidc", &setting, features)?;
                options.extend(tokens(settings));
            }
            SaslMechanism::Plain => {
                need("sasl_plain", &setting, features)?;
                options.extend(user(settings));
            }
            _ => {
                need("sasl_scram", &setting, features)?;
                options.extend(user(settings));
            }
        }
    }
    Ok(options)
}

fn user(settings: &SecuritySettings) -> Options {
    let password = settings
        .password
        .as_ref()
        .map(|secret| secret.expose().to_owned());
    given([("sasl.username", settings.username.clone()), (PASSWORD, password)])
}

fn tokens(settings: &SecuritySettings) -> Options {
    let secret = settings.oauth_client_secret.as_ref();
    let authorities = settings.oauth_ca_file.as_deref();
    given([
        ("sasl.oauthbearer.method", Some("oidc".to_owned())),
        (
            "sasl.oauthbearer.token.endpoint.url",
            settings.oauth_token_url.clone(),
        ),
        ("sasl.oauthbearer.client.id", settings.oauth_client_id.clone()),
        (CLIENT_SECRET, secret.map(|secret| secret.expose().to_owned())),
        ("sasl.oauthbearer.scope", settings.oauth_scope.clone()),
        ("sasl.oauthbearer.extensions", settings.oauth_extensions.clone()),
        ("https.ca.location", authorities.map(text_of)),
    ])
}

/// Check that the client was built with what a setting needs.
fn need(feature: &str, setting: &str, features: &[String]) -> Result<(), String> {
    if features.iter().any(|built_in| built_in == feature) {
        return Ok(());
    }
    if feature == "oidc" {
        return Err(format!(
            "{setting} needs code that this program was built without; add the feature `kafka-oauth` of `athomic`"
        ));
    }
    Err(format!(
        "{setting} needs TLS code that this program was built without; add the feature `kafka-tls` of \
         `athomic` (system's OpenSSL) or `kafka-tls-vendored`"
    ))
}

fn given<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Options {
    let given = pairs.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn protocol(protocol: SecurityProtocol) -> &'static str {
    match protocol {
        SecurityProtocol::Plaintext => "plaintext",
        SecurityProtocol::Ssl => "ssl",
        SecurityProtocol::SaslPlaintext => "sasl_plaintext",
        SecurityProtocol::SaslSsl => "sasl_ssl",
    }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use athomic_core::settings::{SaslMechanism, Secret, SecurityProtocol, SecuritySettings};

    use super::{PASSWORD, options, renew, secrets};

    fn settings(protocol: SecurityProtocol, mechanism: SaslMechanism) -> SecuritySettings {
        let mut settings = SecuritySettings::default();
        settings.protocol = protocol;
        settings.mechanism = Some(mechanism);
        settings
    }

    #[test]
    fn security_names_the_feature_that_it_lacks() {
        let check = |settings: &SecuritySettings, expected: &str| {
            let refused = options(settings, &[]).expect_err("built without");
            assert!(refused.contains(expected), "{refused}");
        };
        let mut tls = SecuritySettings::default();
        tls.protocol = SecurityProtocol::Ssl;
        check(&tls, "add the feature `kafka-tls`");
        let scram = settings(SecurityProtocol::SaslPlaintext, SaslMechanism::ScramSha512);
        check(&scram, "`security.mechanism = \"SCRAM-SHA-512\"` needs");
        let tokens = settings(SecurityProtocol::SaslPlaintext, SaslMechanism::OauthBearer);
        check(&tokens, "add the feature `kafka-oauth`");
    }

    #[test]
    fn secrets_in_files_are_read_for_each_client() {
        let file = std::env::temp_dir().join(format!("athomic-password-{}", std::process::id()));
        std::fs::write(&file, "old\n").expect("written");
        let mut settings = settings(SecurityProtocol::SaslPlaintext, SaslMechanism::Plain);
        settings.username = Some("alice".to_owned());
        settings.password = Some(Secret::in_file(&file).expect("read"));
        settings.key_password = Some(Secret::new("in the settings"));
        let mut options = options(&settings, &["sasl_plain".to_owned()]).expect("valid settings");
        assert_eq!(options[PASSWORD], "old");
        std::fs::write(&file, "new\n").expect("written");
        let secrets = secrets(&settings);
        assert_eq!(secrets.keys().collect::<Vec<_>>(), [&PASSWORD]);
        renew(&mut options, &secrets);
        assert_eq!(options[PASSWORD], "new");
        std::fs::remove_file(&file).expect("removed");
    }

    #[test]
    fn tokens_are_had_by_the_client_credentials() {
        let mut settings = settings(SecurityProtocol::SaslPlaintext, SaslMechanism::OauthBearer);
        settings.oauth_token_url = Some("https://id.example.org/token".to_owned());
        settings.oauth_client_id = Some("orders".to_owned());
        settings.oauth_client_secret = Some(Secret::new("hidden"));
        settings.oauth_ca_file = Some("id.pem".into());
        let options = options(&settings, &["oidc".to_owned()]).expect("valid settings");
        assert_eq!(options["sasl.mechanism"], "OAUTHBEARER");
        assert_eq!(options["sasl.oauthbearer.method"], "oidc");
        assert_eq!(
            options["sasl.oauthbearer.token.endpoint.url"],
            "https://id.example.org/token"
        );
        assert_eq!(options["sasl.oauthbearer.client.id"], "orders");
        assert_eq!(options["sasl.oauthbearer.client.secret"], "hidden");
        assert_eq!(options["https.ca.location"], "id.pem");
        assert!(!options.contains_key("sasl.oauthbearer.scope"));
    }
}
