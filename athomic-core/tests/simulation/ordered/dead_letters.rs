//! What is given up, as the log tells it.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Weak};

use athomic_core::message::{Offset, Partition};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Metadata, Subscriber};

use crate::event::Event;
use crate::world::World;

thread_local! {
    static WORLD: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// Tells a world what is given up on this thread, until dropped.
pub(crate) struct DeadLetters {
    _log: DefaultGuard,
}

impl DeadLetters {
    pub(crate) fn of(world: &Arc<World>) -> Self {
        WORLD.set(Arc::downgrade(world));
        Self {
            _log: tracing::subscriber::set_default(Log),
        }
    }
}

struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().ends_with("dead_letter")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut place = Place::default();
        event.record(&mut place);
        let world = WORLD.with_borrow(Weak::upgrade);
        if let (Some(world), Some(partition), Some(offset)) = (world, place.partition, place.offset) {
            world.note(Event::GivenUp(partition, offset));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Place {
    partition: Option<Partition>,
    offset: Option<Offset>,
}

impl Visit for Place {
    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "partition" => self.partition = Partition::try_from(value).ok(),
            "offset" => self.offset = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
