//! The keys within `circuit_breaker(..)`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::ParseStream;

use super::{Args, Key, Kind, SUBSCRIBED, duration, nested, number};
use crate::errors::mistake_at;

/// The most outcomes that are looked at.
const MOST_CALLS: u64 = 1_000_000;

/// The table of keys.
pub(crate) const CIRCUIT_BREAKER_KEYS: &[Key] = &[
    Key {
        name: "enabled",
        kind: Kind::Flag,
        need: SUBSCRIBED,
        example: "enabled = false",
        doc: "Whether it is on.",
        default: "`true`",
        read: |args, key, input| {
            let enabled = super::flag(input)?;
            put(args, key, quote!(#enabled))
        },
    },
    Key {
        name: "failure_percent",
        kind: Kind::NumberTo(1, 100),
        need: SUBSCRIBED,
        example: "failure_percent = 50",
        doc: "It opens when so many percent of the messages in the window failed.",
        default: "50",
        read: |args, key, input| {
            let percent = u8::try_from(number(key, input)?).expect("within the bounds of the key");
            put(args, key, quote!(#percent))
        },
    },
    Key {
        name: "window",
        kind: Kind::Duration,
        need: SUBSCRIBED,
        example: "window = \"1m\"",
        doc: "The outcomes of this last time are looked at.",
        default: "`window_calls`",
        read: time,
    },
    Key {
        name: "window_calls",
        kind: Kind::NumberTo(1, MOST_CALLS),
        need: SUBSCRIBED,
        example: "window_calls = 100",
        doc: "So many last outcomes are looked at. One of the two windows.",
        default: "100",
        read: count,
    },
    Key {
        name: "minimum_calls",
        kind: Kind::NumberTo(1, MOST_CALLS),
        need: SUBSCRIBED,
        example: "minimum_calls = 20",
        doc: "It does not open before so many outcomes are in the window.",
        default: "20, or `window_calls` if that is less",
        read: count,
    },
    Key {
        name: "open_for",
        kind: Kind::Duration,
        need: SUBSCRIBED,
        example: "open_for = \"30s\"",
        doc: "How long nothing runs when it has opened.",
        default: "`\"30s\"`",
        read: time,
    },
    Key {
        name: "trials",
        kind: Kind::NumberTo(1, MOST_CALLS),
        need: SUBSCRIBED,
        example: "trials = 3",
        doc: "How many messages are tried then, before it closes or opens again.",
        default: "3",
        read: count,
    },
];

/// Read `circuit_breaker(..)`.
pub(super) fn circuit_breaker(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    args.circuit_breaker.get_or_insert_default();
    nested(args, key, input)?;
    let said = args.circuit_breaker.as_deref().unwrap_or_default();
    let place = |args: &Args, name| args.place_of(name).unwrap_or_else(Span::call_site);
    let calls = |name| {
        let value = &said.iter().find(|(said, _)| *said == name)?.1;
        value.to_string().strip_suffix("u32")?.parse::<u32>().ok()
    };
    let has_time = said.iter().any(|(name, _)| *name == "window");
    match (calls("window_calls"), calls("minimum_calls")) {
        (Some(_), _) if has_time => Err(mistake_at(
            place(args, "window_calls"),
            "`window` and `window_calls` are two windows",
            "keep one of the two",
        )),
        (Some(window), Some(minimum)) if minimum > window => Err(mistake_at(
            place(args, "minimum_calls"),
            "`minimum_calls` is more than `window_calls`: it would never open",
            "lower `minimum_calls`, or raise `window_calls`",
        )),
        _ => Ok(()),
    }
}

fn put(args: &mut Args, key: &Key, value: TokenStream) -> syn::Result<()> {
    args.circuit_breaker
        .get_or_insert_default()
        .push((key.name, value));
    Ok(())
}

fn time(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    let millis = u64::try_from(duration(input)?.as_millis()).expect("it was read as milliseconds");
    put(args, key, quote!(__athomic::Duration::from_millis(#millis)))
}

fn count(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    let count = u32::try_from(number(key, input)?).expect("within the bounds of the key");
    put(args, key, quote!(#count))
}
