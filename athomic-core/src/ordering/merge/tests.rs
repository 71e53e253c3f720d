use super::*;
use crate::ordering::GapAction;

type Change = fn(&mut OrderingOptions);

fn layers(said: &[(Source, Change)]) -> (OrderingPolicies, Vec<String>) {
    let options: Vec<_> = said
        .iter()
        .map(|(source, change)| {
            let mut options = OrderingOptions::new();
            change(&mut options);
            (*source, options)
        })
        .collect();
    let layers: Vec<_> = options
        .iter()
        .map(|(source, options)| (*source, options))
        .collect();
    let (policies, conflicts) = merge(&OrderingPolicies::default(), &layers);
    let told = |conflict: &Conflict| format!("{:?} {}: {}", conflict.source, conflict.key, conflict.problem);
    (policies, conflicts.iter().map(told).collect())
}

fn holds(said: &[(Source, Change)]) -> OrderingPolicies {
    let (policies, conflicts) = layers(said);
    assert_eq!(conflicts, [""; 0]);
    policies
}

fn check(said: &[(Source, Change)], expected: &str) {
    assert_eq!(layers(said).1, [expected]);
}

const SECONDS: Duration = Duration::from_secs(30);
const SKIP: Change = |options| options.on_gap = Some(GapRule::Act(GapAction::Skip));
const WAIT: Change = |options| options.on_gap = Some(GapRule::Wait);
const TIMEOUT: Change = |options| options.gap_timeout = Some(SECONDS);
const NEVER: Change = |options| options.gap_timeout = Some(Duration::ZERO);

#[test]
fn the_strongest_source_of_each_key_wins() {
    let policies = holds(&[
        (Source::Settings, |options| {
            options.buckets = Some(8);
            options.sticky = Some(false);
            options.room_max_messages = Some(5);
        }),
        (Source::Attribute, |options| {
            options.buckets = Some(16);
            options.room_max_messages = Some(6);
        }),
        (Source::HandlerTuning, |options| options.buckets = Some(32)),
    ]);
    assert_eq!(
        (policies.buckets, policies.room_max_messages, policies.sticky),
        (32, 6, false)
    );
    assert_eq!(
        policies.max_deliveries,
        OrderingPolicies::default().max_deliveries
    );
}

#[test]
fn policies_that_are_written_down_key_by_key_stay_the_same() {
    let all = OrderingPolicies {
        first_sequence: FirstSequence::FirstSeen { settle: SECONDS },
        on_gap: OnGap::After(SECONDS, GapAction::Halt),
        durability: Durability::Redis {
            replicas: 2,
            fsync: true,
        },
        state_ttl: Some(SECONDS),
        ..OrderingPolicies::default()
    };
    for policies in [OrderingPolicies::default(), all] {
        assert_eq!(merge(&policies, &[]), (policies.clone(), Vec::new()));
        let written = OrderingOptions::from(&policies);
        let merged = merge(&OrderingPolicies::default(), &[(Source::Settings, &written)]);
        assert_eq!(merged, (policies, Vec::new()));
    }
}

#[test]
fn a_gap_needs_an_action_and_a_time() {
    let after = OnGap::After(SECONDS, GapAction::Skip);
    assert_eq!(
        holds(&[(Source::Settings, SKIP), (Source::Attribute, TIMEOUT)]).on_gap,
        after
    );
    check(
        &[(Source::Attribute, SKIP)],
        "Attribute gap_timeout_seconds: `on_gap = \"skip\"` needs it",
    );
    check(
        &[(Source::Attribute, TIMEOUT)],
        "Attribute gap_timeout_seconds: has no effect with `on_gap = \"wait\"`, which waits for ever",
    );
    check(
        &[
            (Source::Settings, SKIP),
            (Source::Settings, TIMEOUT),
            (Source::HandlerTuning, NEVER),
        ],
        "HandlerTuning gap_timeout_seconds: is 0, and then `on_gap = \"skip\"` never does anything",
    );
}

