//! The questions to a schema registry: Confluent's HTTP API.
//!
//! The server that answered last is asked first, the others after it. What a server says of a schema counts, whichever
//! it is; that it has none, only in the registry's own words, so that a proxy's 404 gives up no message.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Certificate, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{RegistryError, SchemaId};
use crate::dead_letter::Chain;
use crate::outcome::BoxError;
use crate::settings::{SchemaRegistrySettings, Secret};

/// The largest answer that is read, and the most bytes of a schema and all that it refers to.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// How many other schemas a schema may refer to, directly or not.
const MAX_REFERENCES: usize = 100;

/// Asks the servers of a registry.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    servers: Vec<Url>,
    /// The place of the server that answered last.
    preferred: AtomicUsize,
    login: Option<Login>,
}

#[derive(Debug)]
enum Login {
    Basic(String, Secret),
    Bearer(Secret),
}

/// A schema as a registry tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) schema: String,
    /// Left out for Avro.
    #[serde(default)]
    pub(super) schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// Another schema that one refers to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Reference {
    subject: String,
    version: u32,
}

/// What a registry says of what it cannot do.
#[derive(Debug, Deserialize)]
struct Complaint {
    error_code: u32,
}

/// Why a server gave no answer of use.
enum Refusal {
    /// It says that there is no such thing.
    Unknown,
    /// Anything else: another server may know, or the same one later.
    Unavailable(String),
}

impl Client {
    /// Make a client of the settings; nothing is asked yet.
    pub(super) fn new(settings: &SchemaRegistrySettings) -> Result<Self, BoxError> {
        crate::tls::provide();
        let mut http = reqwest::Client::builder()
            .timeout(settings.timeout)
            // Credentials go to no other server than those of the settings.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &settings.ca_file {
            let wrong = |error: &dyn std::error::Error| format!("`{}`: {error}", file.display());
            let pem = fs::read(file).map_err(|error| wrong(&error))?;
            let trusted = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
            if trusted.is_empty() {
                return Err(format!("`{}` has no certificate in it", file.display()).into());
            }
            http = http.tls_certs_only(trusted);
        }
        let servers = settings.urls.iter().map(|url| Url::parse(url));
        let basic = (settings.user.clone()).map(|(user, password)| Login::Basic(user, password));
        Ok(Self {
            http: http.build()?,
            servers: servers.collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
            login: basic.or_else(|| settings.token.clone().map(Login::Bearer)),
        })
    }

    /// Ask for nothing in particular, to know whether there is a registry.
    pub(super) async fn greet(&self) -> Result<(), RegistryError> {
        let types: Vec<String> = self
            .get("the types of its schemas", &["schemas", "types"])
            .await?;
        tracing::debug!(?types, "the schema registry answers");
        Ok(())
    }

    /// Ask for a schema.
    pub(super) async fn schema(&self, id: SchemaId) -> Result<Told, RegistryError> {
        let wanted = id.to_string();
        match id {
            SchemaId::Number(id) => self.get(&wanted, &["schemas", "ids", &id.to_string()]).await,
            SchemaId::Guid(id) => self.get(&wanted, &["schemas", "guids", &id.to_string()]).await,
        }
    }

    /// Ask under which subjects a schema stands, for messages to people: none if nobody says.
    pub(super) async fn subjects(&self, id: SchemaId) -> Vec<String> {
        let SchemaId::Number(id) = id else {
            return Vec::new();
        };
        let path = ["schemas", "ids", &id.to_string(), "subjects"];
        self.get("subjects", &path).await.unwrap_or_default()
    }

    /// Ask for all schemas that one refers to, directly or not.
    pub(super) async fn references(&self, id: SchemaId, told: &Told) -> Result<Vec<Told>, RegistryError> {
        let (mut wanted, mut found) = (told.references.clone(), Vec::<Told>::new());
        let (mut next, mut bytes) = (0, told.schema.len());
        while let Some(Reference { subject, version }) = wanted.get(next) {
            let what = format!("version {version} of the subject `{subject}`, to which {id} refers");
            let path = ["subjects", subject, "versions", &version.to_string()];
            let reference: Told = self.get(&what, &path).await?;
            bytes += reference.schema.len();
            for further in &reference.references {
                if !wanted.contains(further) {
                    wanted.push(further.clone());
                }
            }
            if bytes > MAX_BYTES || wanted.len() > MAX_REFERENCES {
                let reason = format!(
                    "with what it refers to it is larger than {MAX_BYTES} bytes or {MAX_REFERENCES} schemas"
                );
                return Err(RegistryError::unusable(id, reason));
            }
            found.push(reference);
            next += 1;
        }
        Ok(found)
    }

    /// Ask one server after the other.
    async fn get<T: DeserializeOwned>(&self, wanted: &str, path: &[&str]) -> Result<T, RegistryError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut refusals = Vec::with_capacity(self.servers.len());
        for place in (0..self.servers.len()).map(|step| (first + step) % self.servers.len()) {
            let server = &self.servers[place];
            let request = self.http.get(below(server, path));
            match self.ask(request).await {
                Ok(answer) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Refusal::Unknown) => {
                    let wanted = wanted.to_owned();
                    return Err(RegistryError::Unknown { wanted });
                }
                Err(Refusal::Unavailable(reason)) => refusals.push(format!("{server} {reason}")),
            }
        }
        Err(RegistryError::Unavailable {
            wanted: wanted.to_owned(),
            reason: refusals.join("; "),
        })
    }

    /// Ask one server.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Refusal> {
        let request = match &self.login {
            Some(Login::Basic(user, password)) => request.basic_auth(user, Some(password.expose())),
            Some(Login::Bearer(token)) => request.bearer_auth(token.expose()),
            None => request,
        };
        let failed =
            |error: reqwest::Error| Refusal::Unavailable(format!("failed: {}", Chain(&error.without_url())));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = body_of(response).await?;
        if status.is_success() {
            let answer = serde_json::from_slice(&body);
            return answer.map_err(|error| {
                Refusal::Unavailable(format!("answers what no schema registry does: {error}"))
            });
        }
        let complaint = serde_json::from_slice::<Complaint>(&body);
        Err(match status {
            // Subject, version and schema not found.
            StatusCode::NOT_FOUND
                if matches!(
                    complaint,
                    Ok(Complaint {
                        error_code: 40401..=40403
                    })
                ) =>
            {
                Refusal::Unknown
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Unavailable(format!(
                "refuses the login ({status}); set `schema_registry.username` and `password`, or `token`"
            )),
            _ => Refusal::Unavailable(format!("answers {status}")),
        })
    }
}

/// Return an address below that of a server.
fn below(server: &Url, path: &[&str]) -> Url {
    let mut url = server.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// Read an answer, up to a size.
async fn body_of(mut response: Response) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BYTES => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                return Err(Refusal::Unavailable(format!(
                    "answers more than {MAX_BYTES} bytes"
                )));
            }
            Ok(None) => return Ok(body),
            Err(error) => {
                let error = error.without_url();
                return Err(Refusal::Unavailable(format!(
                    "stopped in its answer: {}",
                    Chain(&error)
                )));
            }
        }
    }
}
