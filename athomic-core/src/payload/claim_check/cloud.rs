//! The stores of clouds: buckets of S3 and Google, containers of Azure.
//!
//! All requests go over one kind of client: TLS by rustls on ring, no redirects, and requests in the clear only to this
//! machine, if the settings allow that. What the settings do not say of credentials is taken from the variables that
//! the providers' own programs read, and from the machine's role; addresses and buckets come from the settings alone.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::client::{ClientConfigKey, HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;

use super::store::StoreFault;
use crate::settings::StorageSettings;

/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(5);

/// Makes clients for the stores.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        crate::tls::provide();
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = reqwest::Client::builder()
            // A reference leads into the configured store and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .https_only(allows_http.as_deref() != Some("true"))
            .connect_timeout(CONNECTING)
            // Objects have the size that was put.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build();
        client
            .map(HttpClient::new)
            .map_err(|source| object_store::Error::Generic {
                store: "HTTP",
                source: source.into(),
            })
    }
}

/// A few attempts within the time that the step has; after that the message is tried again by its handler's policy.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(10),
    }
}

/// Return the bucket, which all of them need.
fn bucket(settings: &StorageSettings) -> Result<&str, StoreFault> {
    settings.bucket.as_deref().ok_or_else(|| {
        let backend = settings.backend;
        StoreFault::new(
            "bucket",
            format!("`backend = \"{backend}\"` needs `bucket`, such as \"claims\""),
        )
    })
}

/// Return the address of the settings, if it is one that may be used.
fn endpoint(settings: &StorageSettings) -> Result<Option<&str>, StoreFault> {
    let refused = |reason: &str| Err(StoreFault::new("endpoint", reason));
    let Some(text) = settings.endpoint.as_deref() else {
        return match settings.allow_http {
            true => Err(StoreFault::new(
                "allow_http",
                "has no effect without `endpoint`; remove it",
            )),
            false => Ok(None),
        };
    };
    let Ok(url) = Url::parse(text) else {
        return refused("it is no address; write it as in \"https://s3.example.org\"");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refused("it holds credentials, which are shown in errors; they stand in `secret`");
    }
    match (url.scheme(), settings.allow_http) {
        ("https", false) => {}
        ("https", true) => {
            return Err(StoreFault::new(
                "allow_http",
                "has no effect with `https`; remove it",
            ));
        }
        ("http", true) if is_this_machine(&url) => {}
        ("http", true) => return refused("only this machine is spoken to in the clear; use `https`"),
        ("http", false) => {
            return refused(
                "it is spoken to in the clear; use `https`, or on this machine set `allow_http = true`",
            );
        }
        _ => return refused("it is not of `https`"),
    }
    Ok(Some(text.trim_end_matches('/')))
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Hand over what the environment says under these names.
fn from_environment<B, K: FromStr>(builder: B, names: &[&str], with: impl Fn(B, K, String) -> B) -> B {
    names.iter().fold(builder, |builder, name| {
        let value = std::env::var(name).ok();
        match value.zip(name.to_ascii_lowercase().parse().ok()) {
            Some((value, key)) => with(builder, key, value),
            None => builder,
        }
    })
}

/// Say that a client could not be made; what it says may quote a secret, so only its kind is told.
fn not_made(key: &'static str, what: &str) -> impl FnOnce(object_store::Error) -> StoreFault {
    let reason =
        format!("{what}; see `storage.provider.{key}` and the provider's variables in the environment");
    move |_| StoreFault::new(key, reason)
}

/// Open a bucket of S3.
#[cfg(feature = "claim-check-s3")]
pub(super) fn s3(settings: &StorageSettings) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    use object_store::aws::AmazonS3Builder;
    let (bucket, endpoint) = (bucket(settings)?, endpoint(settings)?);
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let region = settings.region.clone().or(region);
    if region.is_none() && endpoint.is_none() {
        return Err(StoreFault::new(
            "region",
            "`backend = \"s3\"` needs `region`, such as \"eu-central-1\"",
        ));
    }
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_allow_http(settings.allow_http)
        .with_retry(retries())
        .with_http_connector(Connector);
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder = match (&settings.access_key_id, &settings.secret) {
        (Some(id), Some(secret)) => builder
            .with_access_key_id(id)
            .with_secret_access_key(secret.expose()),
        (Some(_), None) => {
            return Err(StoreFault::new(
                "secret",
                "`access_key_id` is set; the access key has a secret as well",
            ));
        }
        (None, Some(_)) => {
            return Err(StoreFault::new(
                "access_key_id",
                "`secret` is set; the access key has an id as well",
            ));
        }
        (None, None) => {
            const NAMES: [&str; 9] = [
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_ROLE_ARN",
                "AWS_ROLE_SESSION_NAME",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            ];
            from_environment(builder, &NAMES, AmazonS3Builder::with_config)
        }
    };
    let store = builder
        .build()
        .map_err(not_made("secret", "no client can be made of it"))?;
    Ok(Arc::new(store))
}

/// Open a bucket of Google Cloud Storage.
#[cfg(feature = "claim-check-gcs")]
pub(super) fn gcs(settings: &StorageSettings) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    use object_store::gcp::GoogleCloudStorageBuilder;
    let (bucket, endpoint) = (bucket(settings)?, endpoint(settings)?);
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_client_options(ClientOptions::new().with_allow_http(settings.allow_http))
        .with_retry(retries())
        .with_http_connector(Connector);
    if let Some(endpoint) = endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder = match &settings.secret {
        Some(secret) => builder.with_service_account_key(secret.expose()),
        None => {
            const NAMES: [&str; 3] = [
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "GOOGLE_APPLICATION_CREDENTIALS",
            ];
            from_environment(builder, &NAMES, GoogleCloudStorageBuilder::with_config)
        }
    };
    let wrong = "it is no key file of a service account (JSON)";
    Ok(Arc::new(builder.build().map_err(not_made("secret", wrong))?))
}

/// Open a container of Azure Blob Storage.
#[cfg(feature = "claim-check-azure")]
pub(super) fn azure(settings: &StorageSettings) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    use object_store::azure::MicrosoftAzureBuilder;
    const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT_NAME";
    let (bucket, endpoint) = (bucket(settings)?, endpoint(settings)?);
    let Some(account) = settings.account.clone().or_else(|| std::env::var(ACCOUNT).ok()) else {
        let reason = format!("`backend = \"azure\"` needs `account`, or {ACCOUNT} in the environment");
        return Err(StoreFault::new("account", reason));
    };
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(bucket)
        .with_account(account)
        .with_allow_http(settings.allow_http)
        .with_retry(retries())
        .with_http_connector(Connector);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    builder = match &settings.secret {
        Some(secret) => builder.with_access_key(secret.expose()),
        None => {
            const NAMES: [&str; 6] = [
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_SAS_KEY",
                "AZURE_CLIENT_ID",
                "AZURE_CLIENT_SECRET",
                "AZURE_TENANT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
            ];
            from_environment(builder, &NAMES, MicrosoftAzureBuilder::with_config)
        }
    };
    let wrong = "no client can be made of it; the account's key is written in base64";
    Ok(Arc::new(builder.build().map_err(not_made("secret", wrong))?))
}
