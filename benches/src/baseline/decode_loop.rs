//! The decode loop: what no consumer can do without.

use anyhow::Result;

use super::handle;
use crate::measurement::{Measurement, Meter};
use crate::order::{self, OrderEvent};

/// Decode so many messages that stand in memory.
///
/// # Errors
/// A message cannot be decoded.
pub fn decode_loop(messages: u64) -> Result<Measurement> {
    let payloads = order::in_memory(messages).map(|number| OrderEvent::nth(number).payload());
    let payloads = payloads.collect::<Result<Vec<_>, _>>()?;
    let meter = Meter::start(messages);
    for payload in payloads.iter().take(usize::try_from(messages)?) {
        handle(Some(payload))?;
        meter.count(1);
    }
    meter.measurement()
}
