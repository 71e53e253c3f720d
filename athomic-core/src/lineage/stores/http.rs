//! Lineage events to a server that speaks OpenLineage's HTTP API, such as Marquez.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};

use super::{LineageStore, LineageStoreError};
use crate::lineage::LineageEvent;
use crate::settings::Secret;

/// Posts each event to `URL/api/v1/lineage`. An answer of 408, 429 or 5xx, and none at all, is asked again;
/// any other refusal drops the event.
#[derive(Debug)]
pub struct HttpStore {
    client: Client,
    endpoint: Url,
    api_key: Option<Secret>,
}

impl HttpStore {
    /// Post to a server, with a bearer token if there is one; each request may take so long.
    ///
    /// # Errors
    /// The URL is none, or is not of HTTP.
    pub fn new(
        url: &str,
        api_key: Option<Secret>,
        timeout: Duration,
    ) -> Result<Self, crate::outcome::BoxError> {
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/')))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(format!("`{}` is not `http` or `https`", base.scheme()).into());
        }
        crate::tls::provide();
        Ok(Self {
            client: Client::builder().timeout(timeout).build()?,
            endpoint: base.join("api/v1/lineage")?,
            api_key,
        })
    }

    async fn post(&self, event: &LineageEvent) -> Result<StatusCode, reqwest::Error> {
        let mut request = self.client.post(self.endpoint.clone()).json(event);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key.expose());
        }
        Ok(request.send().await?.status())
    }
}

impl LineageStore for HttpStore {
    fn name(&self) -> &str {
        "http"
    }

    async fn write(&self, events: &[Arc<LineageEvent>]) -> Result<(), LineageStoreError> {
        for (written, event) in events.iter().enumerate() {
            let status = match self.post(event).await {
                Ok(status) => status,
                Err(error) => return Err(LineageStoreError::retriable(written, error.without_url())),
            };
            if status.is_success() {
                continue;
            }
            let answer = format!("the lineage server answered {status}");
            return Err(match status {
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                    LineageStoreError::retriable(written, answer)
                }
                _ if status.is_server_error() => LineageStoreError::retriable(written, answer),
                _ => LineageStoreError::refused(written, answer),
            });
        }
        Ok(())
    }
}
