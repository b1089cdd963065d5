use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// All that this service measures. Cloning shares the counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// See the registered help texts.
    pub links: Gauge,
    pub(crate) links_ended: Family<ReasonLabel, Counter>,
    pub(crate) rooms: Gauge,
    pub(crate) members: Gauge,
    pub(crate) commands: Family<CommandLabels, Counter>,
    pub(crate) pushes: Counter,
    pub(crate) pushed_entries: Counter,
    pub(crate) claims: Family<ResultLabel, Counter>,
    pub(crate) rooms_given_up: Family<ReasonLabel, Counter>,
    pub(crate) head_reads: Family<ResultLabel, Counter>,
    pub(crate) head_read_seconds: Histogram,
    pub(crate) superseded_reads: Family<ResultLabel, Counter>,
    pub(crate) superseded_read_seconds: Histogram,
    pub(crate) append_entries: Histogram,
    pub(crate) append_seconds: Histogram,
    pub(crate) entries: Counter,
    pub(crate) masked: Counter,
    pub(crate) digest_mismatches: Counter,
    pub(crate) outbox_bytes_max: Gauge<u64, AtomicU64>,
}

/// Why something ended; a closed set.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// How something ended; a closed set.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ResultLabel {
    pub(crate) result: &'static str,
}

/// Both labels are closed sets. Users, rooms and sessions are never labels.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct CommandLabels {
    pub(crate) command: &'static str,
    /// `ok`, or the refusal in snake case.
    pub(crate) result: &'static str,
}

/// From memory to a disk that is in trouble.
const STORE_TIMES: [f64; 11] = [1e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 2.0];

impl Metrics {
    /// Registers all under the prefix `chat`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            links: Gauge::default(),
            links_ended: Family::default(),
            rooms: Gauge::default(),
            members: Gauge::default(),
            commands: Family::default(),
            pushes: Counter::default(),
            pushed_entries: Counter::default(),
            claims: Family::default(),
            rooms_given_up: Family::default(),
            head_reads: Family::default(),
            head_read_seconds: Histogram::new(STORE_TIMES),
            superseded_reads: Family::default(),
            superseded_read_seconds: Histogram::new(STORE_TIMES),
            // How well appends gather: 1 when idle, hundreds under load.
            append_entries: Histogram::new([
                1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0,
            ]),
            append_seconds: Histogram::new(STORE_TIMES),
            entries: Counter::default(),
            masked: Counter::default(),
            digest_mismatches: Counter::default(),
            outbox_bytes_max: Gauge::default(),
        };
        let r = registry.sub_registry_with_prefix("chat");
        r.register("links", "Connectors linked to this shard now", metrics.links.clone());
        r.register("links_ended", "Links that ended, by reason", metrics.links_ended.clone());
        r.register("rooms", "Rooms that this shard serves now", metrics.rooms.clone());
        r.register("members", "Names in all rosters now", metrics.members.clone());
        r.register(
            "commands",
            "Commands of connectors and back ends, by kind and result",
            metrics.commands.clone(),
        );
        r.register(
            "masked",
            "Messages in which the word filter masked something",
            metrics.masked.clone(),
        );
        r.register("pushes", "Events sent to connectors, replies included", metrics.pushes.clone());
        r.register(
            "pushed_entries",
            "Messages sent to connectors, once per connector",
            metrics.pushed_entries.clone(),
        );
        r.register("claims", "Claims of rooms in the store, by result", metrics.claims.clone());
        r.register(
            "rooms_given_up",
            "Rooms that this shard stopped serving, by reason",
            metrics.rooms_given_up.clone(),
        );
        r.register(
            "append_entries",
            "Messages stored by one call of the store",
            metrics.append_entries.clone(),
        );
        r.register_with_unit(
            "append",
            "Time of one append in the store",
            Unit::Seconds,
            metrics.append_seconds.clone(),
        );
        r.register("entries", "Messages stored", metrics.entries.clone());
        metrics.register_owning(r);
        r.register(
            "digest_mismatches",
            "Rooms in which a connector knew something else than it was sent",
            metrics.digest_mismatches.clone(),
        );
        r.register_with_unit(
            "link_outbox_max",
            "The most that has waited for one connector since the start",
            Unit::Bytes,
            metrics.outbox_bytes_max.clone(),
        );
        metrics
    }

    /// What a shard asks the store to know that its rooms are still its own.
    fn register_owning(&self, r: &mut Registry) {
        r.register(
            "head_reads",
            "Rooms whose newest entry was read to see who owns them, by result",
            self.head_reads.clone(),
        );
        r.register_with_unit(
            "head_read",
            "Time of one read of newest entries, of many rooms at once",
            Unit::Seconds,
            self.head_read_seconds.clone(),
        );
        r.register(
            "superseded_reads",
            "Questions to the store which rooms other shards have claimed, by result",
            self.superseded_reads.clone(),
        );
        r.register_with_unit(
            "superseded_read",
            "Time of one question which rooms other shards have claimed",
            Unit::Seconds,
            self.superseded_read_seconds.clone(),
        );
    }

    pub(crate) fn command(&self, command: &'static str, result: &'static str) {
        self.commands.get_or_create(&CommandLabels { command, result }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts use these names; this test is what notices a rename.
    #[test]
    fn names() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.command("join", "ok");
        metrics.head_reads.get_or_create(&ResultLabel { result: "owned" }).inc();
        metrics.superseded_reads.get_or_create(&ResultLabel { result: "none" }).inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "chat_links 0",
            "chat_rooms 0",
            "chat_members 0",
            "chat_commands_total{command=\"join\",result=\"ok\"} 1",
            "chat_masked_total 0",
            "chat_append_seconds_count 0",
            "chat_entries_total 0",
            "chat_link_outbox_max_bytes 0",
            "chat_head_reads_total{result=\"owned\"} 1",
            "chat_head_read_seconds_count 0",
            "chat_superseded_reads_total{result=\"none\"} 1",
            "chat_superseded_read_seconds_count 0",
        ] {
            assert!(text.contains(name), "{name} is missing from:\n{text}");
        }
    }
}
