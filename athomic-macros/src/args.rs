//! Tokens of an attribute → [`Args`], by one table of keys.
//!
//! The table says how a key is written, which attribute takes it and what it means. Reading,
//! repetition, unknown keys and the tables in the docs all come from it.

mod circuit_breaker;
mod policies;
mod retry;

pub(crate) use circuit_breaker::CIRCUIT_BREAKER_KEYS;
pub(crate) use policies::{POLICIES, Policy, variant};
pub(crate) use retry::RETRY_KEYS;

use std::fmt;
use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{LitBool, LitInt, LitStr, Path, Token, Type, token};

use crate::checks;
use crate::errors::{Errors, mistake, mistake_at};

/// The two attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    SubscribeTo,
    OrderedConsumer,
}

impl Attribute {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 2] = [Self::SubscribeTo, Self::OrderedConsumer];

    fn other(self) -> Self {
        match self {
            Self::SubscribeTo => Self::OrderedConsumer,
            Self::OrderedConsumer => Self::SubscribeTo,
        }
    }

    /// Return the keys that it takes, in the order of the table.
    pub(crate) fn keys(self) -> impl Iterator<Item = &'static Key> {
        all_keys().filter(move |key| key.need(self) != Need::Refused)
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SubscribeTo => "subscribe_to",
            Self::OrderedConsumer => "ordered_consumer",
        })
    }
}

/// Return the rows of all tables, those of the policies last.
fn all_keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(POLICIES)
}

/// What an attribute says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    Refused,
}

/// How a key's value is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Topics,
    Type,
    /// A whole number from the given one on.
    Number(u64),
    /// A whole number from the first to the second.
    NumberTo(u64, u64),
    /// A whole number from 0 on, or one of these words.
    NumberOr(&'static [&'static str]),
    Flag,
    Word(&'static [&'static str]),
    /// Some of these words.
    Words(&'static [&'static str]),
    /// The path of the given thing.
    Path(&'static str),
    Field,
    Duration,
    /// A duration of at least so many milliseconds.
    DurationFrom(u64),
    Group(&'static [Key]),
}

impl Kind {
    /// Say whether a value can begin like this; what follows is read by the key's own function.
    fn fits(self, input: ParseStream) -> bool {
        let path = || input.peek(Ident::peek_any) || input.peek(Token![::]);
        match self {
            Self::Text | Self::Field | Self::Duration | Self::DurationFrom(_) => input.peek(LitStr),
            Self::Topics => input.peek(LitStr) || input.peek(token::Bracket) || path(),
            Self::Type => !input.peek(syn::Lit),
            Self::Number(_) | Self::NumberTo(..) => input.peek(LitInt),
            Self::NumberOr(_) => {
                let word = input.peek(LitStr) || (path() && !input.peek(LitBool));
                input.peek(LitInt) || word
            }
            Self::Flag => input.peek(LitBool),
            Self::Word(_) => input.peek(LitStr) || input.peek(Ident::peek_any),
            Self::Words(_) => input.peek(token::Bracket),
            Self::Path(_) => path() && !input.peek(LitBool),
            Self::Group(_) => input.peek(token::Paren),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a string"),
            Self::Topics => f.write_str("a string, the path of a constant, or a list of these"),
            Self::Type => f.write_str("a type"),
            Self::Number(least) => write!(f, "a whole number from {least}"),
            Self::NumberTo(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::NumberOr(words) => write!(f, "a whole number from 0, {}", choice(words)),
            Self::Flag => f.write_str("`true` or `false`"),
            Self::Word(words) => write!(f, "{}", choice(words)),
            Self::Words(words) => write!(f, "a list of {}", choice(words)),
            Self::Path(thing) => write!(f, "the path of {thing}"),
            Self::Field => f.write_str("the name of a field, or several joined by dots, as a string"),
            Self::Duration => f.write_str("a duration such as `\"250ms\"`, `\"10s\"` or `\"1h30m\"`"),
            Self::DurationFrom(0) => f.write_str("a duration such as `\"0s\"`, `\"250ms\"` or `\"1h30m\"`"),
            Self::DurationFrom(least) => write!(f, "a duration of at least `\"{}s\"`", least / 1000),
            Self::Group(_) => f.write_str("settings in parentheses"),
        }
    }
}

fn choice(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What `subscribe_to` and `ordered_consumer` say of it, in this order.
    need: [Need; 2],
    /// As a user would write it.
    pub(crate) example: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the docs are compared with it by a test")
    )]
    pub(crate) doc: &'static str,
    /// The value when the key is left out, for the docs.
    pub(crate) default: &'static str,
    read: fn(&mut Args, &Key, ParseStream) -> syn::Result<()>,
}

