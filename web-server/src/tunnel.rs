//! WebSockets that are led to a backend: the head of the upgrade is rewritten,
//! all that follows is bytes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use chassis::{App, Net, Policy, ProxyNetwork, Tasks, World, is_trusted};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{self, CONNECTION, HOST, RETRY_AFTER, UPGRADE},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{Metrics, metrics::TunnelResult};

/// How long a backend that took the connection may take to answer the upgrade,
/// and a client to take up our answer.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a name of many backends may take to be looked up. After that any will do.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a peer may leave bytes unread before its tunnel is cut. Until then
/// the other side feels it, too, as a reader that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one direction may go on after the other has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes under way in each direction of a tunnel, beside the kernel's.
const BUFFER_LEN: usize = 8 * 1024;

/// Longest answer of a backend to the upgrade, in bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// When to come back if all tunnels are taken, in seconds.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("5");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Opens tunnels, up to a bound.
#[derive(Debug)]
pub(crate) struct Tunnels {
    net: Net,
    metrics: Metrics,
    tasks: Tasks,
    ending: Ending,
    free: Arc<Semaphore>,
    /// Whose word about a client's address goes on to the backend.
    trusted: Vec<ProxyNetwork>,
}

/// The client's address, which the server puts into each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddr(pub(crate) SocketAddr);

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
enum NoTunnel {
    #[error("dial")]
    Unreachable(#[source] io::Error),
    #[error("no answer to the upgrade")]
    Silent,
    #[error("upgrade")]
    Broken(#[source] hyper::Error),
    #[error("answered with {0}")]
    Refused(StatusCode),
}

impl Tunnels {
    pub(crate) fn new(
        max: usize,
        trusted: Vec<ProxyNetwork>,
        net: Net,
        metrics: Metrics,
        tasks: Tasks,
        ending: Ending,
    ) -> Self {
        let free = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { net, metrics, tasks, ending, free, trusted }
    }

    /// Leads `request`, which must be a WebSocket's, to the backend at `addr`; but to the
    /// one of a name's addresses that is `chosen`, if it is one of them and can be reached.
    pub(crate) async fn open(
        &self,
        addr: &str,
        chosen: Option<(&str, IpAddr)>,
        mut request: Request,
    ) -> Response {
        if !is_websocket(&request) {
            let headers = [(UPGRADE, "websocket"), (CONNECTION, "upgrade")];
            return (StatusCode::UPGRADE_REQUIRED, headers, "a WebSocket is expected\n")
                .into_response();
        }
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            self.metrics.tunnel(TunnelResult::Full);
            let headers = [(RETRY_AFTER, RETRY_AFTER_SECS)];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, "too many connections\n")
                .into_response();
        };
        let pod = match chosen {
            Some((pods, ip)) => self.pod_at(pods, ip).await,
            None => None,
        };
        let addrs: Vec<&str> = pod.as_deref().into_iter().chain([addr]).collect();
        let heads = addrs.iter().map(|addr| head_for_backend(addr, &self.trusted, &request));
        match self.ask_first(&addrs, heads.collect()).await {
            Ok(mut answer) => {
                self.metrics.tunnel(TunnelResult::Opened);
                let client = hyper::upgrade::on(&mut request);
                let backend = hyper::upgrade::on(&mut answer);
                self.spawn(client, backend, permit);
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                *response.headers_mut() = end_to_end(answer.headers());
                upgrade(response.headers_mut());
                response
            }
            Err(reason) => self.refuse(&addrs.join(", "), &reason),
        }
    }

    /// The one of `pods` that has this address. Nobody is led to an address that is not one
    /// of theirs, whatever they ask for.
    async fn pod_at(&self, pods: &str, ip: IpAddr) -> Option<String> {
        let found = timeout(LOOK_UP_TIMEOUT, self.net.addresses(pods)).await.ok()?.ok()?;
        found.iter().find(|pod| pod.ip() == ip).map(ToString::to_string)
    }

    /// Asks one after the other, until one can be reached.
    async fn ask_first(
        &self,
        addrs: &[&str],
        heads: Vec<http::Request<Body>>,
    ) -> Result<http::Response<hyper::body::Incoming>, NoTunnel> {
        let mut answer = Err(NoTunnel::Silent);
        for (addr, head) in addrs.iter().zip(heads) {
            answer = self.ask(addr, head).await;
            if !matches!(answer, Err(NoTunnel::Unreachable(_))) {
                break;
            }
        }
        answer
    }

