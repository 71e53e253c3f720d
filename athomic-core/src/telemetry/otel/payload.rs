//! Metrics of the steps of payload pipelines.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::KeyValue;

use super::super::{Direction, names};
use super::{Telemetry, attribute};
use crate::payload::StepError;

/// What is recorded about a step.
pub(crate) struct StepTelemetry {
    shared: Arc<Telemetry>,
    encode: OfDirection,
    decode: OfDirection,
}

/// The attributes of a direction, made once.
struct OfDirection {
    plain: [KeyValue; 2],
    bytes_in: [KeyValue; 3],
    bytes_out: [KeyValue; 3],
}

impl OfDirection {
    fn new(step: &str, direction: &'static str) -> Self {
        let step = attribute(names::STEP, step.to_owned());
        let direction = attribute(names::DIRECTION, direction);
        let flow = |flow| [step.clone(), direction.clone(), attribute(names::FLOW, flow)];
        Self {
            bytes_in: flow("in"),
            bytes_out: flow("out"),
            plain: [step, direction],
        }
    }
}

impl StepTelemetry {
    /// Describe a step; `None` without metrics.
    pub(crate) fn new(telemetry: &Arc<Telemetry>, step: &str) -> Option<Self> {
        telemetry.metrics.as_ref()?;
        Some(Self {
            shared: Arc::clone(telemetry),
            encode: OfDirection::new(step, "encode"),
            decode: OfDirection::new(step, "decode"),
        })
    }

    /// Note that a step begins.
    pub(crate) fn begin(&self) -> Instant {
        Instant::now()
    }

    /// Note what a step made of so many bytes.
    pub(crate) fn end(
        &self,
        direction: Direction,
        began: Instant,
        bytes: usize,
        made: Result<usize, &StepError>,
    ) {
        let Some(metrics) = &self.shared.metrics else {
            return;
        };
        let of = match direction {
            Direction::Encode => &self.encode,
            Direction::Decode => &self.decode,
        };
        let instruments = &metrics.instruments;
        let seconds = began.elapsed().as_secs_f64();
        instruments.step_duration.record(seconds, &of.plain);
        instruments.payload_bytes.add(bytes as u64, &of.bytes_in);
        match made {
            Ok(made) => instruments.payload_bytes.add(made as u64, &of.bytes_out),
            Err(error) => {
                let [step, direction] = of.plain.clone();
                let error_type = attribute(names::ERROR_TYPE, error.kind());
                instruments.payload_errors.add(1, &[step, direction, error_type]);
            }
        }
    }
}

impl fmt::Debug for StepTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepTelemetry")
    }
}