impl Key {
    pub(crate) const fn need(&self, attribute: Attribute) -> Need {
        self.need[attribute as usize]
    }
}

const REQUIRED: [Need; 2] = [Need::Required, Need::Required];
const BOTH: [Need; 2] = [Need::Optional, Need::Optional];
const SUBSCRIBED: [Need; 2] = [Need::Optional, Need::Refused];
const ORDERED: [Need; 2] = [Need::Refused, Need::Optional];
const ORDERED_REQUIRED: [Need; 2] = [Need::Refused, Need::Required];

/// The table of keys.
pub(crate) static KEYS: &[Key] = &[
    Key {
        name: "topic",
        kind: Kind::Topics,
        need: REQUIRED,
        example: "topic = \"orders.v1\"",
        doc: "The topics to consume.",
        default: "required",
        read: |args, _, input| topics(input).map(|topics| args.topics = topics),
    },
    Key {
        name: "group_id",
        kind: Kind::Text,
        need: [Need::Optional, Need::Required],
        example: "group_id = \"billing\"",
        doc: "The consumer group.",
        default: "the group of the settings",
        read: |args, key, input| set(&mut args.group_id, text(key, input)),
    },
    Key {
        name: "aggregate_key_field",
        kind: Kind::Field,
        need: ORDERED_REQUIRED,
        example: "aggregate_key_field = \"order_id\"",
        doc: "The payload's field that names the aggregate (`AggregateKey`).",
        default: "required",
        read: |args, _, input| set(&mut args.aggregate_key_field, field(input)),
    },
    Key {
        name: "sequence_id_field",
        kind: Kind::Field,
        need: ORDERED_REQUIRED,
        example: "sequence_id_field = \"version\"",
        doc: "The payload's field that numbers the messages of an aggregate (`SequenceId`).",
        default: "required",
        read: |args, _, input| set(&mut args.sequence_id_field, field(input)),
    },
    Key {
        name: "target_type",
        kind: Kind::Type,
        need: BOTH,
        example: "target_type = OrderPlaced",
        doc: "The type that payloads are decoded to. It is that of the first argument and only checked against it.",
        default: "the type of the first argument",
        read: |args, _, input| set(&mut args.target_type, input.parse()),
    },
    Key {
        name: "priority",
        kind: Kind::Word(&["high", "normal", "low", "weighted"]),
        need: BOTH,
        example: "priority = \"high\"",
        doc: "The priority topics to consume: those of one priority, or all three, the more urgent first.",
        default: "`\"normal\"`",
        read: |args, key, input| set(&mut args.priority, word(key, input)),
    },
    Key {
        name: "concurrency",
        kind: Kind::Number(1),
        need: BOTH,
        example: "concurrency = 8",
        doc: "How many executions of the handler run at once in this process, at most.",
        default: "one for each assigned partition; of an ordered consumer, and with `priority = \"weighted\"`, 16",
        read: |args, key, input| set(&mut args.concurrency, number(key, input)),
    },
    Key {
        name: "ordering",
        kind: Kind::Word(&["partition", "key", "none"]),
        need: SUBSCRIBED,
        example: "ordering = \"key\"",
        doc: "Which messages of a partition wait for each other: all, those of the same key, or none.",
        default: "`\"key\"`",
        read: |args, key, input| set(&mut args.ordering, word(key, input)),
    },
    Key {
        name: "batch_size",
        kind: Kind::Number(1),
        need: SUBSCRIBED,
        example: "batch_size = 100",
        doc: "How many messages one call handles, at most; the first argument is then a `Vec`.",
        default: "one message for each call",
        read: |args, key, input| set(&mut args.batch_size, number(key, input)),
    },
    Key {
        name: "max_batch_linger_ms",
        kind: Kind::Number(0),
        need: SUBSCRIBED,
        example: "max_batch_linger_ms = 5000",
        doc: "How long a batch waits to fill, in milliseconds. Only with `batch_size`.",
        default: "as in the settings",
        read: |args, key, input| set(&mut args.max_batch_linger_ms, number(key, input)),
    },
    Key {
        name: "fetch_timeout_ms",
        kind: Kind::Number(1),
        need: SUBSCRIBED,
        example: "fetch_timeout_ms = 1000",
        doc: "How long the broker may wait for messages to send, in milliseconds.",
        default: "as in the settings",
        read: |args, key, input| set(&mut args.fetch_timeout_ms, number(key, input)),
    },
    Key {
        name: "fetch_max_linger_ms",
        kind: Kind::Number(0),
        need: SUBSCRIBED,
        example: "fetch_max_linger_ms = 100",
        doc: "Another name of `max_batch_linger_ms`; one of the two.",
        default: "as in the settings",
        read: |args, key, input| set(&mut args.fetch_max_linger_ms, number(key, input)),
    },
    Key {
        name: "fetch_max_bytes",
        kind: Kind::Number(1),
        need: SUBSCRIBED,
        example: "fetch_max_bytes = 1048576",
        doc: "How many bytes one fetch may bring, and one batch may hold.",
        default: "as in the settings",
        read: |args, key, input| set(&mut args.fetch_max_bytes, number(key, input)),
    },
    Key {
        name: "fetch_size",
        kind: Kind::Number(1),
        need: ORDERED,
        example: "fetch_size = 500",
        doc: "How many messages are fetched ahead.",
        default: "as in the settings",
        read: |args, key, input| set(&mut args.fetch_size, number(key, input)),
    },
    Key {
        name: "connection_name",
        kind: Kind::Text,
        need: SUBSCRIBED,
        example: "connection_name = \"analytics\"",
        doc: "The named connection to consume over.",
        default: "`\"default\"`",
        read: |args, key, input| set(&mut args.connection_name, text(key, input)),
    },
    Key {
        name: "idempotency_settings",
        kind: Kind::Group(IDEMPOTENCY_KEYS),
        need: BOTH,
        example: "idempotency_settings(ttl = \"24h\")",
        doc: "Handle each message once, and how that is remembered.",
        default: "as in the settings",
        read: idempotency,
    },
    Key {
        name: "idempotency_key_resolver",
        kind: Kind::Path("a function"),
        need: BOTH,
        example: "idempotency_key_resolver = order_key",
        doc: "The function `fn(&T) -> String` that names a message for idempotency.",
        default: "the message's id",
        read: |args, _, input| set(&mut args.idempotency_key_resolver, path(input)),
    },
    Key {
        name: "retry",
        kind: Kind::Group(RETRY_KEYS),
        need: BOTH,
        example: "retry(max_attempts = 5)",
        doc: "How messages that fail are tried again.",
        default: "as in the settings",
        read: retry::retry,
    },
    Key {
        name: "circuit_breaker",
        kind: Kind::Group(CIRCUIT_BREAKER_KEYS),
        need: SUBSCRIBED,
        example: "circuit_breaker(open_for = \"30s\")",
        doc: "Leave the handler alone for a while when too many of its messages fail.",
        default: "it has none",
        read: circuit_breaker::circuit_breaker,
    },
    Key {
        name: "codec",
        kind: Kind::Word(&["json", "msgpack", "cbor", "avro", "protobuf", "raw"]),
        need: BOTH,
        example: "codec = \"msgpack\"",
        doc: "The format that payloads are read in, behind the other steps of their topics' pipeline.",
        default: "as in the settings",
        read: |args, key, input| set(&mut args.codec, one_of(key, input)),
    },
    Key {
        name: "encrypted",
        kind: Kind::Flag,
        need: BOTH,
        example: "encrypted = true",
        doc: "Whether payloads that are not encrypted are refused, also where their topics accept them.",
        default: "`false`",
        read: |args, _, input| set(&mut args.encrypted, flag(input)),
    },
    Key {
        name: "enable_lineage",
        kind: Kind::Flag,
        need: SUBSCRIBED,
        example: "enable_lineage = false",
        doc: "Whether lineage events are written for this handler.",
        default: "`true`",
        read: |args, _, input| set(&mut args.enable_lineage, flag(input)),
    },
    Key {
        name: "handler_id",
        kind: Kind::Text,
        need: BOTH,
        example: "handler_id = \"billing\"",
        doc: "The handler's name in settings, logs and errors.",
        default: "module path and function name",
        read: |args, key, input| set(&mut args.handler_id, text(key, input)),
    },
    Key {
        name: "crate",
        kind: Kind::Path("a crate"),
        need: BOTH,
        example: "crate = my_prelude::athomic",
        doc: "Where the `athomic` crate is to be found, for macros of your own that write handlers.",
        default: "`::athomic`",
        read: |args, _, input| set(&mut args.crate_path, path(input)),
    },
];

