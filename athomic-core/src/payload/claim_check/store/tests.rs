//! The stores of clouds against a server on this machine that speaks the calls which are used, and checks who asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::hex::hex;
use crate::payload::claim_check::ClaimCheck;
use crate::payload::{AsyncPayloadStep, DecodeLimits, PayloadContext, StepError};
use crate::settings::{Secret, Settings};

const BUCKET: &str = "orders";
const LARGE: [u8; 200] = [7; 200];

/// A cloud of one bucket.
struct Cloud {
    backend: StorageBackend,
    secret: String,
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// What it answers to everything, if it is not well; with where it sends people.
    trouble: Mutex<Option<(StatusCode, String)>>,
    asked: Mutex<usize>,
}

impl Cloud {
    /// Start one, with the settings that lead to it.
    async fn start(backend: StorageBackend) -> (Arc<Self>, StorageSettings) {
        let secret = match backend {
            StorageBackend::Azure => STANDARD.encode("canary of the account"),
            StorageBackend::Gcs => {
                r#"{"client_email": "a@example.org", "private_key": "canary", "private_key_id": "canary", "disable_oauth": true}"#
                    .to_owned()
            }
            _ => "canary".to_owned(),
        };
        let cloud = Arc::new(Self {
            backend,
            secret: secret.clone(),
            objects: Mutex::default(),
            trouble: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&cloud));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let is_s3 = backend == StorageBackend::S3;
        let settings = StorageSettings {
            backend,
            bucket: Some(BUCKET.into()),
            region: is_s3.then(|| "eu-central-1".into()),
            endpoint: Some(format!("http://{address}/")),
            account: (backend == StorageBackend::Azure).then(|| "shop".into()),
            access_key_id: is_s3.then(|| "AKIA".into()),
            secret: Some(Secret::new(secret)),
            allow_http: true,
            ..StorageSettings::default()
        };
        (cloud, settings)
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap()
    }

    fn is_in_trouble(&self, status: StatusCode, location: String) {
        *self.trouble.lock().unwrap() = Some((status, location));
    }

    /// Say whether a request was signed by who knows the secret.
    fn knows(&self, method: &Method, path: &str, query: &str, headers: &HeaderMap) -> bool {
        let authorization = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default();
        match self.backend {
            StorageBackend::S3 => signature(&self.secret, method, path, query, headers, authorization)
                .is_some_and(|signature| authorization.ends_with(&signature)),
            StorageBackend::Azure => authorization.starts_with("SharedKey shop:"),
            // Its test key says that nobody signs: there is no token, or an empty one.
            _ => ["", "Bearer"].contains(&authorization.trim_end()),
        }
    }
}

/// Make the signature of S3's requests anew, as version 4 has it.
fn signature(
    secret: &str,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    authorization: &str,
) -> Option<String> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let part = |name: &str| {
        authorization
            .split([' ', ','])
            .find_map(|part| part.strip_prefix(name))
    };
    let (_, scope) = part("Credential=")?.split_once('/')?;
    let signed = part("SignedHeaders=")?;
    let lines = signed
        .split(';')
        .map(|name| Some(format!("{name}:{}\n", value(name)?.trim())));
    let lines: String = lines.collect::<Option<_>>()?;
    let hash = value("x-amz-content-sha256")?;
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{hash}");
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        value("x-amz-date")?,
        hex(&Sha256::digest(canonical))
    );
    let sign = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| sign(&key, part));
    Some(format!("Signature={}", hex(&sign(&key, &text))))
}

