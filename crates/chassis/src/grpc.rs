//! gRPC over the network of [`Net`]: channels to peers, and connections from them,
//! with mutual TLS if the process has certificates.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream::{self, FuturesUnordered},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::{Channel, Endpoint, server::Connected};

use crate::{GrpcTls, Listener, Net, Stream, grpc_tls, net::CONNECT_TIMEOUT};

/// How long a peer may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS handshakes that may be under way at once on one port; further peers wait in
/// the kernel.
const HANDSHAKES_MAX: usize = 256;

/// After a refused `accept`, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Net {
    /// The same network, whose gRPC is secured with `tls`.
    #[must_use]
    pub fn secured(self, tls: GrpcTls) -> Self {
        Self { grpc_tls: Some(tls), ..self }
    }

    /// True if gRPC peers prove to each other who they are.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.grpc_tls.is_some()
    }

    /// Opens a gRPC channel to `addr`, a `host:port`. It does not reconnect by
    /// itself once it has failed: dial again.
    ///
    /// # Errors
    ///
    /// The peer cannot be reached within 2 s, or is none of the cluster's.
    pub async fn channel(&self, addr: &str) -> Result<Channel, tonic::transport::Error> {
        let net = self.clone();
        let dial = tower::service_fn(move |uri: http::Uri| {
            let net = net.clone();
            async move {
                let authority = uri.authority().ok_or(io::ErrorKind::InvalidInput)?;
                net.dial_peer(authority.as_str()).await.map(TokioIo::new)
            }
        });
        // A peer that vanished without a word must be noticed: links carry their
        // own heartbeat; this one is for unary calls and health watches.
        Endpoint::from_shared(format!("http://{addr}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .connect_with_connector(dial)
            .await
    }

    async fn dial_peer(&self, addr: &str) -> io::Result<Stream> {
        let stream = self.dial(addr).await?;
        let Some(tls) = &self.grpc_tls else { return Ok(stream) };
        let connector = TlsConnector::from(tls.client());
        let secured = connector.connect(grpc_tls::server_name(), stream);
        let secured = tokio::time::timeout(CONNECT_TIMEOUT, secured).await??;
        Ok(Stream::Other(Box::new(secured)))
    }

    /// The connections of `listener` as a stream, for tonic's
    /// `serve_with_incoming_shutdown`. If gRPC is secured, peers have 5 s for the
    /// handshake; one without a certificate is let in, and its [`PeerInfo`] says so.
    #[must_use]
    pub fn incoming(&self, listener: Listener) -> Incoming {
        let (tls, handshakes) = (self.grpc_tls.clone(), FuturesUnordered::new());
        Box::pin(stream::unfold((listener, handshakes), move |(mut listener, mut handshakes)| {
            let tls = tls.clone();
            async move {
                loop {
                    let has_room = handshakes.len() < HANDSHAKES_MAX;
                    tokio::select! {
                        accepted = listener.accept(), if has_room => match accepted {
                            Ok((stream, peer)) => handshakes.push(arrive(tls.as_ref(), stream, peer)),
                            Err(error) => {
                                tracing::warn!(error = %error, "accept failed");
                                tokio::time::sleep(ACCEPT_PAUSE).await;
                            }
                        },
                        Some(arrived) = handshakes.next() => match arrived {
                            Ok(peer) => return Some((Ok(peer), (listener, handshakes))),
                            Err((peer, error)) => {
                                tracing::debug!(peer_addr = %peer, error = %error, "no TLS handshake");
                            }
                        },
                    }
                }
            }
        }))
    }
}

type Arriving = BoxFuture<'static, Result<Peer, (SocketAddr, io::Error)>>;

fn arrive(tls: Option<&GrpcTls>, stream: Stream, addr: SocketAddr) -> Arriving {
    let Some(tls) = tls else {
        let info = PeerInfo { addr, is_certified: false };
        return ready(Ok(Peer { stream, info })).boxed();
    };
    let accept = TlsAcceptor::from(tls.server()).accept(stream);
    async move {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, accept).await {
            Ok(Ok(secured)) => {
                // Only what the authority has signed gets this far.
                let is_certified = secured.get_ref().1.peer_certificates().is_some();
                let stream = Stream::Other(Box::new(secured));
                Ok(Peer { stream, info: PeerInfo { addr, is_certified } })
            }
            Ok(Err(error)) => Err((addr, error)),
            Err(elapsed) => Err((addr, elapsed.into())),
        }
    }
    .boxed()
}

/// Accepted gRPC connections.
pub type Incoming = Pin<Box<dyn futures::Stream<Item = io::Result<Peer>> + Send>>;

/// Who is at the other end of a gRPC connection; an extension of its requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerInfo {
    /// Its address.
    pub addr: SocketAddr,
    /// It has shown a certificate of the cluster.
    pub is_certified: bool,
}

impl PeerInfo {
    /// True for a peer on this machine's loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.addr.ip().to_canonical().is_loopback()
    }
}

/// An accepted connection that knows its peer.
#[derive(Debug)]
pub struct Peer {
    stream: Stream,
    info: PeerInfo,
}

impl Connected for Peer {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