/// The keys within `idempotency_settings(..)`.
pub(crate) const IDEMPOTENCY_KEYS: &[Key] = &[
    Key {
        name: "enabled",
        kind: Kind::Flag,
        need: BOTH,
        example: "enabled = false",
        doc: "Whether it is on.",
        default: "`true`",
        read: |args, _, input| set(&mut args.idempotency_mut().enabled, flag(input)),
    },
    Key {
        name: "ttl",
        kind: Kind::Duration,
        need: BOTH,
        example: "ttl = \"24h\"",
        doc: "How long a handled message is remembered.",
        default: "as in the settings",
        read: |args, _, input| set(&mut args.idempotency_mut().ttl, duration(input)),
    },
    Key {
        name: "lock_timeout",
        kind: Kind::Duration,
        need: BOTH,
        example: "lock_timeout = \"10s\"",
        doc: "How long a message that is being handled is locked against others.",
        default: "as in the settings",
        read: |args, _, input| set(&mut args.idempotency_mut().lock_timeout, duration(input)),
    },
];

/// A topic: named in the attribute, or by a constant.
pub(crate) enum Topic {
    Name(LitStr),
    Constant(Path),
}

/// What `idempotency_settings(..)` says.
#[derive(Debug, Default)]
pub(crate) struct Idempotency {
    pub(crate) enabled: Option<bool>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) lock_timeout: Option<Duration>,
}