#[test]
fn what_a_stronger_source_makes_useless_is_left_alone() {
    let said = [
        (Source::Settings, SKIP),
        (Source::Settings, TIMEOUT),
        (Source::Attribute, WAIT),
    ];
    assert_eq!(holds(&said).on_gap, OnGap::Wait);
    check(
        &[(Source::Settings, WAIT), (Source::Attribute, TIMEOUT)],
        "Attribute gap_timeout_seconds: has no effect with `on_gap = \"wait\"`, which waits for ever",
    );
}

#[test]
fn the_settle_time_is_for_first_seen() {
    let first_seen: Change = |options| options.first_sequence = Some(FirstSequenceRule::FirstSeen);
    let settle: Change = |options| options.first_seen_settle = Some(SECONDS);
    let seen = |settle| FirstSequence::FirstSeen { settle };
    assert_eq!(
        holds(&[(Source::Attribute, first_seen)]).first_sequence,
        seen(SETTLE)
    );
    let both = [(Source::Settings, first_seen), (Source::Attribute, settle)];
    assert_eq!(holds(&both).first_sequence, seen(SECONDS));
    check(
        &[(Source::Settings, settle)],
        "Settings first_seen_settle_ms: has no effect with `first_sequence = 1`",
    );
    let hook: Change = |options| {
        options.first_sequence = Some(FirstSequenceRule::Hook);
        options.first_seen_settle = Some(SECONDS);
    };
    check(
        &[(Source::Attribute, hook)],
        "Attribute first_seen_settle_ms: has no effect with `first_sequence = \"hook\"`",
    );
}

#[test]
fn acknowledgements_of_redis_are_for_its_durability() {
    let redis: Change = |options| options.durability = Some(DurabilityRule::Redis);
    let acknowledged: Change = |options| {
        options.redis_ack_replicas = Some(2);
        options.redis_ack_fsync = Some(true);
    };
    let durability = holds(&[(Source::Settings, redis), (Source::Attribute, acknowledged)]).durability;
    assert_eq!(
        durability,
        Durability::Redis {
            replicas: 2,
            fsync: true
        }
    );
    let (_, conflicts) = layers(&[(Source::HandlerTuning, acknowledged)]);
    let told = "has no effect with `durability = \"kafka\"`, where nothing is lost with the store";
    assert_eq!(
        conflicts,
        ["redis_ack_replicas", "redis_ack_fsync"].map(|key| format!("HandlerTuning {key}: {told}"))
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused_all_at_once() {
    let (_, conflicts) = layers(&[(Source::Attribute, |options| {
        options.max_deliveries = Some(0);
        options.room_max_bytes = Some(0);
        options.room_max_messages = Some(11);
        options.bucket_max_messages = Some(10);
        options.buckets = Some(16_385);
        options.session_ttl = Some(Duration::from_millis(2_999));
    })]);
    let expected = [
        "max_deliveries: is 0, and then no message could ever be handled",
        "room_max_messages: is 11, which is more than its bucket takes (`bucket_max_messages` is 10)",
        "room_max_bytes: is 0, and then no message could wait for the one before it",
        "buckets: is 16385",
        "session_ttl_ms: is 2999 ms: a pause of the process or the network would cost it its aggregates",
    ];
    assert_eq!(
        conflicts,
        expected.map(|conflict| format!("Attribute {conflict}"))
    );
    holds(&[(Source::Attribute, |options| {
        options.buckets = Some(16_384);
        options.session_ttl = Some(Duration::from_secs(3));
    })]);
    check(
        &[(Source::Attribute, |options| options.buckets = Some(0))],
        "Attribute buckets: is 0",
    );
}

#[test]
fn a_smaller_bucket_makes_smaller_rooms() {
    let policies = holds(&[(Source::Attribute, |options| {
        options.bucket_max_messages = Some(10)
    })]);
    assert_eq!(policies.room_max_messages, 10);
}