async fn answer(State(cloud): State<Arc<Cloud>>, request: Request) -> Response {
    *cloud.asked.lock().unwrap() += 1;
    let (head, body) = request.into_parts();
    let trouble = cloud.trouble.lock().unwrap().clone();
    if let Some((status, location)) = trouble {
        return (status, [(header::LOCATION, location)]).into_response();
    }
    let path = head.uri.path().to_owned();
    if !cloud.knows(
        &head.method,
        &path,
        head.uri.query().unwrap_or_default(),
        &head.headers,
    ) {
        return (
            StatusCode::FORBIDDEN,
            "<Error><Code>SignatureDoesNotMatch</Code></Error>",
        )
            .into_response();
    }
    // One of them escapes all but letters and digits.
    let path = path.replace("%2F", "/").replace("%2D", "-");
    let Some(name) = path.strip_prefix(&format!("/{BUCKET}/")) else {
        let code = match cloud.backend {
            StorageBackend::Azure => "ContainerNotFound",
            _ => "NoSuchBucket",
        };
        return (
            StatusCode::NOT_FOUND,
            format!("<Error><Code>{code}</Code></Error>"),
        )
            .into_response();
    };
    let marks = [
        (header::ETAG, "\"1\""),
        (header::LAST_MODIFIED, "Sun, 01 Nov 2026 00:00:00 GMT"),
    ];
    match head.method {
        Method::PUT => {
            let object = to_bytes(body, usize::MAX).await.unwrap();
            cloud.objects().insert(name.to_owned(), object);
            (StatusCode::CREATED, marks).into_response()
        }
        Method::GET => match cloud.objects().get(name) {
            Some(object) => (marks, Body::from(object.clone())).into_response(),
            None => (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

const CLOUDS: [StorageBackend; 3] = [StorageBackend::S3, StorageBackend::Gcs, StorageBackend::Azure];

fn step(settings: &StorageSettings) -> ClaimCheck {
    ClaimCheck {
        objects: open(settings).unwrap(),
        prefix: Path::from("claims"),
        threshold: 100,
        timeout: Duration::from_secs(30),
    }
}

const CONTEXT: PayloadContext<'_> = PayloadContext {
    topic: "t",
    key: None,
    message_id: None,
    limits: DecodeLimits {
        bytes: 1000,
        ratio: 1000,
    },
    encrypted_only: false,
};

async fn encode(step: &ClaimCheck) -> Result<Vec<u8>, StepError> {
    AsyncPayloadStep::encode(step, LARGE.to_vec(), &CONTEXT).await
}

async fn decode(step: &ClaimCheck, reference: &[u8]) -> Result<Vec<u8>, StepError> {
    AsyncPayloadStep::decode(step, reference, &CONTEXT).await
}

/// Return an error with its causes, which has to say nothing secret.
fn told(error: &StepError) -> String {
    let text = format!("{error:?} {}", crate::dead_letter::Chain(error));
    assert!(!text.contains("canary"), "{text}");
    assert!(
        !text.contains(&STANDARD.encode("canary of the account")),
        "{text}"
    );
    text
}

#[tokio::test]
async fn payloads_stand_in_the_stores_of_clouds() {
    for backend in CLOUDS {
        let (cloud, settings) = Cloud::start(backend).await;
        let step = step(&settings);
        AsyncPayloadStep::check(&step).await.unwrap();
        let reference = encode(&step).await.unwrap();
        assert_eq!(decode(&step, &reference).await.unwrap(), LARGE, "{backend}");
        let names: Vec<String> = cloud.objects().keys().cloned().collect();
        assert!(
            names.len() == 2 && names.iter().all(|name| name.starts_with("claims/")),
            "{names:?}"
        );

        // Another object, and then none: nothing that comes back.
        let claim = names
            .into_iter()
            .find(|name| !name.ends_with("athomic-check"))
            .unwrap();
        cloud.objects().insert(claim.clone(), vec![8; 200].into());
        let error = decode(&step, &reference).await.unwrap_err();
        assert!(
            !error.is_retriable() && told(&error).contains("not the payload"),
            "{backend}: {error}"
        );
        cloud.objects().insert(claim.clone(), vec![7; 199].into());
        assert!(
            !decode(&step, &reference).await.unwrap_err().is_retriable(),
            "{backend}"
        );
        cloud.objects().remove(&claim);
        let error = decode(&step, &reference).await.unwrap_err();
        assert!(
            !error.is_retriable() && told(&error).contains("any more"),
            "{backend}: {error}"
        );
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_waited_for_and_told_at_the_start() {
    for backend in CLOUDS {
        let (_cloud, settings) = Cloud::start(backend).await;
        let reference = encode(&step(&settings)).await.unwrap();
        let elsewhere = step(&StorageSettings {
            bucket: Some("elsewhere".into()),
            ..settings
        });
        assert!(
            decode(&elsewhere, &reference).await.unwrap_err().is_retriable(),
            "{backend}"
        );
        let error = AsyncPayloadStep::check(&elsewhere).await.unwrap_err();
        let text = told(&error);
        assert!(
            text.contains("`elsewhere`") && text.contains("`storage.provider.bucket`"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn who_has_no_right_is_told_which_setting_says_who_asks() {
    let (_cloud, settings) = Cloud::start(StorageBackend::S3).await;
    let reference = encode(&step(&settings)).await.unwrap();
    let stranger = step(&StorageSettings {
        secret: Some(Secret::new("another canary")),
        ..settings
    });
    let error = AsyncPayloadStep::check(&stranger).await.unwrap_err();
    assert!(told(&error).contains("`storage.provider.secret`"), "{error}");
    let error = decode(&stranger, &reference).await.unwrap_err();
    assert!(error.is_retriable(), "the right may be given: {}", told(&error));
}

#[tokio::test]
async fn a_store_that_is_down_or_sends_elsewhere_is_tried_again() {
    for backend in CLOUDS {
        let (cloud, settings) = Cloud::start(backend).await;
        let step = step(&settings);
        let reference = encode(&step).await.unwrap();
        cloud.is_in_trouble(StatusCode::SERVICE_UNAVAILABLE, String::new());
        assert!(
            decode(&step, &reference).await.unwrap_err().is_retriable(),
            "{backend}"
        );
        let (other, elsewhere) = Cloud::start(backend).await;
        let location = format!("{}x", elsewhere.endpoint.unwrap());
        cloud.is_in_trouble(StatusCode::TEMPORARY_REDIRECT, location);
        let error = encode(&step).await.unwrap_err();
        assert!(error.is_retriable(), "{backend}: {}", told(&error));
        assert_eq!(*other.asked.lock().unwrap(), 0, "no redirect is followed");
    }
}

#[tokio::test]
async fn a_store_that_nobody_listens_for_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_cloud, settings) = Cloud::start(StorageBackend::S3).await;
    let step = step(&StorageSettings {
        endpoint: Some(format!("http://{address}")),
        ..settings
    });
    let error = encode(&step).await.unwrap_err();
    assert!(error.is_retriable(), "{}", told(&error));
}

#[tokio::test]
async fn no_secret_of_a_store_is_shown() {
    for backend in CLOUDS {
        let (_cloud, settings) = Cloud::start(backend).await;
        let opened = format!("{:?} {:?}", step(&settings), open(&settings));
        let mut shown = Settings::default();
        shown.storage = settings;
        let explained = shown.differences();
        let text = format!("{opened} {shown:?} {explained:?}");
        assert!(!text.contains("canary") && text.contains(BUCKET), "{text}");
        assert!(
            !text.contains(&STANDARD.encode("canary of the account")),
            "{text}"
        );
    }
}

#[test]
fn settings_that_cannot_work_are_refused_by_their_key() {
    let s3 = StorageSettings {
        backend: StorageBackend::S3,
        bucket: Some(BUCKET.into()),
        region: Some("eu-central-1".into()),
        ..StorageSettings::default()
    };
    let with = |change: fn(&mut StorageSettings)| {
        let mut settings = s3.clone();
        change(&mut settings);
        open(&settings).unwrap_err()
    };
    type Change = fn(&mut StorageSettings);
    let refused: [(Change, &str, &str); 11] = [
        (|it| it.bucket = None, "bucket", "needs `bucket`"),
        (
            |it| it.endpoint = Some("nowhere".into()),
            "endpoint",
            "it is no address",
        ),
        (
            |it| it.endpoint = Some("http://127.0.0.1:1".into()),
            "endpoint",
            "`allow_http = true`",
        ),
        (
            |it| (it.endpoint, it.allow_http) = (Some("http://s3.example.org".into()), true),
            "endpoint",
            "only this machine",
        ),
        (
            |it| it.endpoint = Some("https://a:canary@s3.example.org".into()),
            "endpoint",
            "holds credentials",
        ),
        (
            |it| it.endpoint = Some("ftp://s3.example.org".into()),
            "endpoint",
            "not of `https`",
        ),
        (
            |it| (it.endpoint, it.allow_http) = (Some("https://127.0.0.1".into()), true),
            "allow_http",
            "no effect with `https`",
        ),
        (|it| it.allow_http = true, "allow_http", "without `endpoint`"),
        (
            |it| it.access_key_id = Some("AKIA".into()),
            "secret",
            "has a secret as well",
        ),
        (|it| it.account = Some("shop".into()), "account", "use `azure`"),
        (
            |it| {
                (it.backend, it.region, it.secret) = (StorageBackend::Gcs, None, Some(Secret::new("canary")))
            },
            "secret",
            "no key file",
        ),
    ];
    for (change, key, reason) in refused {
        let fault = with(change);
        assert!(fault.key == key && fault.reason.contains(reason), "{fault:?}");
        assert!(!fault.reason.contains("canary"), "{fault:?}");
    }
    let memory = StorageSettings {
        bucket: Some(BUCKET.into()),
        ..StorageSettings::default()
    };
    assert_eq!(open(&memory).unwrap_err().key, "bucket");
}