/// What an attribute says, each value legal by itself.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) topics: Vec<Topic>,
    pub(crate) group_id: Option<LitStr>,
    pub(crate) aggregate_key_field: Option<LitStr>,
    pub(crate) sequence_id_field: Option<LitStr>,
    pub(crate) target_type: Option<Type>,
    /// The name of the `Priority`, or `Weighted`.
    pub(crate) priority: Option<String>,
    pub(crate) concurrency: Option<u64>,
    /// The name of the `Ordering`.
    pub(crate) ordering: Option<String>,
    pub(crate) batch_size: Option<u64>,
    pub(crate) max_batch_linger_ms: Option<u64>,
    pub(crate) fetch_timeout_ms: Option<u64>,
    pub(crate) fetch_max_linger_ms: Option<u64>,
    pub(crate) fetch_max_bytes: Option<u64>,
    pub(crate) fetch_size: Option<u64>,
    pub(crate) connection_name: Option<LitStr>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) idempotency_key_resolver: Option<Path>,
    /// The word of the `Format`.
    pub(crate) codec: Option<&'static str>,
    /// `classify` of `retry(..)`.
    pub(crate) classify: Option<Path>,
    pub(crate) encrypted: Option<bool>,
    pub(crate) enable_lineage: Option<bool>,
    /// What `retry(..)` says, as the values of its fields.
    pub(crate) retry: Option<Vec<(&'static str, TokenStream)>>,
    /// What `circuit_breaker(..)` says, as the values of its fields.
    pub(crate) circuit_breaker: Option<Vec<(&'static str, TokenStream)>>,
    /// What happens when order is in danger, by the names of the keys.
    pub(crate) policies: Vec<(&'static str, Policy)>,
    pub(crate) handler_id: Option<LitStr>,
    pub(crate) crate_path: Option<Path>,
    /// The names of all keys that were written, also of those whose value is wrong.
    written: Vec<(&'static str, Span)>,
    /// The names of keys that were meant, most likely, by something that is wrong.
    meant: Vec<&'static str>,
}

impl Args {
    /// Read an attribute's tokens; what is wrong goes to `errors` and the rest is read all the same.
    pub(crate) fn parse(attribute: Attribute, tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let read = |input: ParseStream| {
            read_list(input, |name| find_key(attribute, name), &mut args, errors);
            Ok(())
        };
        let parsed = Parser::parse2(read, tokens);
        errors.take(parsed);
        args.check_required(attribute, errors);
        args
    }

    /// Return the place of a key that was written.
    pub(crate) fn place_of(&self, name: &str) -> Option<Span> {
        self.written
            .iter()
            .find(|(written, _)| *written == name)
            .map(|(_, span)| *span)
    }

    fn idempotency_mut(&mut self) -> &mut Idempotency {
        self.idempotency.get_or_insert_default()
    }

    fn check_required(&self, attribute: Attribute, errors: &mut Errors) {
        let given = |key: &Key| self.place_of(key.name).is_some() || self.meant.contains(&key.name);
        let required = |key: &&Key| key.need(attribute) == Need::Required;
        for key in attribute.keys().filter(required).filter(|key| !given(key)) {
            errors.push(mistake_at(
                Span::call_site(),
                format!("`#[{attribute}]` needs `{}`", key.name),
                format!("add `{}`", key.example),
            ));
        }
    }
}

/// Read `key = value, key(..), ...`.
fn read_list(
    input: ParseStream,
    find: impl Fn(&Ident) -> Result<&'static Key, Unknown>,
    args: &mut Args,
    errors: &mut Errors,
) {
    while !input.is_empty() {
        let read = read_entry(input, &find, args);
        if errors.take(read).is_none() {
            skip_entry(input);
        }
        if input.is_empty() {
            return;
        }
        let separated: syn::Result<Token![,]> = input.parse();
        if separated.is_err() {
            errors.push(mistake(
                next_token(input),
                "expected `,`",
                "write one value for each key, and a comma between",
            ));
            skip_entry(input);
            let _: syn::Result<Token![,]> = input.parse();
        }
    }
}

fn read_entry(
    input: ParseStream,
    find: &impl Fn(&Ident) -> Result<&'static Key, Unknown>,
    args: &mut Args,
) -> syn::Result<()> {
    if !input.peek(Ident::peek_any) {
        args.meant.push("topic");
        return Err(nameless(input));
    }
    let name = input.call(Ident::parse_any)?;
    let key = find(&name).map_err(|unknown| {
        args.meant.extend(unknown.meant);
        unknown.error
    })?;
    let repeated = args.place_of(key.name).is_some();
    args.written.push((key.name, name.span()));
    if !matches!(key.kind, Kind::Group(_)) {
        let equals: syn::Result<Token![=]> = input.parse();
        equals.map_err(|_| without_value(key, &name))?;
    }
    if input.is_empty() || !key.kind.fits(input) {
        return Err(wrong_kind(key, &name, input));
    }
    if repeated {
        return Err(mistake(
            &name,
            format!("`{name}` is set more than once"),
            "keep one of the two",
        ));
    }
    (key.read)(args, key, input)
}

/// Move on to the comma before the next `key =` or `key(`, or to the end.
fn skip_entry(input: ParseStream) {
    let after_name = || input.peek3(Token![=]) || input.peek3(Token![,]) || input.peek3(token::Paren);
    let at_next = || input.peek(Token![,]) && (after_name() || !input.peek2(Ident::peek_any));
    while !input.is_empty() && !at_next() {
        let _: syn::Result<TokenTree> = input.parse();
    }
}

fn next_token(input: ParseStream) -> TokenStream {
    input
        .fork()
        .parse::<TokenTree>()
        .map(TokenTree::into_token_stream)
        .unwrap_or_default()
}

fn nameless(input: ParseStream) -> syn::Error {
    let value = next_token(input);
    let help = if input.peek(LitStr) || input.peek(token::Bracket) {
        format!("write `topic = {value}`")
    } else {
        "write `key = value`".to_owned()
    };
    mistake(value, "a value without its key", help)
}

fn without_value(key: &Key, name: &Ident) -> syn::Error {
    mistake(name, format!("`{name}` takes {}", key.kind), help_example(key))
}

fn wrong_kind(key: &Key, name: &Ident, input: ParseStream) -> syn::Error {
    let value = next_token(input);
    let place = if value.is_empty() {
        name.to_token_stream()
    } else {
        value
    };
    mistake(place, format!("`{name}` takes {}", key.kind), help_example(key))
}

fn help_example(key: &Key) -> String {
    format!("write it like `{}`", key.example)
}

/// A name that is no key, and the one that was most likely meant.
struct Unknown {
    error: syn::Error,
    meant: Option<&'static str>,
}

fn find_key(attribute: Attribute, name: &Ident) -> Result<&'static Key, Unknown> {
    match all_keys().find(|key| name == key.name) {
        Some(key) if key.need(attribute) != Need::Refused => Ok(key),
        Some(_) => Err(Unknown {
            error: mistake(
                name,
                format!("`{name}` is not for `#[{attribute}]`"),
                format!("it is a key of `#[{}]`", attribute.other()),
            ),
            meant: None,
        }),
        None => Err(unknown_key(name, attribute.keys())),
    }
}

fn unknown_key(name: &Ident, known: impl Iterator<Item = &'static Key>) -> Unknown {
    let written = name.to_string();
    let known: Vec<_> = known.map(|key| key.name).collect();
    let quoted: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    let accepted = format!("accepted keys: {}", quoted.join(", "));
    let meant = checks::nearest(&written, known.into_iter());
    let help = match meant {
        Some(meant) => format!("did you mean `{meant}`? {accepted}"),
        None => accepted,
    };
    Unknown {
        error: mistake(name, format!("unknown key `{written}`"), help),
        meant,
    }
}

fn set<T>(place: &mut Option<T>, value: syn::Result<T>) -> syn::Result<()> {
    *place = Some(value?);
    Ok(())
}

fn text(key: &Key, input: ParseStream) -> syn::Result<LitStr> {
    let text: LitStr = input.parse()?;
    if text.value().trim().is_empty() {
        return Err(mistake(
            &text,
            format!("`{}` is empty", key.name),
            help_example(key),
        ));
    }
    Ok(text)
}

fn flag(input: ParseStream) -> syn::Result<bool> {
    input.parse().map(|flag: LitBool| flag.value)
}

fn path(input: ParseStream) -> syn::Result<Path> {
    Path::parse_mod_style(input)
}

fn number(key: &Key, input: ParseStream) -> syn::Result<u64> {
    let token: LitInt = input.parse()?;
    let (least, most) = match key.kind {
        Kind::Number(least) => (least, u64::MAX),
        Kind::NumberTo(least, most) => (least, most),
        Kind::NumberOr(_) => (0, u64::MAX),
        _ => unreachable!("keys with a number are of these kinds"),
    };
    match token.base10_parse() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        Err(_) if !token.base10_digits().starts_with('-') => Err(mistake(
            &token,
            format!("`{}` is too large", key.name),
            help_example(key),
        )),
        _ => Err(mistake(
            &token,
            format!("`{}` is {}", key.name, key.kind),
            format!("write `{}`, or leave it out ({})", key.example, key.default),
        )),
    }
}

/// Read one of the words of a key, and return the name of the variant that it stands for.
fn word(key: &Key, input: ParseStream) -> syn::Result<String> {
    one_of(key, input).map(|word| word[..1].to_uppercase() + &word[1..])
}

/// Read one of the words of a key.
fn one_of(key: &Key, input: ParseStream) -> syn::Result<&'static str> {
    let (written, token) = if input.peek(LitStr) {
        let text: LitStr = input.parse()?;
        (text.value(), text.into_token_stream())
    } else {
        let word = input.call(Ident::parse_any)?;
        (word.to_string(), word.into_token_stream())
    };
    let (words, number) = match key.kind {
        Kind::Word(words) => (words, ""),
        Kind::NumberOr(words) => (words, "a number, "),
        _ => unreachable!("keys with a word are of these kinds"),
    };
    words
        .iter()
        .copied()
        .find(|&word| word == written)
        .ok_or_else(|| {
            let near = checks::nearest(&written, words.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("did you mean `\"{near}\"`? "));
            mistake(
                token,
                format!("`{}` cannot be `{written}`", key.name),
                format!("{near}write {number}{}", choice(words)),
            )
        })
}

