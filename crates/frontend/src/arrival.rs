//! Where a client comes from, and what comes off its connection before it is heard.

use std::{net::SocketAddr, sync::Arc};

use chassis::{ProxyNetwork, Stream, is_trusted};

use crate::{
    AddressSource, CloseReason, Handler, HandshakeResult, Session, connection,
    proxy_header::{self, ProxyHeaderError},
    server::{self, Admitted, Shared},
    tls::TlsError,
    upgrade::{self, Opening},
};

/// Where a client comes from, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The client's address; its proxy's until more is known.
    pub(crate) addr: SocketAddr,
    /// What told the address, if it is a trusted proxy's, who may have more to say.
    pub(crate) proxy: Option<AddressSource>,
}

/// Why a connection goes no further.
enum Refused {
    Header(ProxyHeaderError),
    Tls(TlsError),
    /// As many as allowed come from there.
    Full(Stream),
}

impl Caller {
    /// Who comes from `addr`, as `source` tells.
    pub(crate) fn new(trusted: &[ProxyNetwork], addr: SocketAddr, source: AddressSource) -> Self {
        Self { addr, proxy: is_trusted(trusted, addr.ip()).then_some(source) }
    }

    /// Whether more may be told of the client.
    pub(crate) fn is_proxy(&self) -> bool {
        self.proxy.is_some()
    }
}

/// Serves one client that may come with a proxy's header, or with TLS.
pub(crate) async fn serve<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: Stream,
    caller: Caller,
    admitted: Admitted,
) {
    // Boxed, or every session would keep the room that a handshake needs.
    let unwrapped = Box::pin(unwrap(&shared, stream, caller, admitted)).await;
    if let Some((stream, caller, admitted)) = unwrapped {
        Box::pin(connection::serve(shared, stream, caller, admitted)).await;
    }
}

/// Takes a proxy's header and TLS off; none if the client does not get as far. For
/// many clients this waits for their first byte. Bounded in time.
async fn unwrap<H: Handler>(
    shared: &Shared<H>,
    stream: Stream,
    mut caller: Caller,
    mut admitted: Admitted,
) -> Option<(Stream, Caller, Admitted)> {
    let metrics = &shared.common.metrics;
    let (result, reason) = tokio::select! {
        unwrapped = unwrap_all(shared, stream, &mut caller, &mut admitted) => match unwrapped {
            Ok(stream) => return Some((stream, caller, admitted)),
            Err(Refused::Full(stream)) => {
                metrics.closes(CloseReason::AddressConnectionsMax).inc();
                server::refuse(stream, &shared.world).await;
                return None;
            }
            Err(Refused::Header(ProxyHeaderError::Gone) | Refused::Tls(TlsError::Gone)) => {
                (HandshakeResult::Abandoned, CloseReason::PeerLost)
            }
            Err(Refused::Header(error)) => {
                let error = chassis::chain(&error);
                tracing::debug!(peer_addr = %caller.addr, error, "unreadable proxy");
                (HandshakeResult::Refused, CloseReason::MalformedProxyHeader)
            }
            Err(Refused::Tls(error)) => {
                let error = chassis::chain(&error);
                tracing::debug!(peer_addr = %caller.addr, error, "no TLS");
                (HandshakeResult::Refused, CloseReason::TlsFailed)
            }
        },
        () = shared.world.clock.sleep(shared.options.handshake_timeout) => {
            (HandshakeResult::Timeout, CloseReason::HandshakeTimeout)
        }
        () = shared.shutdown.cancelled() => (HandshakeResult::Abandoned, CloseReason::Shutdown),
    };
    metrics.handshakes(result).inc();
    metrics.closes(reason).inc();
    None
}

async fn unwrap_all<H: Handler>(
    shared: &Shared<H>,
    mut stream: Stream,
    caller: &mut Caller,
    admitted: &mut Admitted,
) -> Result<Stream, Refused> {
    if caller.is_proxy()
        && let Some(client) = proxy_header::take(&mut stream).await.map_err(Refused::Header)?
    {
        let (trusted, source) = (&shared.options.trusted_proxies, AddressSource::ProxyHeader);
        *caller = Caller::new(trusted, client, source);
        if !caller.is_proxy() {
            shared.common.metrics.proxied(source).inc();
            if !admitted.count_at(shared, client.ip()) {
                return Err(Refused::Full(stream));
            }
        }
    }
    match &shared.tls {
        Some(tls) => tls.accept(stream).await.map_err(Refused::Tls),
        None => Ok(stream),
    }
}

/// Finds out where a proxy's client comes from, now that it has asked for something,
/// and refuses it if as many as allowed do. `source` has told the proxy's address.
pub(crate) fn locate<H: Handler>(
    shared: &Shared<H>,
    session: &Session<H::State>,
    mut source: AddressSource,
    admitted: &mut Admitted,
    opening: Opening,
) -> Opening {
    let forwarded = match &opening {
        Opening::WebSocket { forwarded, .. } => *forwarded,
        Opening::Tcp { .. } => Ok(None),
        // It is as good as gone.
        Opening::Refused { .. } | Opening::Closed(_) => return opening,
    };
    match forwarded {
        Ok(Some(client)) => {
            session.forwarded_for(client);
            source = AddressSource::ForwardedFor;
        }
        Ok(None) => {}
        Err(error) => {
            source = AddressSource::Unreadable;
            tracing::debug!(session_id = session.id(), peer_addr = %session.peer(), error = %error, "unreadable proxy");
        }
    }
    shared.common.metrics.proxied(source).inc();
    if admitted.count_at(shared, session.peer().ip()) {
        return opening;
    }
    let reason = CloseReason::AddressConnectionsMax;
    match opening {
        Opening::Tcp { .. } => Opening::Closed(reason),
        _ => Opening::Refused { response: upgrade::full(&shared.world.rng), reason },
    }
}
