//! The checks at the start: whether a server keeps what must not be lost.

use athomic_core::ordering::Durability;
use athomic_core::store::StoreError;
use fred::error::Error;
use fred::types::Value;
use fred::types::config::Server;

use crate::connection::Connection;
use crate::error::classify;

/// The commands that the user needs, as `ACL SETUSER` takes them; `+waitaof` too where parked messages
/// wait for the disk.
pub const COMMANDS: &str = "+evalsha +eval +info +cluster|slots +cluster|info +wait +time \
     +get +set +del +exists +persist +pexpire +hget +hmget +hset +hsetnx +hdel +hexists +hstrlen +hincrby \
     +lpush +ltrim +lrange +zadd +zrem +zscore +zcard +zcount +zrange +zrangebyscore +zrangebylex \
     +zremrangebylex";

/// Checks a store that has a name in errors.
pub(crate) struct Fitness<'a> {
    pub(crate) store: &'a str,
    pub(crate) connection: &'a Connection,
    pub(crate) is_cluster: bool,
    pub(crate) durability: Durability,
    pub(crate) eviction: Eviction,
}

/// What is to be said of a server that evicts keys when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// It is not fit: what it evicts must not be lost.
    Refused,
    /// It is warned of: what it evicts costs repeats.
    Endured,
}

impl Fitness<'_> {
    /// Check all servers.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        if !self.is_cluster {
            return self.check_server(None).await;
        }
        self.check_slots().await?;
        for node in self.connection.nodes() {
            self.check_server(Some(&node)).await?;
        }
        Ok(())
    }

    /// Warn of servers that keep no log of their writes on disk.
    pub(crate) async fn check_persistence(&self) -> Result<(), StoreError> {
        let nodes: Vec<_> = if self.is_cluster {
            self.connection.nodes().into_iter().map(Some).collect()
        } else {
            vec![None]
        };
        for node in nodes {
            let info = self.ask(node.as_ref(), "INFO", &[]).await?;
            if field(&info, "aof_enabled") == Some("0") {
                tracing::warn!(
                    store = self.store,
                    "the store keeps no log on disk: delayed messages that wait there are lost when it restarts; set \
                     `appendonly yes` there"
                );
            }
        }
        Ok(())
    }

    async fn check_server(&self, node: Option<&Server>) -> Result<(), StoreError> {
        let info = self.ask(node, "INFO", &[]).await?;
        let version = field(&info, "redis_version").unwrap_or("0");
        if number(version, 0) < 7 {
            return self.unfit(
                format!("it is Redis {version}"),
                "use Redis 7.0 or newer, or Valkey",
            );
        }
        if !self.is_cluster && field(&info, "cluster_enabled") == Some("1") {
            return self.unfit(
                "it is a node of a cluster".to_owned(),
                "begin the `uri` with `redis-cluster://` or `rediss-cluster://`",
            );
        }
        if let Durability::Redis { fsync: true, .. } = self.durability {
            let is_old = (number(version, 0), number(version, 1)) < (7, 2);
            if is_old || field(&info, "aof_enabled") != Some("1") {
                return self.unfit(
                    format!("it is Redis {version} and does not tell when a write is on its disk"),
                    "use Redis 7.2 or newer with `appendonly yes`, or take `fsync` out of the settings",
                );
            }
        }
        self.check_eviction(node, &info).await
    }

    async fn check_eviction(&self, node: Option<&Server>, info: &str) -> Result<(), StoreError> {
        let asked;
        let policy = match field(info, "maxmemory_policy") {
            Some(policy) => policy,
            None => match self.ask(node, "CONFIG", &["GET", "maxmemory-policy"]).await {
                Ok(answer) => {
                    asked = answer;
                    asked.lines().last().unwrap_or_default()
                }
                Err(StoreError::Refused { .. } | StoreError::Malformed { .. }) => {
                    tracing::warn!(
                        store = self.store,
                        "cannot see whether the store evicts keys; `maxmemory-policy` must be `noeviction`"
                    );
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        if policy == "noeviction" {
            return Ok(());
        }
        if self.eviction == Eviction::Endured {
            tracing::warn!(
                store = self.store,
                policy,
                "the store evicts keys when it is full: messages whose marks it evicts may be handled again; \
                 set `maxmemory-policy noeviction` there"
            );
            return Ok(());
        }
        self.unfit(
            format!("its `maxmemory-policy` is `{policy}`, and what it evicts is lost"),
            "set `maxmemory-policy noeviction` there",
        )
    }

    /// Check that each slot of a cluster is served by somebody.
    async fn check_slots(&self) -> Result<(), StoreError> {
        let info = self.ask(None, "CLUSTER", &["INFO"]).await?;
        let assigned = field(&info, "cluster_slots_assigned").unwrap_or("0");
        if assigned != "16384" {
            return self.unfit(
                format!("only {assigned} of the 16384 slots of the cluster are assigned"),
                "assign all slots to its nodes, `redis-cli --cluster fix` helps",
            );
        }
        match field(&info, "cluster_state") {
            Some("ok") => Ok(()),
            state => Err(StoreError::Unavailable {
                store: self.store.to_owned(),
                reason: format!("the state of the cluster is `{}`", state.unwrap_or("unknown")),
            }),
        }
    }

    async fn ask(
        &self,
        node: Option<&Server>,
        name: &'static str,
        arguments: &[&str],
    ) -> Result<String, StoreError> {
        let answer: Result<Value, Error> = self.connection.on_node(node, name, arguments).await;
        let answer = answer.map_err(|error| classify(self.store, error))?;
        let parts = answer.into_array().into_iter();
        let texts: Vec<_> = parts.filter_map(|part| part.as_string()).collect();
        Ok(texts.join("\n"))
    }

    fn unfit(&self, reason: String, remedy: &str) -> Result<(), StoreError> {
        Err(StoreError::Unfit {
            store: self.store.to_owned(),
            reason,
            remedy: remedy.to_owned(),
        })
    }
}

/// Return a field of an INFO.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim_end)
}

/// Return a part of a version.
fn number(version: &str, part: usize) -> u32 {
    let part = version.split('.').nth(part).unwrap_or_default();
    part.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documents_list_the_rights() {
        let page = include_str!("../../docs/redis.md");
        let (_, list) = page.split_once("ACL SETUSER").expect("the command is there");
        let (list, _) = list.split_once("```").expect("it ends");
        let words = |text: &'static str| text.split_whitespace().filter(|word| word.starts_with('+'));
        assert_eq!(words(list).collect::<BTreeSet<_>>(), words(COMMANDS).collect());
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(
            (number("7.0.15", 0), number("7.2.4", 1), number("10", 1)),
            (7, 2, 0)
        );
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_versions:8\r\n";
        assert_eq!(field(info, "redis_version"), Some("7.0.15"));
        assert_eq!(field(info, "redis"), None);
    }
}