fn field(input: ParseStream) -> syn::Result<LitStr> {
    let token: LitStr = input.parse()?;
    match checks::field_path(&token.value()) {
        Ok(_) => Ok(token),
        Err(wrong) => Err(mistake(
            token,
            wrong,
            "write the name of a field of the payload, or several joined by dots: `\"customer.id\"`",
        )),
    }
}

const DURATION_HELP: &str =
    "write whole numbers with units `ms`, `s`, `m`, `h`, `d`: `\"250ms\"`, `\"1h30m\"`";

fn duration(input: ParseStream) -> syn::Result<Duration> {
    let text: LitStr = input.parse()?;
    let duration = checks::duration(&text.value()).map_err(|wrong| mistake(&text, wrong, DURATION_HELP))?;
    if duration.is_zero() {
        return Err(mistake(text, "this duration is zero", DURATION_HELP));
    }
    Ok(duration)
}

/// Read a duration of at least so many milliseconds.
fn duration_from(least: u64, key: &Key, input: ParseStream) -> syn::Result<Duration> {
    let text: LitStr = input.parse()?;
    let duration = checks::duration(&text.value()).map_err(|wrong| mistake(&text, wrong, DURATION_HELP))?;
    if duration >= Duration::from_millis(least) {
        return Ok(duration);
    }
    Err(mistake(
        text,
        "this duration is too short",
        format!("`{}` is {}", key.name, key.kind),
    ))
}

