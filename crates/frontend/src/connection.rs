//! One connection, in one task, from the accepted socket to its end.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use chassis::Stream;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};
use wire::{Conn, Kind, Output, Package};

use crate::{
    CloseReason, Direction, Handler, HandshakeResult, Session,
    arrival::{self, Caller},
    outgoing::{self, Transport},
    server::{Admitted, Shared},
    socket::Socket,
    tcp::{Tcp, TcpError},
    upgrade::{self, Opening},
};

/// How long a client may take to read what was sent before the end, and then to
/// answer the Close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Messages of one client before others get their turn.
const MESSAGES_PER_POLL: usize = 64;

/// Code 1000, no reason: what the original sends, whatever happened.
const CLOSE_FRAME: &[u8] = &[0x88, 0x02, 0x03, 0xe8];

/// Code 1012 (service restart), no reason: to those who know that they have to come back.
const SENT_AWAY_FRAME: &[u8] = &[0x88, 0x02, 0x03, 0xf4];

/// Serves one client, from whose `stream` all was taken that is not its own.
pub(crate) async fn serve<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: Stream,
    Caller { addr, proxy }: Caller,
    admitted: Admitted,
) {
    let (mut read, write) = stream.into_split();
    let session = Arc::new(Session::new(Arc::clone(&shared.common), addr, write));
    let mut end = End { shared, session, is_opened: false, is_told: false, admitted };
    if !end.shared.wheel.insert(&end.session) {
        end.session.close(CloseReason::Shutdown);
    }
    let opening = {
        let is_proxy = proxy.is_some();
        let mut opening = pin!(upgrade::open(&mut read, &end.shared.options, is_proxy));
        poll_fn(|cx| {
            end.session.register(cx);
            match end.session.close_reason() {
                Some(reason) => Poll::Ready(Opening::Closed(reason)),
                None => opening.as_mut().poll(cx),
            }
        })
        .await
    };
    let End { shared, session, admitted, .. } = &mut end;
    let opening = match proxy {
        Some(source) => arrival::locate(shared, session, source, admitted, opening),
        None => opening,
    };
    let options = &end.shared.options;
    let (source, is_deaf) = match opening {
        Opening::WebSocket { response, rest, request, .. } => {
            end.shared.handler.upgraded(&end.session, &request);
            end.session.push_raw(&response.into());
            (Source::WebSocket(Socket::new(read, rest, options.message_len_max())), false)
        }
        Opening::Refused { response, reason } => {
            end.session.push_raw(&response.into());
            end.session.close(reason);
            (Source::WebSocket(Socket::new(read, Vec::new(), options.message_len_max())), true)
        }
        Opening::Tcp { head } => {
            end.session.speak(Transport::Tcp);
            (Source::Tcp(Tcp::new(read, &head, options.body_len_max())), false)
        }
        Opening::Closed(reason) => return end.session.close(reason),
    };
    let mut connection = Connection::new(end, source, is_deaf);
    poll_fn(|cx| connection.poll(cx)).await;
}

/// What has to happen at the end, however it comes.
struct End<H: Handler> {
    shared: Arc<Shared<H>>,
    session: Arc<Session<H::State>>,
    is_opened: bool,
    /// The handler knows of the end.
    is_told: bool,
    /// Where it counts until it is gone.
    admitted: Admitted,
}

impl<H: Handler> End<H> {
    fn open(&mut self, conn: &mut Conn) {
        let metrics = &self.shared.common.metrics;
        metrics.handshakes(HandshakeResult::Ok).inc();
        metrics.sessions.inc();
        self.is_opened = true;
        self.shared.handler.opened(&self.session, conn);
        // Who wanted to know has asked.
        conn.take_user();
    }

    fn tell(&mut self) {
        if self.is_opened && !self.is_told {
            self.is_told = true;
            self.shared.common.metrics.sessions.dec();
            self.shared.handler.closed(&self.session);
        }
    }

    fn count_failed_handshake(&self) {
        let result = match self.session.close_reason() {
            Some(CloseReason::HandshakeTimeout) => HandshakeResult::Timeout,
            Some(CloseReason::PeerClosed | CloseReason::PeerLost | CloseReason::Shutdown) => {
                HandshakeResult::Abandoned
            }
            _ => HandshakeResult::Refused,
        };
        self.shared.common.metrics.handshakes(result).inc();
    }
}

