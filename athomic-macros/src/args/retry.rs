//! The keys within `retry(..)`. They have the names of the settings below `integration.messaging.dlq`,
//! without the units of durations.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{LitStr, Token};

use super::{
    Args, BOTH, Key, Kind, SUBSCRIBED, choice, duration, help_example, nested, number, one_of, path, set,
};
use crate::checks;
use crate::errors::{mistake, mistake_at};

/// The words of the failures that can be tried again.
const STAGES: &[&str] = &["handler", "panic", "timeout", "decode"];

/// The table of keys.
pub(crate) const RETRY_KEYS: &[Key] = &[
    Key {
        name: "max_attempts",
        kind: Kind::NumberTo(1, u32::MAX as u64),
        need: BOTH,
        example: "max_attempts = 5",
        doc: "How often a message is tried in all; 1 is no retry.",
        default: "as in the settings",
        read: |args, key, input| {
            let attempts = number(key, input)?;
            let attempts = u32::try_from(attempts).expect("within the bounds of the key");
            put(args, key, quote!(#attempts))
        },
    },
    Key {
        name: "mode",
        kind: Kind::Word(&["in_place", "republish", "delay_topic"]),
        need: SUBSCRIBED,
        example: "mode = \"republish\"",
        doc: "Where a message waits for its next attempt: in its place, as a copy at the end of its topic, or in a delay topic.",
        default: "as in the settings",
        read: |args, key, input| named(args, key, "RetryMode", input),
    },
    Key {
        name: "order",
        kind: Kind::Word(&["hold", "release"]),
        need: SUBSCRIBED,
        example: "order = \"release\"",
        doc: "What later messages of its key do meanwhile: wait behind it, or overtake.",
        default: "as in the settings",
        read: |args, key, input| named(args, key, "RetryOrder", input),
    },
    Key {
        name: "retry_on",
        kind: Kind::Words(STAGES),
        need: BOTH,
        example: "retry_on = [\"handler\", \"timeout\"]",
        doc: "Which failures are tried again at all; others are given up at once.",
        default: "as in the settings",
        read: stages,
    },
    Key {
        name: "classify",
        kind: Kind::Path("a function"),
        need: BOTH,
        example: "classify = by_kind",
        doc: "The function `fn(&E) -> Disposition` that says by the handler's error whether it is tried again.",
        default: "all errors are tried again",
        read: |args, _, input| set(&mut args.classify, path(input)),
    },
    Key {
        name: "backoff",
        kind: Kind::Word(&["fixed", "exponential"]),
        need: BOTH,
        example: "backoff = \"fixed\"",
        doc: "How waits grow.",
        default: "as in the settings",
        read: |args, key, input| named(args, key, "BackoffKind", input),
    },
    Key {
        name: "min_delay",
        kind: Kind::Duration,
        need: BOTH,
        example: "min_delay = \"1s\"",
        doc: "The wait before the second attempt.",
        default: "as in the settings",
        read: |args, key, input| delay(args, key, input),
    },
    Key {
        name: "max_delay",
        kind: Kind::Duration,
        need: BOTH,
        example: "max_delay = \"5m\"",
        doc: "The longest wait.",
        default: "as in the settings",
        read: |args, key, input| delay(args, key, input),
    },
];

/// Read `retry(..)`.
pub(super) fn retry(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    args.retry.get_or_insert_default();
    nested(args, key, input)
}

fn put(args: &mut Args, key: &Key, value: TokenStream) -> syn::Result<()> {
    args.retry.get_or_insert_default().push((key.name, value));
    Ok(())
}

/// Read a word that stands for a variant of an enum.
fn named(args: &mut Args, key: &Key, of: &str, input: ParseStream) -> syn::Result<()> {
    let (of, variant) = (format_ident!("{of}"), variant(one_of(key, input)?));
    put(args, key, quote!(__athomic::#of::#variant))
}

fn delay(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    let millis = u64::try_from(duration(input)?.as_millis()).expect("it was read as milliseconds");
    put(args, key, quote!(__athomic::Duration::from_millis(#millis)))
}

fn stages(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    let content;
    let bracket = syn::bracketed!(content in input);
    let words = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
    if words.is_empty() {
        return Err(mistake_at(
            bracket.span.join(),
            format!("the list of `{}` is empty", key.name),
            format!("{}, or write `max_attempts = 1` for no retry", help_example(key)),
        ));
    }
    let mut chosen = quote!(__athomic::Stages::none());
    for word in &words {
        let stage = STAGES
            .iter()
            .find(|stage| **stage == word.value())
            .ok_or_else(|| {
                let near = checks::nearest(&word.value(), STAGES.iter().copied());
                let near = near.map_or_else(String::new, |near| format!("did you mean `\"{near}\"`? "));
                mistake(
                    word,
                    format!("`{}` cannot hold `{}`", key.name, word.value()),
                    format!("{near}write {}", choice(STAGES)),
                )
            })?;
        let variant = variant(stage);
        chosen = quote!(#chosen.with(__athomic::FailureStage::#variant));
    }
    put(args, key, chosen)
}

/// Return the variant of a word: `in_place` is `InPlace`.
fn variant(word: &str) -> proc_macro2::Ident {
    let part = |part: &str| part[..1].to_uppercase() + &part[1..];
    format_ident!("{}", word.split('_').map(part).collect::<String>())
}
