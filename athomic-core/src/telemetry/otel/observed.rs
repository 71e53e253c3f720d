//! Metrics of what is kept elsewhere, read when the metrics are.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::super::{Observed, names};
use super::attribute;
use super::rooms::Rooms;
use crate::circuit_breaker::{CircuitMonitor, CircuitState};
use crate::consumer::{ConsumerReading, ConsumptionMonitor, OrderingCounts, PartitionReading};
use crate::delay::RepublisherMonitor;
use crate::idempotency::{IdempotencyCounts, IdempotencyMonitor};
use crate::ordering::{OrderingDesk, ScopeReport};

/// Register all of them.
pub(super) fn register(meter: &Meter, observed: Observed, rooms: &Arc<Rooms>) {
    idempotency(meter, &observed.idempotency);
    circuits(meter, &observed.circuits);
    consumption(meter, &observed.consumption);
    waiting_rooms(meter, rooms);
    events(meter, observed.ordering);
    if let Some(monitor) = &observed.delays {
        delays(meter, monitor);
    }
}

/// Register a gauge whose values one look brings all.
fn gauge(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    doc: &'static str,
    look: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    // The provider keeps what it calls.
    let _kept = meter
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(doc)
        .with_callback(look)
        .build();
}

/// Register a counter whose values one look brings all.
fn counter(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    doc: &'static str,
    look: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let _kept = meter
        .u64_observable_counter(name)
        .with_unit(unit)
        .with_description(doc)
        .with_callback(look)
        .build();
}

fn of_handler(handler_id: &str) -> KeyValue {
    attribute(names::HANDLER, handler_id.to_owned())
}

fn idempotency(meter: &Meter, monitor: &IdempotencyMonitor) {
    let register = |name, doc, count: fn(&IdempotencyCounts) -> u64| {
        let monitor = monitor.clone();
        counter(meter, name, "{message}", doc, move |to| {
            for (handler, counts) in monitor.counts() {
                to.observe(count(&counts), &[of_handler(&handler)]);
            }
        });
    };
    let hits = "Messages that were not handled, since they had been before.";
    register(names::IDEMPOTENCY_HITS, hits, |counts| counts.duplicates);
    let conflicts = "Times that a message waited, since another execution had it.";
    register(names::IDEMPOTENCY_CONFLICTS, conflicts, |counts| counts.busy);
}

fn circuits(meter: &Meter, monitor: &CircuitMonitor) {
    let states = monitor.clone();
    let doc = "Whether a handler's circuit breaker lets it run: 0 is closed, 1 half-open, 2 open.";
    gauge(meter, names::CIRCUIT_STATE, "{state}", doc, move |to| {
        for (handler, report) in states.reports() {
            let state = match report.state {
                CircuitState::Closed => 0,
                CircuitState::HalfOpen => 1,
                CircuitState::Open => 2,
            };
            to.observe(state, &[of_handler(&handler)]);
        }
    });
    let monitor = monitor.clone();
    let doc = "Times that a handler's circuit breaker opened.";
    counter(meter, names::CIRCUIT_OPENED, "{opening}", doc, move |to| {
        for (handler, report) in monitor.reports() {
            to.observe(report.opened, &[of_handler(&handler)]);
        }
    });
}

fn delays(meter: &Meter, monitor: &Arc<RepublisherMonitor>) {
    let waiting = Arc::clone(monitor);
    let doc = "Messages that wait in the delay store.";
    gauge(meter, names::DELAY_WAITING, "{message}", doc, move |to| {
        to.observe(waiting.counts().waiting, &[]);
    });
    let monitor = Arc::clone(monitor);
    let _kept = meter
        .f64_observable_gauge(names::DELAY_OVERDUE)
        .with_unit("s")
        .with_description("For how long the first message in the delay store has been due.")
        .with_callback(move |to| to.observe(monitor.counts().overdue.as_secs_f64(), &[]))
        .build();
}

fn consumption(meter: &Meter, monitor: &ConsumptionMonitor) {
    let register = |name, unit, doc, count: fn(&[PartitionReading]) -> usize| {
        let monitor = monitor.clone();
        gauge(meter, name, unit, doc, move |to| {
            for reading in monitor.readings() {
                let group = attribute(names::GROUP, reading.group_id.clone());
                to.observe(
                    count(&reading.partitions) as u64,
                    &[of_handler(&reading.handler_id), group],
                );
            }
        });
    };
    let assigned = "Partitions that a handler has in this process.";
    register(names::PARTITIONS_ASSIGNED, "{partition}", assigned, <[_]>::len);
    let paused = "Partitions that are not read on, since as much is unsettled as may be.";
    register(names::PARTITIONS_PAUSED, "{partition}", paused, |all| {
        all.iter().filter(|partition| partition.paused).count()
    });
    let unsettled = "Messages that were fetched and are not settled, or lie behind such.";
    register(names::UNSETTLED, "{message}", unsettled, |all| {
        all.iter().map(|partition| partition.unsettled).sum()
    });
    lag(meter, monitor);
}

