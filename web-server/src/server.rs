//! The listener, and one task for each connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use chassis::{App, Listener, Policy, StartError, Stream, Tasks};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    Config, Metrics, routes,
    tunnel::{Ending, PeerAddr, Tunnels},
};

/// How long a connection may take to send a request's head, and how long it may
/// idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a request, in bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// How long a connection may serve requests before it is asked to make way. A
/// browser opens another; a client that reads nothing does not stay for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// How long a request that is under way may still take after that, or after
/// shutdown was asked for.
const LAST_REQUEST: Duration = Duration::from_secs(10);

/// How often it is looked whether the last tunnel has ended.
const DRAIN_TICK: Duration = Duration::from_millis(100);

/// How long to wait before accepting again, after an error such as running out
/// of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A web server that has its port, but does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    router: Router,
    connections_max: usize,
    metrics: Metrics,
    tasks: Tasks,
    shutdown: CancellationToken,
}

impl Server {
    /// Takes the port and loads the page.
    ///
    /// # Errors
    ///
    /// The port cannot be had.
    pub async fn bind(config: &Config, app: &mut App) -> Result<Self, StartError> {
        let listener = app.net().listen(config.listen_addr, "--listen-addr").await?;
        let metrics = Metrics::register(app.registry());
        let max = tunnels_max(config.tunnels_max.get(), chassis::descriptor_limit());
        metrics.tunnels_max.set(i64::try_from(max).unwrap_or(i64::MAX));
        let trusted = config.trusted_proxies.clone();
        let ending = Ending::new(app, config.drain_time);
        if !config.drain_time.is_zero() {
            hold_for_tunnels(app, metrics.clone(), config.drain_time);
        }
        let (tasks, shutdown) = (app.tasks().clone(), app.shutdown());
        let tunnels =
            Tunnels::new(max, trusted, app.net().clone(), metrics.clone(), tasks.clone(), ending);
        let router = routes::router(config, metrics.clone(), tunnels);
        let connections_max = config.connections_max.get().min(Semaphore::MAX_PERMITS);
        Ok(Self { listener, router, connections_max, metrics, tasks, shutdown })
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until shutdown is asked for. Connections are tasks of their own and
    /// end soon after; tunnels have ended by then, over the drain time.
    pub async fn serve(mut self) {
        let free = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&mut self.listener, &free) => accepted,
                () = self.shutdown.cancelled() => return,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = connection(self.router.clone(), stream, peer, self.shutdown.clone());
            self.tasks.spawn("connection", Policy::Session, async move {
                connection.await;
                drop(permit);
            });
        }
    }
}

/// Once the process was asked to stop, everything goes on until the last tunnel has ended,
/// or the time is over.
fn hold_for_tunnels(app: &App, metrics: Metrics, time: Duration) {
    let (hold, clock) = (app.hold(), app.world().clock);
    let (stopping, shutdown) = (app.stopping(), app.shutdown());
    app.tasks().spawn("drain", Policy::Session, async move {
        let drained = async {
            stopping.cancelled().await;
            let deadline = clock.now() + time;
            tracing::info!(tunnels = metrics.tunnels_open.get(), "ending tunnels");
            while metrics.tunnels_open.get() > 0 && clock.now() < deadline {
                clock.sleep(DRAIN_TICK).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = shutdown.cancelled() => {}
        }
        drop(hold);
    });
}

/// As many tunnels as are asked for, if half of the descriptors are enough for them:
/// the other half is for the page, the backends' answers and the process itself.
fn tunnels_max(asked: usize, descriptors: u64) -> usize {
    // Both ends, and the backend's own if that is in the same process (standalone).
    const EACH: u64 = 3;
    asked.min(usize::try_from(descriptors / 2 / EACH).unwrap_or(usize::MAX))
}

/// A permit first: whoever finds none waits in the kernel's queue.
async fn accept(
    listener: &mut Listener,
    free: &Arc<Semaphore>,
) -> io::Result<(Stream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Serves the requests of one connection; an upgrade ends it, as a tunnel takes over.
async fn connection(router: Router, stream: Stream, peer: SocketAddr, shutdown: CancellationToken) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddr(peer));
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|e| match e {})) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(serving);
    // What goes wrong here is the client's affair: it went away, or was too slow.
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = tokio::time::sleep(CONNECTION_LIFE) => None,
        () = shutdown.cancelled() => None,
    };
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_REQUEST, serving).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_leave_half_of_the_descriptors() {
        assert_eq!(tunnels_max(4096, 1024), 170);
        assert_eq!(tunnels_max(100, 1024), 100);
        assert_eq!(tunnels_max(4096, 3), 0);
        assert_eq!(tunnels_max(usize::MAX, u64::MAX), usize::try_from(u64::MAX / 6).unwrap());
    }
}
