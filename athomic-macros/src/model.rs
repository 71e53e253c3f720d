//! Attribute and function together → a [`Subscription`] that cannot be wrong.
//!
//! What needs the compiler's knowledge of types is left to it: the expansion is written so that
//! it complains on the user's own tokens.

use syn::{LitStr, Type};

use crate::args::{Args, Attribute};
use crate::errors::{Errors, mistake, mistake_at};
use crate::signature::{Callable, Variant, argument_of, last_segment};

/// A handler, complete and consistent.
pub(crate) struct Subscription<'a> {
    pub(crate) args: &'a Args,
    pub(crate) function: Callable<'a>,
    pub(crate) mode: Mode<'a>,
}

/// How a handler is called.
pub(crate) enum Mode<'a> {
    /// With one message.
    Single,
    /// With a batch of these.
    Batch { item: &'a Type },
    /// With one message, in the order that these fields give.
    Ordered { key: &'a LitStr, sequence: &'a LitStr },
}

impl<'a> Subscription<'a> {
    /// Put attribute and function together, or return all mistakes, those of the attribute first.
    pub(crate) fn new(
        attribute: Attribute,
        args: &'a Args,
        mut errors: Errors,
        function: &Variant<'a>,
    ) -> Result<Self, Errors> {
        let function = function.callable(&mut errors);
        check_lonely_linger(args, &mut errors);
        check_weighted(attribute, args, &mut errors);
        let mode = function.as_ref().and_then(|function| match attribute {
            Attribute::SubscribeTo => subscribed(args, function, &mut errors),
            Attribute::OrderedConsumer => ordered(args, function, &mut errors),
        });
        match (function, mode) {
            (Some(function), Some(mode)) => errors.or(Self { args, function, mode }),
            _ => Err(errors),
        }
    }

    /// Return the type that one message is decoded to, or a `Message` of it.
    pub(crate) fn item(&self) -> &'a Type {
        match self.mode {
            Mode::Batch { item } => item,
            Mode::Single | Mode::Ordered { .. } => self.function.payload,
        }
    }

    /// Return the type that one message is decoded to, as far as can be seen here.
    pub(crate) fn target(&self) -> &'a Type {
        argument_of(self.item(), "Message").unwrap_or(self.item())
    }
}

fn check_lonely_linger(args: &Args, errors: &mut Errors) {
    let place = args.place_of("max_batch_linger_ms");
    if let (Some(place), None) = (place, args.place_of("batch_size")) {
        errors.push(mistake_at(
            place,
            "`max_batch_linger_ms` is for batches",
            "add `batch_size = 100`, or remove it",
        ));
    }
}

/// Priorities share the executions of messages that run side by side, and of no others.
fn check_weighted(attribute: Attribute, args: &Args, errors: &mut Errors) {
    let (Some("Weighted"), Some(place)) = (args.priority.as_deref(), args.place_of("priority")) else {
        return;
    };
    let what = if attribute == Attribute::OrderedConsumer {
        "ordered consumers: an aggregate has one order, whatever is urgent"
    } else if args.place_of("batch_size").is_some() {
        "batches: each holds messages of one partition"
    } else if args.ordering.as_deref() == Some("Partition") {
        "`ordering = \"partition\"`, whose messages wait for each other"
    } else {
        return;
    };
    errors.push(mistake_at(
        place,
        format!("`priority = \"weighted\"` is not for {what}"),
        "remove it, or write a handler for each of `\"high\"`, `\"normal\"` and `\"low\"`",
    ));
}

fn subscribed<'a>(args: &Args, function: &Callable<'a>, errors: &mut Errors) -> Option<Mode<'a>> {
    let payload = function.payload;
    refuse_fencing_tokens(function, errors);
    match (args.place_of("batch_size"), argument_of(payload, "Vec")) {
        (None, None) => Some(Mode::Single),
        (Some(_), Some(item)) => Some(Mode::Batch { item }),
        (Some(_), None) => {
            let help = "take `Vec<T>`, or remove `batch_size` to handle messages one by one";
            errors.push(mistake(
                payload,
                "with `batch_size` a handler takes a `Vec`",
                help,
            ));
            None
        }
        (None, Some(_)) => {
            let help = "add `batch_size = 100` for batches; if each payload is a list, give that a name: `type Lines = Vec<Line>;`";
            errors.push(mistake(
                payload,
                "without `batch_size` a handler takes one message",
                help,
            ));
            None
        }
    }
}

/// Only who holds a lease has a token.
fn refuse_fencing_tokens(function: &Callable<'_>, errors: &mut Errors) {
    for extractor in &function.extractors {
        if last_segment(extractor).is_some_and(|name| name == "FencingToken") {
            errors.push(mistake(
                extractor,
                "only ordered consumers have a fencing token",
                "use `#[ordered_consumer]`, or do not take it",
            ));
        }
    }
}

fn ordered<'a>(args: &'a Args, function: &Callable<'a>, errors: &mut Errors) -> Option<Mode<'a>> {
    if argument_of(function.payload, "Vec").is_some() {
        let help = "take `T`; its fields name the aggregate and the place in its order";
        errors.push(mistake(
            function.payload,
            "an ordered handler takes one message",
            help,
        ));
        return None;
    }
    args.check_policies(errors);
    Some(Mode::Ordered {
        key: args.aggregate_key_field.as_ref()?,
        sequence: args.sequence_id_field.as_ref()?,
    })
}
