//! The keys of `#[ordered_consumer]` that say what happens when order is in danger.
//!
//! They have the names of the settings below `integration.messaging.ordering`, without the units of
//! durations. All are read by one function, as their kinds say.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::LitInt;
use syn::parse::ParseStream;

use super::{Args, Key, Kind, ORDERED, duration, duration_from, flag, number, one_of};
use crate::errors::{Errors, mistake_at};

/// The table of policies.
pub(crate) static POLICIES: &[Key] = &[
    policy(
        "first_sequence",
        Kind::NumberOr(&["first_seen", "hook"]),
        "first_sequence = 1",
        "Where an aggregate begins: with this sequence, with the lowest that is seen, or as the application says.",
    ),
    policy(
        "first_seen_settle",
        Kind::DurationFrom(0),
        "first_seen_settle = \"5s\"",
        "With `first_sequence = \"first_seen\"`: how long lower sequences are waited for.",
    ),
    policy(
        "on_gap",
        Kind::Word(&["wait", "hold", "skip", "dlq", "halt"]),
        "on_gap = \"skip\"",
        "What follows when a sequence does not come: its aggregate waits (`hold` is the same), goes on without it, gives up what waits, or halts.",
    ),
    policy(
        "gap_timeout",
        Kind::Duration,
        "gap_timeout = \"30s\"",
        "How long a missing sequence is waited for, unless `on_gap` is `wait`.",
    ),
    policy(
        "on_late",
        Kind::Word(&["dlq", "drop"]),
        "on_late = \"drop\"",
        "What becomes of a sequence that comes after it was skipped.",
    ),
    policy(
        "on_regression",
        Kind::Word(&["drop", "dlq", "halt"]),
        "on_regression = \"halt\"",
        "What follows when an aggregate's sequences begin anew.",
    ),
    policy(
        "on_poison",
        Kind::Word(&["dlq_and_continue", "dlq_sequence", "halt"]),
        "on_poison = \"halt\"",
        "What follows when all attempts at a message failed: it is given up, or all later ones of its aggregate with it, or the aggregate halts.",
    ),
    policy(
        "max_deliveries",
        Kind::NumberTo(1, MOST),
        "max_deliveries = 5",
        "How often a message may be begun before it counts as the cause of its processes' deaths.",
    ),
    policy(
        "room_max_messages",
        Kind::Number(1),
        "room_max_messages = 10000",
        "The most messages of one aggregate that wait.",
    ),
    policy(
        "room_max_bytes",
        Kind::Number(1),
        "room_max_bytes = 16777216",
        "The most bytes of one aggregate that wait.",
    ),
    policy(
        "bucket_max_messages",
        Kind::Number(1),
        "bucket_max_messages = 1000000",
        "The most messages of one bucket that wait.",
    ),
    policy(
        "bucket_max_bytes",
        Kind::Number(1),
        "bucket_max_bytes = 67108864",
        "The most bytes of one bucket that wait.",
    ),
    policy(
        "buckets",
        Kind::NumberTo(1, 16_384),
        "buckets = 64",
        "Into how many parts the aggregates are spread. Fixed once messages were handled.",
    ),
    policy(
        "durability",
        Kind::Word(&["kafka", "redis"]),
        "durability = \"redis\"",
        "Who keeps a message that waits: Kafka, whose offset is held back, or the store.",
    ),
    policy(
        "redis_ack_replicas",
        Kind::NumberTo(0, 1000),
        "redis_ack_replicas = 1",
        "With `durability = \"redis\"`: how many replicas must have a message before it is committed.",
    ),
    policy(
        "redis_ack_fsync",
        Kind::Flag,
        "redis_ack_fsync = true",
        "With `durability = \"redis\"`: whether a message must be on disk before it is committed.",
    ),
    policy(
        "complete",
        Kind::Word(&["sync", "pipelined"]),
        "complete = \"pipelined\"",
        "Whether the next message waits until the store has the completion of the one before.",
    ),
    policy(
        "session_ttl",
        Kind::DurationFrom(3000),
        "session_ttl = \"10s\"",
        "After which silence of a process its aggregates go to others.",
    ),
    policy(
        "state_ttl",
        Kind::DurationFrom(0),
        "state_ttl = \"30d\"",
        "After which idleness an aggregate is forgotten, so that it has to begin anew; `\"0s\"` is never.",
    ),
    policy(
        "sticky",
        Kind::Flag,
        "sticky = false",
        "Whether an aggregate stays with its process while nothing of it comes.",
    ),
];

