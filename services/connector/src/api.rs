//! The gRPC service for gates and operators.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use rpc::{
    connector::v1::{self as pb, connector_service_server::ConnectorService},
    process::v1::Process,
    refusal,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::{drain::ByHand, handler::Session, hub::Hub};

/// How often gates are told, also when nothing has changed: after a second of
/// silence they take the connector for dead.
const ANNOUNCE: Duration = Duration::from_millis(500);
/// How often a change is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Longest reason that a kicked client is told, in bytes.
const REASON_LEN_MAX: usize = 256;

/// Longest time over which clients are sent away: a day, in milliseconds.
const DRAIN_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// This connector, as callers see it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) hub: Hub,
    /// What is counted about clients' connections.
    pub(crate) clients: frontend::Metrics,
    pub(crate) connector_id: model::ConnectorId,
    /// Where the gate sends clients.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Sessions that there may be at most.
    pub(crate) sessions_max: u64,
    pub(crate) began: Instant,
    pub(crate) by_hand: ByHand,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl ConnectorService for Api {
    type AnnounceStream = Pin<Box<dyn Stream<Item = Result<pb::AnnounceResponse, Status>> + Send>>;

    async fn announce(
        &self,
        _: Request<pb::AnnounceRequest>,
    ) -> Result<Response<Self::AnnounceStream>, Status> {
        let api = self.clone();
        // The state that was told last; none at first, and none after the end.
        let told = futures::stream::unfold(Some(None), move |told| {
            let api = api.clone();
            async move {
                let told: Option<bool> = told?;
                let ending = api.shutdown.is_cancelled();
                if told.is_some() && !ending {
                    api.wait_for_news(told).await;
                }
                let now = api.announcement();
                // The last word: nobody new, please.
                let next = if ending { None } else { Some(Some(now.draining)) };
                Some((Ok(now), next))
            }
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn sessions(
        &self,
        request: Request<pb::SessionsRequest>,
    ) -> Result<Response<pb::SessionsResponse>, Status> {
        let request = request.into_inner();
        let limit = match request.limit {
            0 => 100,
            limit @ 1..=1000 => limit as usize,
            limit => return Err(invalid(format!("limit may be at most 1000, not {limit}"))),
        };
        let is_asked_for =
            |session: &pb::Session| request.room.is_empty() || session.room == request.room;
        let (sessions, total) = self.hub.with_sessions(|sessions| {
            let after = sessions.range(request.after_session_id.saturating_add(1)..);
            let page = after
                .map(|(_, session)| describe(session))
                .filter(is_asked_for)
                .take(limit)
                .collect();
            (page, sessions.len() as u64)
        });
        Ok(Response::new(pb::SessionsResponse { sessions, total }))
    }

    async fn kick(
        &self,
        request: Request<pb::KickRequest>,
    ) -> Result<Response<pb::KickResponse>, Status> {
        let mut request = request.into_inner();
        if (request.session_id == 0) == request.user.is_empty() {
            return Err(invalid("exactly one of session_id and user must be given"));
        }
        if request.reason.is_empty() {
            request.reason.push_str("kick");
        }
        request.reason.truncate(request.reason.floor_char_boundary(REASON_LEN_MAX));
        let kicked: Vec<Arc<Session>> =
            self.hub.with_sessions(|sessions| match request.session_id {
                0 => {
                    let named = |session: &&Arc<Session>| {
                        session
                            .state()
                            .place()
                            .seat()
                            .is_some_and(|seat| seat.name.as_str() == request.user)
                    };
                    sessions.values().filter(named).cloned().collect()
                }
                id => sessions.get(&id).cloned().into_iter().collect(),
            });
        for session in &kicked {
            session.kick(&request.reason);
        }
        Ok(Response::new(pb::KickResponse {
            kicked: u32::try_from(kicked.len()).unwrap_or(u32::MAX),
        }))
    }

    async fn drain(
        &self,
        request: Request<pb::DrainRequest>,
    ) -> Result<Response<pb::DrainResponse>, Status> {
        let time_ms = request.into_inner().time_ms;
        if time_ms.is_some_and(|ms| ms > DRAIN_MS_MAX) {
            return Err(invalid(format!("time_ms may be at most {DRAIN_MS_MAX}")));
        }
        // Said before it is answered that it has begun.
        self.hub.begin_drain();
        self.by_hand.begin(time_ms.map(Duration::from_millis));
        let sessions = self.hub.with_sessions(|sessions| sessions.len() as u64);
        Ok(Response::new(pb::DrainResponse { sessions }))
    }

    async fn stats(
        &self,
        _: Request<pb::StatsRequest>,
    ) -> Result<Response<pb::StatsResponse>, Status> {
        let (metrics, clock) = (self.hub.metrics(), self.hub.clock());
        Ok(Response::new(pb::StatsResponse {
            process: Some(Process {
                id: self.connector_id.to_string(),
                version: chassis::VERSION.to_owned(),
                uptime_ms: clock.ms_since(self.began),
                now_ms: clock.unix_ms(),
                draining: self.is_draining(),
            }),
            connections: self.clients.connections.get().max(0).cast_unsigned(),
            sessions: self.clients.sessions.get().max(0).cast_unsigned(),
            rooms: metrics.rooms.get().max(0).cast_unsigned(),
            members: metrics.members.get().max(0).cast_unsigned(),
            links: metrics.links.get().max(0).cast_unsigned(),
            pushes: metrics.pushes.get(),
            deliveries: metrics.deliveries.get(),
            holes: metrics.holes.get(),
            outbox_closes: self.clients.outbox_closes.get(),
        }))
    }
}

impl Api {
    fn announcement(&self) -> pb::AnnounceResponse {
        pb::AnnounceResponse {
            connector_id: self.connector_id.to_string(),
            host: self.host.clone(),
            port: self.port.into(),
            sessions: self.hub.with_sessions(|sessions| sessions.len() as u64),
            draining: self.is_draining(),
            sessions_max: self.sessions_max,
        }
    }

    fn is_draining(&self) -> bool {
        self.hub.is_draining() || self.shutdown.is_cancelled()
    }

    async fn wait_for_news(&self, told: Option<bool>) {
        let due = self.hub.clock().now() + ANNOUNCE;
        while self.hub.clock().now() < due && told == Some(self.hub.is_draining()) {
            tokio::select! {
                () = self.hub.clock().sleep(LOOK) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }
}

fn describe(session: &Arc<Session>) -> pb::Session {
    let place = session.state().place();
    let (room, user) = place
        .seat()
        .map(|seat| (seat.room.id.to_string(), seat.name.to_string()))
        .unwrap_or_default();
    pb::Session { id: session.id(), peer_addr: session.peer().to_string(), room, user }
}

fn invalid(message: impl Into<String>) -> Status {
    refusal(Code::InvalidArgument, "INVALID_ARGUMENT", message)
}