fn idempotency(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    args.idempotency_mut();
    nested(args, key, input)
}

/// Read the keys of a group.
fn nested(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    let content;
    syn::parenthesized!(content in input);
    let Kind::Group(keys) = key.kind else {
        unreachable!("keys with keys of their own are of that kind")
    };
    let mut errors = Errors::default();
    let find = |name: &Ident| {
        let key = keys.iter().find(|key| name == key.name);
        key.ok_or_else(|| unknown_key(name, keys.iter()))
    };
    // Keys of other groups may have the same names.
    let mut written = std::mem::take(&mut args.written);
    read_list(&content, find, args, &mut errors);
    written.append(&mut args.written);
    args.written = written;
    errors.into_result()
}

fn topics(input: ParseStream) -> syn::Result<Vec<Topic>> {
    if !input.peek(token::Bracket) {
        return Ok(vec![topic(input)?]);
    }
    let content;
    let bracket = syn::bracketed!(content in input);
    let list = Punctuated::<syn::Result<Topic>, Token![,]>::parse_terminated_with(&content, |input| {
        Ok(topic(input))
    })?;
    if list.is_empty() {
        return Err(mistake_at(
            bracket.span.join(),
            "the list of topics is empty",
            "name at least one topic",
        ));
    }
    let mut errors = Errors::default();
    let topics: Vec<_> = list.into_iter().filter_map(|topic| errors.take(topic)).collect();
    refuse_duplicates(&topics, &mut errors);
    errors.into_result().map(|()| topics)
}