impl<H: Handler> Drop for End<H> {
    fn drop(&mut self) {
        let is_bug = std::thread::panicking();
        self.session.finish(if is_bug { CloseReason::Bug } else { CloseReason::PeerLost });
        if !self.is_opened {
            self.count_failed_handshake();
        }
        // A second panic while the first unwinds would end the process.
        let told = catch_unwind(AssertUnwindSafe(|| self.tell()));
        if told.is_err() && !is_bug {
            tracing::error!(session_id = self.session.id(), "handler panicked at the end");
        }
    }
}

/// Where packages come from.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are WebSockets; a box would cost each an allocation"
)]
enum Source {
    WebSocket(Socket),
    Tcp(Tcp),
}

/// A connection that speaks Pomelo, or was refused.
struct Connection<H: Handler> {
    end: End<H>,
    source: Source,
    conn: Conn,
    /// None until the end is near.
    closing: Option<Closing>,
    /// The client's bytes mean nothing any more.
    is_deaf: bool,
}

struct Closing {
    deadline: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_flushed: bool,
    peer_is_done: bool,
}

impl<H: Handler> Connection<H> {
    fn new(end: End<H>, source: Source, is_deaf: bool) -> Self {
        let conn = Conn::new(Arc::clone(&end.shared.profile), H::KNOWN);
        Self { end, source, conn, closing: None, is_deaf }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.session.register(cx);
        if self.closing.is_none() {
            if !self.end.session.is_closed() {
                self.poll_open(cx);
            }
            let Some(reason) = self.end.session.close_reason() else { return Poll::Pending };
            self.end.tell();
            if reason.is_abrupt() {
                return Poll::Ready(());
            }
            self.begin_closing(reason);
        }
        self.poll_closing(cx)
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(_)) = self.end.session.poll_flush(cx) {
            return self.end.session.close(CloseReason::PeerLost);
        }
        for _ in 0..MESSAGES_PER_POLL {
            let input = match &self.source {
                Source::WebSocket(_) => self.poll_frame(cx),
                Source::Tcp(_) => self.poll_package(cx),
            };
            if input.is_pending() || self.end.session.is_closed() {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Takes one WebSocket message, or the end of them.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_message(cx) {
            Poll::Ready(Ok(Some(frame))) => self.handle_frame(frame),
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Err(error)) => self.handle_error(&error),
            Poll::Pending => {
                if let Source::WebSocket(socket) = &mut self.source {
                    socket.shrink();
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Takes one package of a raw TCP client, or the end of them.
    fn poll_package(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Source::Tcp(tcp) = &mut self.source else { return Poll::Ready(()) };
        let mut outputs = Vec::new();
        match ready!(tcp.poll_package(cx, self.end.shared.common.metrics.bytes(Direction::In))) {
            Ok(package) => self.handle_package(package, &mut outputs),
            Err(error) => {
                self.is_deaf = true;
                tracing::debug!(
                    session_id = self.end.session.id(),
                    error = chassis::chain(&error),
                    "unreadable"
                );
                match error {
                    TcpError::Ended => self.end.session.close(CloseReason::PeerClosed),
                    TcpError::Lost => self.end.session.close(CloseReason::PeerLost),
                    TcpError::Malformed(error) => {
                        self.conn.handle_error(error, &mut outputs);
                        self.carry_out(&mut outputs);
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// Reads one message, and sends what the WebSocket itself answers.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let Source::WebSocket(socket) = &mut self.source else { return Poll::Ready(Ok(None)) };
        let mut answer = Vec::new();
        let bytes_in = self.end.shared.common.metrics.bytes(Direction::In);
        let message = socket.poll_message(cx, bytes_in, &mut answer);
        if !answer.is_empty() {
            self.end.session.push_raw(&answer.into());
        }
        message
    }

    fn handle_frame(&mut self, frame: Bytes) {
        let mut outputs = Vec::new();
        for package in wire::decode_frame(frame, self.end.shared.options.body_len_max()) {
            match package {
                Ok(package) => self.handle_package(package, &mut outputs),
                Err(error) => {
                    tracing::debug!(session_id = self.end.session.id(), error = %error, "malformed");
                    self.conn.handle_error(error, &mut outputs);
                    self.carry_out(&mut outputs);
                }
            }
            if self.end.session.is_closed() {
                return;
            }
        }
    }

    fn handle_package(&mut self, package: Package, outputs: &mut Vec<Output>) {
        let (kind, was_working) = (package.kind, self.conn.is_working());
        self.end.shared.common.metrics.packages(Direction::In, kind).inc();
        self.conn.handle(package, outputs);
        if self.conn.is_working() && !was_working {
            self.end.session.open();
            // The server's first heartbeat goes before what the handler says.
            self.carry_out(outputs);
            self.end.open(&mut self.conn);
        } else if was_working && kind == Kind::Heartbeat {
            self.end.session.beat();
        }
        self.carry_out(outputs);
    }

    fn carry_out(&mut self, outputs: &mut Vec<Output>) {
        let End { shared, session, .. } = &self.end;
        for output in outputs.drain(..) {
            match output {
                Output::Send(package) => {
                    if let Some(kind) = package.first().and_then(|kind| sent_kind(*kind)) {
                        shared.common.metrics.packages(Direction::Out, kind).inc();
                    }
                    session.push_raw(&outgoing::package(session.transport(), &package));
                }
                Output::Call(call) => shared.handler.call(session, call),
                Output::Close(reason) => session.close(CloseReason::Protocol(reason)),
            }
        }
    }

    fn handle_error(&mut self, error: &Error) {
        let reason = match error {
            Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::PeerClosed,
            Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                CloseReason::PeerLost
            }
            Error::Capacity(_) => CloseReason::MessageTooLong,
            _ => CloseReason::MalformedWebSocket,
        };
        self.is_deaf = true;
        tracing::debug!(session_id = self.end.session.id(), error = %error, reason = reason.as_str(), "unreadable");
        self.end.session.close(reason);
    }

    fn begin_closing(&mut self, reason: CloseReason) {
        let session = &self.end.session;
        let (session_id, peer_addr, why) = (session.id(), session.peer(), reason.as_str());
        match reason {
            // Somebody's client is broken, or pretends to be somebody's.
            CloseReason::Protocol(wire::CloseReason::BadSignature) => {
                tracing::info!(session_id, %peer_addr, reason = why, "closing");
            }
            _ => tracing::debug!(session_id, %peer_addr, reason = why, "closing"),
        }
        match self.source {
            // After an HTTP response nothing is to be said.
            Source::WebSocket(_) if reason.is_http() => {}
            Source::WebSocket(_) if reason == CloseReason::SentAway => {
                session.seal(Bytes::from_static(SENT_AWAY_FRAME));
            }
            Source::WebSocket(_) => session.seal(Bytes::from_static(CLOSE_FRAME)),
            // The end of the stream says it.
            Source::Tcp(_) => {
                session.seal(Bytes::new());
                self.is_deaf = true;
            }
        }
        self.closing = Some(Closing {
            deadline: self.close_deadline(),
            is_flushed: false,
            peer_is_done: false,
        });
    }

    fn close_deadline(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.end.shared.world.clock.sleep(CLOSE_TIMEOUT))
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut closing) = self.closing.take() else { return Poll::Ready(()) };
        if !closing.is_flushed {
            match self.end.session.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    closing.is_flushed = true;
                    closing.deadline = self.close_deadline();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if closing.is_flushed && self.is_deaf {
            // The end of the stream is all that tells this client; and closing
            // with bytes unread would take back what it has not read yet.
            let _ = self.end.session.poll_shutdown(cx);
        }
        closing.peer_is_done = closing.peer_is_done || self.poll_discard(cx).is_ready();
        if closing.is_flushed && closing.peer_is_done {
            // TLS wants the end to be said, or anybody could have cut it off.
            let _ = self.end.session.poll_shutdown(cx);
            return Poll::Ready(());
        }
        let over = closing.deadline.as_mut().poll(cx);
        self.closing = Some(closing);
        over
    }

    /// Reads on without listening, until the client has closed, too.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MESSAGES_PER_POLL {
            let is_over = match self.is_deaf {
                true => ready!(match &mut self.source {
                    Source::WebSocket(socket) => socket.poll_discard(cx),
                    Source::Tcp(tcp) => tcp.poll_discard(cx),
                }),
                false => ready!(self.poll_message(cx)).is_err(),
            };
            if is_over {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The kind of a package that servers send, by its first byte.
fn sent_kind(byte: u8) -> Option<Kind> {
    [Kind::Handshake, Kind::Heartbeat, Kind::Data, Kind::Kick]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
}
