//! Resolve ordered consumption and its stores: `messaging.ordering`, `handler_tuning.[].ordering`,
//! `database.kvstore`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Resolver;
use crate::nearest::nearest;
use crate::ordering::{
    Conflict, Durability, FirstSequenceRule, OrderingOptions, OrderingPolicies, Source, merge,
};
use crate::settings::error::{Fault, Origin, Problem};
use crate::settings::raw::{Field, RawOrdering, RawStore, RawStoreProvider};
use crate::settings::resolved::{
    DEFAULT_KVSTORE, KvStoreSettings, OrderingSettings, OrderingTuning, StoreBackend, default_kvstores,
};
use crate::settings::schema::{KVSTORES, ORDERING};
use crate::settings::secret::Secret;
use crate::settings::tree::join;

/// What a store's address may begin with.
const SCHEMES: [&str; 6] = [
    "redis://",
    "rediss://",
    "redis-cluster://",
    "rediss-cluster://",
    "redis-sentinel://",
    "rediss-sentinel://",
];

pub(super) type Stores = BTreeMap<String, KvStoreSettings>;

impl Resolver<'_> {
    pub(super) fn kvstores(&mut self, raw: &[(String, RawStore)]) -> Stores {
        let mut stores = default_kvstores();
        for (name, raw) in raw {
            let store = self.kvstore(name, raw);
            stores.insert(name.clone(), store);
        }
        stores
    }

    fn kvstore(&mut self, name: &str, raw: &RawStore) -> KvStoreSettings {
        let default = KvStoreSettings::new(name);
        let enabled = super::value_or(&raw.switch.enabled, default.enabled);
        let backend = self.choice(&raw.provider.backend, default.backend);
        self.fetch_secrets = enabled && backend == StoreBackend::Redis;
        let uri = self.secret(&raw.provider.uri);
        if self.fetch_secrets {
            self.check_uri(&join(KVSTORES, name), &raw.provider, uri.as_ref());
        }
        KvStoreSettings {
            enabled,
            namespace: self.text(&raw.switch.namespace).unwrap_or(default.namespace),
            backend,
            uri,
            ..default
        }
    }

    /// Refuse an address that is missing or of another kind, without a word of it.
    pub(super) fn check_uri(&mut self, section: &str, raw: &RawStoreProvider, uri: Option<&Secret>) {
        let Some(written) = &raw.uri else {
            let key = format!("{section}.provider.uri");
            let problem =
                Problem::missing("`backend = \"redis\"` needs it, such as \"redis://localhost:6379/0\"");
            let origin = raw.backend.as_ref().map(|written| written.origin.clone());
            let origin = origin.unwrap_or(Origin::BuiltIn);
            return self.faults.push(Fault::new(key, &origin, problem));
        };
        let is_known = |uri: &Secret| {
            let after = |scheme: &&str| uri.expose().strip_prefix(*scheme);
            SCHEMES.iter().filter_map(after).any(|rest| !rest.is_empty())
        };
        if uri.is_some_and(|uri| !is_known(uri)) {
            let schemes = SCHEMES.map(|scheme| format!("`{scheme}`")).join(", ");
            let reason = format!("must begin with one of {schemes}, and name a server");
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
    }

    pub(super) fn ordering(&mut self, raw: &RawOrdering, stores: &Stores) -> OrderingSettings {
        let options = self.ordering_options(raw);
        let (policies, conflicts) = merge(&OrderingPolicies::default(), &[(Source::Settings, &options)]);
        for conflict in conflicts {
            self.faults.push(raw.fault(conflict));
        }
        let kvstore = self.kvstore_name(&raw.kvstore, stores);
        let kvstore = kvstore.unwrap_or_else(|| DEFAULT_KVSTORE.to_owned());
        self.check_durability(raw, &policies, stores.get(&kvstore));
        OrderingSettings { kvstore, policies }
    }

    /// What contradicts other sources shows when handlers are put together.
    pub(super) fn ordering_tuning(&mut self, raw: &RawOrdering, stores: &Stores) -> OrderingTuning {
        OrderingTuning {
            kvstore: self.kvstore_name(&raw.kvstore, stores),
            policies: self.ordering_options(raw),
        }
    }

    pub(super) fn kvstore_name(&mut self, field: &Field<String>, stores: &Stores) -> Option<String> {
        let name = self.text(field)?;
        if let (false, Some(written)) = (stores.contains_key(&name), field) {
            let near = nearest(&name, stores.keys().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let reason = format!("there is no store `{name}`; add `database.kvstore.{name}`{near}");
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        Some(name)
    }

    /// In a profile, messages are not committed that wait in the memory of a process.
    fn check_durability(
        &mut self,
        raw: &RawOrdering,
        policies: &OrderingPolicies,
        store: Option<&KvStoreSettings>,
    ) {
        let embedded = store.filter(|store| store.backend == StoreBackend::Memory);
        let is_kept = policies.durability != Durability::Kafka;
        if let (true, true, Some(store), Some(written)) = (self.strict, is_kept, embedded, &raw.durability) {
            let reason = format!(
                "`redis` commits messages that wait, and the embedded store loses them with the process; \
                 set `database.kvstore.{}.provider.backend = \"redis\"`, or use `kafka`",
                store.name
            );
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
    }

    fn ordering_options(&mut self, raw: &RawOrdering) -> OrderingOptions {
        OrderingOptions {
            first_sequence: self.first_sequence(&raw.first_sequence),
            first_seen_settle: self.optional_milliseconds(&raw.first_seen_settle_ms),
            on_gap: self.optional_choice(&raw.on_gap),
            gap_timeout: self.optional_seconds(&raw.gap_timeout_seconds),
            on_late: self.optional_choice(&raw.on_late),
            on_regression: self.optional_choice(&raw.on_regression),
            on_poison: self.optional_choice(&raw.on_poison),
            max_deliveries: self.whole(&raw.max_deliveries, 1, MOST),
            room_max_messages: self.whole(&raw.room_max_messages, 1, MOST),
            room_max_bytes: self.whole(&raw.room_max_bytes, 1, MOST),
            bucket_max_messages: self.whole(&raw.bucket_max_messages, 1, MOST),
            bucket_max_bytes: self.whole(&raw.bucket_max_bytes, 1, MOST),
            buckets: self.whole(&raw.buckets, 1, 16_384),
            durability: self.optional_choice(&raw.durability),
            redis_ack_replicas: self.whole(&raw.redis_ack_replicas, 0, 1_000),
            redis_ack_fsync: raw.redis_ack_fsync.as_ref().map(|written| written.value),
            complete: self.optional_choice(&raw.complete),
            session_ttl: self.optional_milliseconds(&raw.session_ttl_ms),
            state_ttl: self.optional_seconds(&raw.state_ttl_seconds),
            sticky: raw.sticky.as_ref().map(|written| written.value),
        }
    }

    fn first_sequence(&mut self, field: &Field<String>) -> Option<FirstSequenceRule> {
        let written = field.as_ref()?;
        let word = written.value.as_str();
        let rule = word.parse().ok().map(FirstSequenceRule::Exact);
        let rule = rule.or_else(|| FirstSequenceRule::from_word(word));
        if rule.is_none() {
            let near = nearest(word, FirstSequenceRule::WORDS.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let reason =
                format!("`{word}` is neither a sequence (0 or more) nor `first_seen` or `hook`{near}");
            self.faults.push(written.fault(Problem::invalid(reason)));
        }
        rule
    }

    pub(super) fn optional_seconds(&mut self, field: &Field<f64>) -> Option<Duration> {
        field.is_some().then(|| self.seconds(field, Duration::ZERO))
    }

    /// The same, and not zero.
    pub(super) fn optional_some_seconds(&mut self, field: &Field<f64>) -> Option<Duration> {
        field.is_some().then(|| self.some_seconds(field, Duration::ZERO))
    }

    pub(super) fn whole<N: TryFrom<i128>>(
        &mut self,
        field: &Field<i128>,
        least: i128,
        most: i128,
    ) -> Option<N> {
        let written = field.as_ref()?;
        if (least..=most).contains(&written.value) {
            return N::try_from(written.value).ok();
        }
        let reason = format!("must be between {least} and {most}");
        self.faults.push(written.fault(Problem::invalid(reason)));
        None
    }
}

/// The most messages and bytes.
const MOST: i128 = i32::MAX as i128;

impl RawOrdering {
    /// Tell a conflict where it was written, or where what makes it necessary was.
    fn fault(&self, conflict: Conflict) -> Fault {
        fn origin<T>(field: &Field<T>) -> Option<&Origin> {
            field.as_ref().map(|written| &written.origin)
        }
        let written = match conflict.key {
            "first_seen_settle_ms" => origin(&self.first_seen_settle_ms),
            "gap_timeout_seconds" => origin(&self.gap_timeout_seconds).or(origin(&self.on_gap)),
            "redis_ack_replicas" => origin(&self.redis_ack_replicas),
            "redis_ack_fsync" => origin(&self.redis_ack_fsync),
            "room_max_messages" => origin(&self.room_max_messages),
            "room_max_bytes" => origin(&self.room_max_bytes),
            "session_ttl_ms" => origin(&self.session_ttl_ms),
            _ => None,
        };
        let reason = format!("{}; {}", conflict.problem, conflict.remedy);
        let problem = if conflict.is_missing {
            Problem::missing(reason)
        } else {
            Problem::invalid(reason)
        };
        Fault::new(
            join(ORDERING, conflict.key),
            written.unwrap_or(&Origin::BuiltIn),
            problem,
        )
    }
}