/// The most times, as in the settings.
const MOST: u64 = 2_147_483_647;

const fn policy(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need: ORDERED,
        example,
        doc,
        default: "as in the settings",
        read,
    }
}

/// The value of a policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    Number(u64),
    Flag(bool),
    Duration(Duration),
    Word(&'static str),
}

fn read(args: &mut Args, key: &Key, input: ParseStream) -> syn::Result<()> {
    let value = match key.kind {
        Kind::NumberOr(_) if input.peek(LitInt) => Policy::Number(number(key, input)?),
        Kind::Number(_) | Kind::NumberTo(..) => Policy::Number(number(key, input)?),
        Kind::Flag => Policy::Flag(flag(input)?),
        Kind::Duration => Policy::Duration(duration(input)?),
        Kind::DurationFrom(least) => Policy::Duration(duration_from(least, key, input)?),
        Kind::Word(_) | Kind::NumberOr(_) => Policy::Word(one_of(key, input)?),
        _ => unreachable!("policies are of these kinds"),
    };
    args.policies.push((key.name, value));
    Ok(())
}

impl Args {
    fn policy(&self, name: &str) -> Option<Policy> {
        let said = self.policies.iter().find(|(said, _)| *said == name);
        said.map(|(_, value)| *value)
    }

    /// Find what would be ignored beside something else in the same attribute.
    pub(crate) fn check_policies(&self, errors: &mut Errors) {
        use Policy::{Flag, Number, Word};
        if let Some(word @ Word("wait" | "hold")) = self.policy("on_gap") {
            let help = "set `on_gap` to `\"skip\"`, `\"dlq\"` or `\"halt\"`, or remove it";
            self.refuse("gap_timeout", ("on_gap", word), help, errors);
        }
        if let Some(other @ (Number(_) | Word("hook"))) = self.policy("first_sequence") {
            let help = "set `first_sequence = \"first_seen\"`, or remove it";
            self.refuse("first_seen_settle", ("first_sequence", other), help, errors);
        }
        if let Some(word @ Word("kafka")) = self.policy("durability") {
            let help = "set `durability = \"redis\"`, or remove it";
            for name in ["redis_ack_replicas", "redis_ack_fsync"] {
                if !matches!(self.policy(name), Some(Number(0) | Flag(false))) {
                    self.refuse(name, ("durability", word), help, errors);
                }
            }
        }
        self.check_rooms("room_max_messages", "bucket_max_messages", errors);
        self.check_rooms("room_max_bytes", "bucket_max_bytes", errors);
    }

    fn refuse(&self, name: &str, (by, value): (&str, Policy), help: &str, errors: &mut Errors) {
        if let Some(place) = self.place_of(name) {
            let value = match value {
                Policy::Word(word) => format!("\"{word}\""),
                Policy::Number(number) => number.to_string(),
                Policy::Flag(_) | Policy::Duration(_) => unreachable!("it is a word or a number"),
            };
            let wrong = format!("`{name}` has no effect with `{by} = {value}`");
            errors.push(mistake_at(place, wrong, help));
        }
    }

    fn check_rooms(&self, room: &str, bucket: &str, errors: &mut Errors) {
        let most = (self.policy(room), self.policy(bucket), self.place_of(room));
        if let (Some(Policy::Number(within)), Some(Policy::Number(most)), Some(place)) = most
            && within > most
        {
            let wrong = format!("`{room}` is more than `{bucket}`, and could never be reached");
            errors.push(mistake_at(place, wrong, "lower it, or raise the bucket's"));
        }
    }
}