fn topic(input: ParseStream) -> syn::Result<Topic> {
    if !input.peek(LitStr) {
        return path(input).map(Topic::Constant).map_err(|error| {
            let token = input.parse::<TokenTree>().map(TokenTree::into_token_stream);
            mistake(
                token.unwrap_or_else(|_| error.to_compile_error()),
                "this is no topic",
                "write a string or the path of a constant",
            )
        });
    }
    let name: LitStr = input.parse()?;
    match checks::topic_name(&name.value()) {
        Ok(()) => Ok(Topic::Name(name)),
        Err(wrong) => Err(mistake(name, wrong, checks::TOPIC_HELP)),
    }
}

fn refuse_duplicates(topics: &[Topic], errors: &mut Errors) {
    let mut seen = Vec::new();
    for topic in topics {
        let written = match topic {
            Topic::Name(name) => name.to_token_stream(),
            Topic::Constant(path) => path.to_token_stream(),
        };
        if seen.contains(&written.to_string()) {
            let help = "name each topic once";
            errors.push(mistake(
                &written,
                format!("topic {written} is listed twice"),
                help,
            ));
        }
        seen.push(written.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(attribute: Attribute, text: &str) -> (Args, Vec<String>) {
        let mut errors = Errors::default();
        let args = Args::parse(attribute, text.parse().unwrap(), &mut errors);
        (args, errors.messages())
    }

    fn check(text: &str, expected: &[&str]) {
        let (_, messages) = parse(Attribute::SubscribeTo, text);
        let first_lines: Vec<_> = messages
            .iter()
            .map(|message| message.lines().next().unwrap())
            .collect();
        assert_eq!(first_lines, expected, "{text}");
    }

    #[test]
    fn each_example_is_accepted_by_the_attributes_that_take_the_key() {
        for attribute in Attribute::ALL {
            let all: Vec<_> = attribute.keys().map(|key| key.example).collect();
            let (_, messages) = parse(attribute, &all.join(", "));
            assert_eq!(messages, [""; 0], "{attribute}");
        }
        let groups = [
            ("idempotency_settings", IDEMPOTENCY_KEYS),
            ("retry", RETRY_KEYS),
            ("circuit_breaker", CIRCUIT_BREAKER_KEYS),
        ];
        for (group, keys) in groups {
            for key in keys {
                check(&format!("topic = \"a\", {group}({})", key.example), &[]);
            }
        }
    }

    #[test]
    fn names_and_docs_are_in_order() {
        let groups = [IDEMPOTENCY_KEYS, RETRY_KEYS, CIRCUIT_BREAKER_KEYS];
        for key in all_keys().chain(groups.into_iter().flatten()) {
            assert!(key.doc.ends_with('.'), "{}", key.name);
            assert!(key.example.starts_with(key.name), "{}", key.name);
            assert!(all_keys().filter(|other| other.name == key.name).count() <= 1);
        }
    }

    #[test]
    fn all_mistakes_are_found_at_once() {
        check(
            "topics = \"a\", concurrency = 0, priority = fast, batch_size = \"8\", group_id, enable_lineage = maybe",
            &[
                "unknown key `topics`",
                "`concurrency` is a whole number from 1",
                "`priority` cannot be `fast`",
                "`batch_size` takes a whole number from 1",
                "`group_id` takes a string",
                "`enable_lineage` takes `true` or `false`",
            ],
        );
    }

    #[test]
    fn a_broken_entry_does_not_spoil_the_next() {
        check(
            "target_type = 5 + Vec<A, B>, topic = \"a b\"",
            &["`target_type` takes a type", "topic contains a space"],
        );
        check("topic = \"a\" group_id = \"g\"", &["expected `,`"]);
        check("\"a\"", &["a value without its key"]);
        check("group_id = \"g\"", &["`#[subscribe_to]` needs `topic`"]);
        check(
            "topic",
            &["`topic` takes a string, the path of a constant, or a list of these"],
        );
        check(
            "topic = ",
            &["`topic` takes a string, the path of a constant, or a list of these"],
        );
    }

    #[test]
    fn types_with_commas_are_one_value() {
        let (args, messages) = parse(
            Attribute::SubscribeTo,
            "target_type = HashMap<String, u32>, topic = [TOPIC, topics::B, \"c\"]",
        );
        assert_eq!(messages, [""; 0]);
        assert!(args.target_type.is_some());
        assert_eq!(args.topics.len(), 3);
    }

    #[test]
    fn lists_of_topics_are_checked_one_by_one() {
        check("topic = []", &["the list of topics is empty"]);
        check("topic = [\"a\", \"b\", \"a\"]", &["topic \"a\" is listed twice"]);
        check(
            "topic = [\"a b\", 5, \"\"]",
            &["topic contains a space", "this is no topic", "topic is empty"],
        );
    }

    #[test]
    fn idempotency_is_read_within_its_parentheses() {
        let text = "topic = \"a\", circuit_breaker(enabled = true), idempotency_settings(ttl = \"24h\", lock_timeout = \"10s\", enabled = true)";
        let (args, messages) = parse(Attribute::SubscribeTo, text);
        assert_eq!(messages, [""; 0]);
        let idempotency = args.idempotency.unwrap();
        assert_eq!(idempotency.ttl, Some(Duration::from_secs(86_400)));
        assert_eq!(idempotency.lock_timeout, Some(Duration::from_secs(10)));
        assert_eq!(idempotency.enabled, Some(true));
        check(
            "topic = \"a\", idempotency_settings(tll = \"24h\", lock_timeout = \"soon\", ttl = \"1h\", ttl = \"2h\")",
            &[
                "unknown key `tll`",
                "this is not a duration",
                "`ttl` is set more than once",
            ],
        );
    }

    #[test]
    fn a_circuit_breaker_that_cannot_be_is_refused_on_its_own_token() {
        check("topic = \"a\", circuit_breaker()", &[]);
        check(
            "topic = \"a\", circuit_breaker(failure_rate = 50, failure_percent = 101, open_for = \"0s\", trials = 0)",
            &[
                "unknown key `failure_rate`",
                "`failure_percent` is a whole number from 1 to 100",
                "this duration is zero",
                "`trials` is a whole number from 1 to 1000000",
            ],
        );
        check(
            "topic = \"a\", circuit_breaker(window = \"1m\", window_calls = 50)",
            &["`window` and `window_calls` are two windows"],
        );
        check(
            "topic = \"a\", circuit_breaker(window_calls = 5, minimum_calls = 6)",
            &["`minimum_calls` is more than `window_calls`: it would never open"],
        );
    }

    #[test]
    fn keys_of_the_other_attribute_are_known() {
        let message = |attribute, text| parse(attribute, text).1.remove(0);
        assert_eq!(
            message(Attribute::SubscribeTo, "fetch_size = 5"),
            "`fetch_size` is not for `#[subscribe_to]`\nhelp: it is a key of `#[ordered_consumer]`",
        );
        assert_eq!(
            message(Attribute::OrderedConsumer, "batch_size = 5"),
            "`batch_size` is not for `#[ordered_consumer]`\nhelp: it is a key of `#[subscribe_to]`",
        );
    }
}
