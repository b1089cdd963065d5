//! Asks processes, many at once, each within a deadline.

use std::{collections::BTreeMap, time::Duration};

use chassis::World;
use futures::{StreamExt, stream};
use rpc::{
    Operator,
    chat::v1::{self as chat, chat_service_client::ChatServiceClient},
    connector::v1::{self as connector, connector_service_client::ConnectorServiceClient},
    gate::v1::{self as gate, gate_service_client::GateServiceClient},
    process::v1::Process,
};
use tonic::{Request, Status, transport::Channel};

use crate::names;

/// What kind of process somebody is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tier {
    Gate,
    Connector,
    Chat,
}

impl Tier {
    pub(crate) const ALL: [Self; 3] = [Self::Gate, Self::Connector, Self::Chat];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Connector => "connector",
            Self::Chat => "chat",
        }
    }
}

/// Somebody who is asked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) tier: Tier,
    /// Its name as it is listed; empty if the list has none.
    pub(crate) id: String,
    pub(crate) addr: String,
}

/// What came of asking somebody.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) target: Target,
    /// The answer, or why there is none, in one line.
    pub(crate) answer: Result<Answer, String>,
}

/// What a process says.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) process: Process,
    /// How far its clock is ahead of ours, milliseconds, give or take half of the
    /// time that the call took.
    pub(crate) skew_ms: i64,
    /// Counts by the names that they have in the proto file, in its order.
    pub(crate) counts: Vec<(&'static str, u64)>,
}

/// Asks within limits.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) world: World,
    pub(crate) operator: Operator,
    /// How long one process may take, connecting included.
    pub(crate) timeout: Duration,
    /// How many are asked at once.
    pub(crate) parallel: usize,
}

impl Asker {
    /// Asks all for their stats; the rows are in the order of the targets.
    pub(crate) async fn stats(&self, targets: Vec<Target>) -> Vec<Row> {
        let ask = async |target: Target| {
            let answer = self.in_time(self.stats_of(&target)).await;
            Row { target, answer }
        };
        stream::iter(targets).map(ask).buffered(self.parallel).collect().await
    }

    /// The same, with one for each address of a name that has several. Who has no address
    /// stays: asking tells why.
    pub(crate) async fn at_all_addresses(&self, targets: Vec<Target>) -> Vec<Target> {
        let net = &self.world.net;
        let expand = async |target: Target| -> Vec<Target> {
            match names::addresses(net, &target.addr, self.timeout).await {
                Ok(found) if found.len() > 1 => {
                    let at = |addr: String| Target { addr, ..target.clone() };
                    found.into_iter().map(at).collect()
                }
                Ok(_) | Err(_) => vec![target],
            }
        };
        let all: Vec<_> = stream::iter(targets).map(expand).buffered(self.parallel).collect().await;
        all.into_iter().flatten().collect()
    }

    /// The connectors that at least one of the gates knows of, by address: also those
    /// that are down. None if no gate answers; why, its own row tells.
    pub(crate) async fn connectors(&self, gates: &[Target]) -> Vec<Target> {
        let ask = async |gate: &Target| self.in_time(self.connectors_of(gate)).await;
        let known: Vec<_> = stream::iter(gates).map(ask).buffered(self.parallel).collect().await;
        let known: BTreeMap<String, String> = known
            .into_iter()
            .flatten()
            .flatten()
            .map(|connector| (connector.grpc_addr, connector.id))
            .collect();
        let target = |(addr, id)| Target { tier: Tier::Connector, id, addr };
        let mut targets: Vec<Target> = known.into_iter().map(target).collect();
        targets.sort_by(|a, b| (&a.id, &a.addr).cmp(&(&b.id, &b.addr)));
        targets
    }

    async fn in_time<T>(&self, ask: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        tokio::time::timeout(self.timeout, ask).await.unwrap_or_else(|_| {
            Err(format!("no answer within {}", humantime::format_duration(self.timeout)))
        })
    }

    async fn channel(&self, target: &Target) -> Result<Channel, String> {
        let channel = self.world.net.channel(&target.addr).await;
        channel.map_err(|error| format!("cannot connect: {}", innermost(&error)))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.operator.sign(&mut request);
        request
    }

    async fn connectors_of(&self, target: &Target) -> Result<Vec<gate::Connector>, String> {
        let mut client = GateServiceClient::new(self.channel(target).await?);
        let asked = client.connectors(self.request(gate::ConnectorsRequest {})).await;
        asked.map(|answer| answer.into_inner().connectors).map_err(|status| refused(&status))
    }

    async fn stats_of(&self, target: &Target) -> Result<Answer, String> {
        let channel = self.channel(target).await?;
        let asked_at = self.world.clock.unix_ms();
        let said = match target.tier {
            Tier::Gate => {
                let request = self.request(gate::StatsRequest {});
                GateServiceClient::new(channel)
                    .stats(request)
                    .await
                    .map(|a| of_gate(a.into_inner()))
            }
            Tier::Connector => {
                let request = self.request(connector::StatsRequest {});
                let asked = ConnectorServiceClient::new(channel).stats(request).await;
                asked.map(|answer| of_connector(answer.into_inner()))
            }
            Tier::Chat => {
                let request = self.request(chat::StatsRequest {});
                ChatServiceClient::new(channel)
                    .stats(request)
                    .await
                    .map(|a| of_chat(a.into_inner()))
            }
        };
        let (process, counts) = said.map_err(|status| refused(&status))?;
        let process = process.ok_or("it says nothing of itself")?;
        let ours = asked_at.midpoint(self.world.clock.unix_ms());
        let skew_ms = process.now_ms.cast_signed().saturating_sub(ours.cast_signed());
        Ok(Answer { process, skew_ms, counts })
    }
}

type Said = (Option<Process>, Vec<(&'static str, u64)>);

fn of_gate(stats: gate::StatsResponse) -> Said {
    let counts = vec![
        ("connectors_ready", stats.connectors_ready),
        ("connectors_draining", stats.connectors_draining),
        ("connectors_down", stats.connectors_down),
        ("connections", stats.connections),
        ("sessions", stats.sessions),
        ("assignments", stats.assignments),
        ("refusals", stats.refusals),
        ("announcements", stats.announcements),
        ("outbox_closes", stats.outbox_closes),
    ];
    (stats.process, counts)
}

fn of_connector(stats: connector::StatsResponse) -> Said {
    let counts = vec![
        ("connections", stats.connections),
        ("sessions", stats.sessions),
        ("rooms", stats.rooms),
        ("members", stats.members),
        ("links", stats.links),
        ("pushes", stats.pushes),
        ("deliveries", stats.deliveries),
        ("holes", stats.holes),
        ("outbox_closes", stats.outbox_closes),
    ];
    (stats.process, counts)
}

fn of_chat(stats: chat::StatsResponse) -> Said {
    let counts = vec![
        ("rooms", stats.rooms),
        ("members", stats.members),
        ("links", stats.links),
        ("entries", stats.entries),
        ("pushes", stats.pushes),
        ("pushed_entries", stats.pushed_entries),
        ("digest_mismatches", stats.digest_mismatches),
        ("outbox_closes", stats.outbox_closes),
        ("outbox_bytes_max", stats.outbox_bytes_max),
    ];
    (stats.process, counts)
}

pub(crate) fn refused(status: &Status) -> String {
    format!("refused: {:?}: {}", status.code(), status.message())
}

/// The cause that says most: those around it only repeat that it did not work.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
