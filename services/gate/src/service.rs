//! The one decision of a gate, and its gRPC service.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chassis::Clock;
use rpc::{
    gate::v1::{
        self as proto, ConnectorState, ConnectorsRequest, ConnectorsResponse, QueryEntryRequest,
        QueryEntryResponse, StatsRequest, StatsResponse, gate_service_server::GateService,
    },
    process::v1::Process,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::{
    Metrics,
    advertise::{Asked, Entry, Way},
    before::{Before, Visit},
    directory::{Directory, Peer, State},
    metrics::{RESULTS, ResultLabel},
};

/// The directory and what is counted about its use. Clones share.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) directory: Arc<RwLock<Directory>>,
    pub(crate) way: Arc<Way>,
    pub(crate) metrics: Metrics,
    /// What is counted about clients' connections.
    pub(crate) clients: frontend::Metrics,
    pub(crate) clock: Clock,
    pub(crate) before: Option<Before>,
    pub(crate) began: Instant,
    pub(crate) shutdown: CancellationToken,
}

/// Why nobody is named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reject {
    /// The question has no user in it.
    InvalidUid,
    /// No connector is ready.
    NoConnector,
    /// The load balancer in front of them has no address yet.
    NoAddress,
}

impl Gate {
    /// The visit to make before [`Gate::assign`] is called for `uid`, if any.
    pub(crate) fn visit(&self, uid: &str) -> Option<Visit> {
        self.before.as_ref()?.visit(uid)
    }

    /// Chooses the connector for `uid`; `None` stands for a question without one. `asked`
    /// is where the client came to, if it is known.
    pub(crate) fn assign(&self, uid: Option<&str>, asked: Option<&Asked>) -> Result<Entry, Reject> {
        let asked_at = self.clock.now();
        let assigned = match uid {
            None | Some("") => Err(Reject::InvalidUid),
            Some(uid) => match self.directory().choose(uid, asked_at) {
                None => Err(Reject::NoConnector),
                Some(chosen) => self.way.entry(chosen, asked).ok_or(Reject::NoAddress),
            },
        };
        let [ok, no_connector, invalid_uid] = RESULTS;
        let result = match assigned {
            Ok(_) => ok,
            Err(Reject::InvalidUid) => invalid_uid,
            Err(Reject::NoConnector | Reject::NoAddress) => no_connector,
        };
        self.metrics.assignments.get_or_create(&ResultLabel { result }).inc();
        self.metrics.assign_seconds.observe((self.clock.now() - asked_at).as_secs_f64());
        assigned
    }

    /// For reading. Every change leaves the directory whole, so a panic in between
    /// is no reason to stop answering.
    pub(crate) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For changing; only `announcements` does.
    pub(crate) fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl GateService for Gate {
    async fn query_entry(
        &self,
        request: Request<QueryEntryRequest>,
    ) -> Result<Response<QueryEntryResponse>, Status> {
        let uid = request.into_inner().uid;
        let is_short = uid.len() <= model::NAME_LEN_MAX;
        if let Some(visit) = self.visit(&uid) {
            visit.make().await;
        }
        let entry = self.assign(Some(uid.as_str()).filter(|_| is_short), None)?;
        let Entry { host, port, tls, path: _ } = entry;
        Ok(Response::new(QueryEntryResponse { host, port: port.into(), tls }))
    }

    async fn connectors(
        &self,
        _: Request<ConnectorsRequest>,
    ) -> Result<Response<ConnectorsResponse>, Status> {
        let directory = self.directory();
        let connectors = directory.all(self.clock.now()).map(|(peer, state)| describe(peer, state));
        Ok(Response::new(ConnectorsResponse { connectors: connectors.collect() }))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let [ready, draining, down] = self.directory().count(self.clock.now());
        let [ok, no_connector, invalid_uid] = RESULTS
            .map(|result| self.metrics.assignments.get_or_create(&ResultLabel { result }).get());
        Ok(Response::new(StatsResponse {
            process: Some(Process {
                id: String::new(),
                version: chassis::VERSION.to_owned(),
                uptime_ms: self.clock.ms_since(self.began),
                now_ms: self.clock.unix_ms(),
                draining: self.shutdown.is_cancelled(),
            }),
            connectors_ready: ready,
            connectors_draining: draining,
            connectors_down: down,
            connections: self.clients.connections.get().max(0).cast_unsigned(),
            sessions: self.clients.sessions.get().max(0).cast_unsigned(),
            assignments: ok,
            refusals: no_connector + invalid_uid,
            announcements: self.metrics.announcements.get(),
            outbox_closes: self.clients.outbox_closes.get(),
        }))
    }
}

impl From<Reject> for Status {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::InvalidUid => rpc::refusal(
                Code::InvalidArgument,
                "INVALID_UID",
                format!("uid must have 1 to {} bytes", model::NAME_LEN_MAX),
            ),
            Reject::NoConnector => {
                rpc::refusal(Code::Unavailable, "NO_CONNECTOR", "no connector is ready")
            }
            Reject::NoAddress => rpc::refusal(
                Code::Unavailable,
                "NO_ADDRESS",
                "the load balancer of --advertise-service has no address yet",
            ),
        }
    }
}

fn describe(peer: &Peer, state: State) -> proto::Connector {
    let last = peer.last();
    let state = match state {
        State::Ready => ConnectorState::Ready,
        State::Draining => ConnectorState::Draining,
        State::Down => ConnectorState::Down,
    };
    proto::Connector {
        id: peer.id().to_owned(),
        grpc_addr: peer.addr().to_owned(),
        host: last.map(|said| said.host.clone()).unwrap_or_default(),
        port: last.map_or(0, |said| said.port.into()),
        state: state.into(),
        sessions: last.map_or(0, |said| said.sessions),
        sessions_max: last.map_or(0, |said| said.sessions_max),
    }
}