/// Return the variant that a word stands for.
pub(crate) fn variant(name: &str, word: &str) -> TokenStream {
    let path = match (name, word) {
        ("first_sequence", "first_seen") => quote!(FirstSequenceRule::FirstSeen),
        ("first_sequence", _) => quote!(FirstSequenceRule::Hook),
        ("on_gap", "skip") => quote!(GapRule::Act(__athomic::GapAction::Skip)),
        ("on_gap", "dlq") => quote!(GapRule::Act(__athomic::GapAction::DeadLetter)),
        ("on_gap", "halt") => quote!(GapRule::Act(__athomic::GapAction::Halt)),
        ("on_gap", _) => quote!(GapRule::Wait),
        ("on_late", "drop") => quote!(OnLate::Drop),
        ("on_late", _) => quote!(OnLate::DeadLetter),
        ("on_regression", "drop") => quote!(OnRegression::Drop),
        ("on_regression", "halt") => quote!(OnRegression::Halt),
        ("on_regression", _) => quote!(OnRegression::DeadLetter),
        ("on_poison", "dlq_sequence") => quote!(OnPoison::DlqSequence),
        ("on_poison", "halt") => quote!(OnPoison::Halt),
        ("on_poison", _) => quote!(OnPoison::DlqAndContinue),
        ("durability", "redis") => quote!(DurabilityRule::Redis),
        ("durability", _) => quote!(DurabilityRule::Kafka),
        ("complete", "pipelined") => quote!(CompleteMode::Pipelined),
        ("complete", _) => quote!(CompleteMode::Sync),
        _ => unreachable!("these are the policies with words"),
    };
    quote!(__athomic::#path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Attribute;

    fn check(text: &str, expected: &[&str]) {
        let mut errors = Errors::default();
        let required =
            "topic = \"t\", group_id = \"g\", aggregate_key_field = \"k\", sequence_id_field = \"s\", ";
        let tokens = format!("{required}{text}").parse().unwrap();
        let args = Args::parse(Attribute::OrderedConsumer, tokens, &mut errors);
        args.check_policies(&mut errors);
        let messages = errors.messages();
        let first_lines: Vec<_> = messages
            .iter()
            .filter_map(|message| message.lines().next())
            .collect();
        assert_eq!(first_lines, expected, "{text}");
    }

    #[test]
    fn words_numbers_and_durations_are_checked() {
        check(
            "first_sequence = 0, first_sequence = hook",
            &["`first_sequence` is set more than once"],
        );
        check(
            "first_sequence = \"first_sen\", on_gap = skipp, buckets = 16385, max_deliveries = 0, \
             session_ttl = \"2999ms\", gap_timeout = \"0s\", redis_ack_replicas = 1001, state_ttl = \"0s\"",
            &[
                "`first_sequence` cannot be `first_sen`",
                "`on_gap` cannot be `skipp`",
                "`buckets` is a whole number from 1 to 16384",
                "`max_deliveries` is a whole number from 1 to 2147483647",
                "this duration is too short",
                "this duration is zero",
                "`redis_ack_replicas` is a whole number from 0 to 1000",
            ],
        );
        check(
            "first_sequence = true, first_seen_settle = 5",
            &[
                "`first_sequence` takes a whole number from 0, `\"first_seen\"` or `\"hook\"`",
                "`first_seen_settle` takes a duration such as `\"0s\"`, `\"250ms\"` or `\"1h30m\"`",
            ],
        );
    }

    #[test]
    fn what_would_be_ignored_is_a_mistake() {
        let wait = "`gap_timeout` has no effect with `on_gap = \"wait\"`";
        check("gap_timeout = \"1s\", on_gap = \"wait\"", &[wait]);
        check("gap_timeout = \"1s\"", &[]);
        check("on_gap = \"skip\"", &[]);
        check(
            "first_sequence = 7, first_seen_settle = \"0s\"",
            &["`first_seen_settle` has no effect with `first_sequence = 7`"],
        );
        check("first_sequence = first_seen, first_seen_settle = \"0s\"", &[]);
        check(
            "durability = kafka, redis_ack_replicas = 1, redis_ack_fsync = true",
            &[
                "`redis_ack_replicas` has no effect with `durability = \"kafka\"`",
                "`redis_ack_fsync` has no effect with `durability = \"kafka\"`",
            ],
        );
        check(
            "durability = kafka, redis_ack_replicas = 0, redis_ack_fsync = false",
            &[],
        );
        check(
            "room_max_bytes = 3, bucket_max_bytes = 2",
            &["`room_max_bytes` is more than `bucket_max_bytes`, and could never be reached"],
        );
    }
}
