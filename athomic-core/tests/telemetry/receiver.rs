//! A receiver of OTLP over HTTP and gRPC: keeps what arrives, decoded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Request, Response, Status};

/// A span and the service that it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) service: String,
    pub(crate) schema: String,
    pub(crate) span: Span,
}

impl Received {
    /// Return its attributes as text.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        texts(&self.span.attributes)
    }

    pub(crate) fn attribute(&self, name: &str) -> String {
        self.attributes().remove(name).unwrap_or_default()
    }
}

/// Return attributes as text.
pub(crate) fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        let text = match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(value)) => value.to_string(),
            other => format!("{other:?}"),
        };
        (pair.key.clone(), text)
    };
    attributes.iter().map(text).collect()
}

#[derive(Clone, Default)]
pub(crate) struct Receiver {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

impl Receiver {
    /// Listen for OTLP over HTTP; return where.
    pub(crate) async fn over_http(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receiver.clone().answer(stream));
            }
        });
        format!("http://{address}")
    }

    /// Listen for OTLP over gRPC; return where.
    pub(crate) async fn over_grpc(&self) -> String {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = free.local_addr().unwrap();
        drop(free);
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()));
        tokio::spawn(server.serve(address));
        format!("http://{address}")
    }

    /// Answer the requests of one connection.
    async fn answer(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    return;
                }
            };
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.unwrap().trim().parse().unwrap();
            while read.len() < end + length {
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let body = &read[end..end + length];
            if head.starts_with("post /v1/traces ") {
                self.traces
                    .lock()
                    .unwrap()
                    .push(ExportTraceServiceRequest::decode(body).unwrap());
            } else if head.starts_with("post /v1/metrics ") {
                self.metrics
                    .lock()
                    .unwrap()
                    .push(ExportMetricsServiceRequest::decode(body).unwrap());
            } else {
                panic!("{head}");
            }
            read.drain(..end + length);
            let response =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
    }

    /// Return all spans that have arrived, in the order in which they began.
    pub(crate) fn spans(&self) -> Vec<Received> {
        let mut spans = Vec::new();
        for request in self.traces.lock().unwrap().iter() {
            for of_resource in &request.resource_spans {
                let resource = of_resource.resource.as_ref().unwrap();
                let service = texts(&resource.attributes).remove("service.name").unwrap();
                for of_scope in &of_resource.scope_spans {
                    spans.extend(of_scope.spans.iter().map(|span| Received {
                        service: service.clone(),
                        schema: of_scope.schema_url.clone(),
                        span: span.clone(),
                    }));
                }
            }
        }
        spans.sort_by_key(|received| received.span.start_time_unix_nano);
        spans
    }

    /// Return the spans of a name.
    pub(crate) fn named(&self, name: &str) -> Vec<Received> {
        let spans = self.spans().into_iter();
        spans.filter(|received| received.span.name == name).collect()
    }

    /// Return the names of all metrics that have arrived.
    pub(crate) fn metric_names(&self) -> Vec<String> {
        let requests = self.metrics.lock().unwrap();
        let of_resources = requests.iter().flat_map(|request| &request.resource_metrics);
        let metrics = of_resources
            .flat_map(|of| &of.scope_metrics)
            .flat_map(|of| &of.metrics);
        metrics.map(|metric| metric.name.clone()).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Wait for a condition, in real time.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