    fn refuse(&self, addr: &str, reason: &NoTunnel) -> Response {
        tracing::debug!(peer_addr = addr, error = chassis::chain(reason), "no tunnel");
        if !matches!(reason, NoTunnel::Refused(_)) {
            self.metrics.tunnel(TunnelResult::Unreachable);
            return (StatusCode::BAD_GATEWAY, "the chat server cannot be reached\n")
                .into_response();
        }
        self.metrics.tunnel(TunnelResult::Refused);
        if matches!(reason, NoTunnel::Refused(StatusCode::SERVICE_UNAVAILABLE)) {
            let headers = [(RETRY_AFTER, RETRY_AFTER_SECS)];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, "the chat server is busy\n")
                .into_response();
        }
        (StatusCode::BAD_GATEWAY, "the chat server refused\n").into_response()
    }

    /// Connects to the backend and sends it the head of the upgrade.
    async fn ask(
        &self,
        addr: &str,
        head: http::Request<Body>,
    ) -> Result<http::Response<hyper::body::Incoming>, NoTunnel> {
        let stream = self.net.dial(addr).await.map_err(NoTunnel::Unreachable)?;
        let ask = async {
            let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
                .max_buf_size(HEAD_LEN_MAX)
                .handshake(TokioIo::new(stream))
                .await?;
            let shutdown = self.ending.shutdown.clone();
            // Ends with the upgrade, or when the sender is dropped without one.
            self.tasks.spawn("tunnel_head", Policy::Session, async move {
                tokio::select! {
                    _ = connection.with_upgrades() => {}
                    () = shutdown.cancelled() => {}
                }
            });
            sender.send_request(head).await
        };
        let answer = timeout(UPGRADE_TIMEOUT, ask).await.map_err(|_| NoTunnel::Silent)?;
        let answer = answer.map_err(NoTunnel::Broken)?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
            status => Err(NoTunnel::Refused(status)),
        }
    }

    fn spawn(&self, client: OnUpgrade, backend: OnUpgrade, permit: OwnedSemaphorePermit) {
        let ending = self.ending.clone();
        let open = Open::count(&self.metrics);
        self.tasks.spawn("tunnel", Policy::Session, async move {
            let _held = (permit, open);
            let tunnel = async {
                let both = async { tokio::try_join!(client, backend) };
                if let Ok(Ok((client, backend))) = timeout(UPGRADE_TIMEOUT, both).await {
                    exchange(client, backend).await;
                }
            };
            tokio::select! {
                () = tunnel => {}
                () = ending.has_come() => {}
            }
        });
    }
}

/// When a tunnel ends that its ends would keep.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    stopping: CancellationToken,
    shutdown: CancellationToken,
    /// Over how long tunnels end once the process was asked to stop.
    time: Duration,
    world: World,
}

impl Ending {
    pub(crate) fn new(app: &App, time: Duration) -> Self {
        let (stopping, shutdown) = (app.stopping(), app.shutdown());
        Self { stopping, shutdown, time, world: app.world().clone() }
    }

    /// Waits until it is this tunnel's turn, which is drawn by lot: so many end evenly.
    async fn has_come(&self) {
        let turn = async {
            self.stopping.cancelled().await;
            self.world.clock.sleep(self.world.rng.up_to(self.time)).await;
        };
        tokio::select! {
            () = turn, if !self.time.is_zero() => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

/// Counts as an open tunnel until dropped.
struct Open(Metrics);

impl Open {
    fn count(metrics: &Metrics) -> Self {
        metrics.tunnels_open.inc();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tunnels_open.dec();
    }
}

/// Copies both ways until both ends have ended.
async fn exchange(client: Upgraded, backend: Upgraded) {
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let (backend_read, backend_write) = tokio::io::split(TokioIo::new(backend));
    let up = pump(client_read, backend_write);
    let down = pump(backend_read, client_write);
    tokio::pin!(up, down);
    // An end that is silent, but still there, must not keep the other's place.
    let _ = tokio::select! {
        _ = &mut up => timeout(LINGER, down).await,
        _ = &mut down => timeout(LINGER, up).await,
    };
}

/// Like `tokio::io::copy`, but does not wait for ever for a peer that does not read.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            len => timeout(WRITE_TIMEOUT, to.write_all(&buffer[..len])).await??,
        }
    }
}

fn is_websocket(request: &Request) -> bool {
    let has = |name: HeaderName, token: &str| {
        let values = request.headers().get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
    };
    request.method() == Method::GET && has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// The upgrade as the backend gets it: always its root, whatever path led here.
fn head_for_backend(
    addr: &str,
    trusted: &[ProxyNetwork],
    request: &Request,
) -> http::Request<Body> {
    let mut headers = end_to_end(request.headers());
    let peer = request.extensions().get().map(|PeerAddr(peer)| peer.ip());
    let is_trusted = peer.is_some_and(|peer| is_trusted(trusted, peer));
    // Where the client came to. A proxy before us may have put us in its place.
    if let Some(host) = headers.remove(HOST)
        && !(is_trusted && headers.contains_key(X_FORWARDED_HOST))
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Ok(host) = HeaderValue::from_str(addr) {
        headers.insert(HOST, host);
    }
    if let Some(peer) = peer {
        // Else a client on a machine that the backend trusts could be anybody.
        if !is_trusted {
            headers.remove(X_FORWARDED_FOR);
        }
        let peer = peer.to_canonical().to_string();
        headers.append(X_FORWARDED_FOR, HeaderValue::try_from(peer).expect("an IP is ASCII"));
    }
    upgrade(&mut headers);
    let mut head = http::Request::new(Body::empty());
    *head.headers_mut() = headers;
    head
}

fn upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// The headers that are meant for more than the next hop.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    const HOP_BY_HOP: [HeaderName; 9] = [
        CONNECTION,
        UPGRADE,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ];
    let mut kept = headers.clone();
    for value in headers.get_all(CONNECTION) {
        for name in value.to_str().unwrap_or_default().split(',') {
            kept.remove(name.trim());
        }
    }
    for name in HOP_BY_HOP {
        kept.remove(name);
    }
    kept.remove("keep-alive");
    kept
}