fn lag(meter: &Meter, monitor: &ConsumptionMonitor) {
    let each = monitor.clone();
    let doc = "Offsets between what is settled and the end of the log.";
    gauge(meter, names::LAG, "{message}", doc, move |to| {
        for ((group, topic, partition), lag) in lags(&each.readings()) {
            let attributes = [
                attribute(names::LAG_GROUP, group.to_owned()),
                attribute(names::LAG_TOPIC, topic.to_owned()),
                attribute(names::LAG_PARTITION, i64::from(partition)),
            ];
            to.observe(lag, &attributes);
        }
    });
    let monitor = monitor.clone();
    let doc =
        "Offsets between what is settled and the end of the log, of a topic's partitions in this process.";
    gauge(meter, names::LAG_SUM, "{message}", doc, move |to| {
        let readings = monitor.readings();
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for ((group, topic, _), lag) in lags(&readings) {
            *sums.entry((group, topic)).or_default() += lag;
        }
        for ((group, topic), lag) in sums {
            let attributes = [
                attribute(names::LAG_GROUP, group.to_owned()),
                attribute(names::LAG_TOPIC, topic.to_owned()),
            ];
            to.observe(lag, &attributes);
        }
    });
}

/// Return the lags that are known, each with its group, topic and partition.
fn lags(readings: &[ConsumerReading]) -> impl Iterator<Item = ((&str, &str, i32), u64)> {
    readings.iter().flat_map(|reading| {
        reading.partitions.iter().filter_map(|partition| {
            let place = (
                reading.group_id.as_str(),
                partition.topic.as_str(),
                partition.partition,
            );
            Some((place, u64::try_from(partition.lag?).unwrap_or_default()))
        })
    })
}

fn waiting_rooms(meter: &Meter, rooms: &Arc<Rooms>) {
    let register = |name, unit, doc, value: fn(&ScopeReport) -> u64| {
        let rooms = Arc::clone(rooms);
        gauge(meter, name, unit, doc, move |to| {
            for report in rooms.reports() {
                let attributes = [
                    of_handler(&report.handler_id),
                    attribute(names::GROUP, report.group_id.clone()),
                ];
                to.observe(value(&report), &attributes);
            }
        });
    };
    let rooms_doc = "Aggregates with messages that wait and are not halted.";
    register(names::ORDERING_ROOMS, "{aggregate}", rooms_doc, |report| {
        report.rooms
    });
    let waiting = "Messages in waiting rooms.";
    register(names::ORDERING_WAITING, "{message}", waiting, |report| {
        report.messages
    });
    let bytes = "Bytes in waiting rooms.";
    // Without a unit: the name says it already, and Prometheus would say it twice.
    register(names::ORDERING_WAITING_BYTES, "", bytes, |report| report.bytes);
    let halted = "Halted aggregates, counted up to a thousand of each bucket.";
    register(names::ORDERING_HALTED, "{aggregate}", halted, |report| {
        report.halted.len() as u64
    });
    let sessions = "Processes that take part.";
    register(names::ORDERING_SESSIONS, "{process}", sessions, |report| {
        report.sessions
    });
    let rooms = Arc::clone(rooms);
    let _kept = meter
        .f64_observable_gauge(names::ORDERING_OLDEST_AGE)
        .with_unit("s")
        .with_description("How long the oldest gap is open; 0 without one.")
        .with_callback(move |to| {
            for report in rooms.reports() {
                let age = std::time::Duration::from_millis(report.oldest_gap_ms.unwrap_or_default());
                let group = attribute(names::GROUP, report.group_id.clone());
                to.observe(age.as_secs_f64(), &[of_handler(&report.handler_id), group]);
            }
        })
        .build();
}

/// Register what ordered consumers count.
fn events(meter: &Meter, desk: OrderingDesk) {
    fn counts(desk: &OrderingDesk) -> impl Iterator<Item = (KeyValue, OrderingCounts)> {
        desk.handlers()
            .filter_map(|handler| Some((of_handler(handler), desk.handler(handler)?.counts())))
    }
    let (timeouts, all) = (desk.clone(), desk);
    let doc = "Gaps in the order of aggregates that lasted too long.";
    counter(meter, names::ORDERING_GAP_TIMEOUTS, "{gap}", doc, move |to| {
        for (handler, counts) in counts(&timeouts) {
            to.observe(counts.gap_timeouts, &[handler]);
        }
    });
    let doc = "What ordered consumers count, by event.";
    counter(meter, names::ORDERING_EVENTS, "{event}", doc, move |to| {
        for (handler, counts) in counts(&all) {
            for (event, count) in counts.each() {
                to.observe(count, &[handler.clone(), attribute(names::EVENT, event)]);
            }
        }
    });
}
