//! One connection that speaks Pomelo, from the client's side.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use chassis::{Net, Stream};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as Frame};
use wire::{Kind, PushRoute, RawId};

use crate::{hosts::CLIENT_PORT, net::Turmoil};

pub(crate) type BoxError = Box<dyn std::error::Error>;

/// How often a client says that it is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);

/// One connection, after its handshake.
#[derive(Debug)]
pub(crate) struct Pomelo {
    socket: WebSocketStream<Stream>,
    requests: u32,
}

impl Pomelo {
    /// Connects to a connector and says `hello`.
    pub(crate) async fn connect(connector: &str, hello: &Value) -> Result<Self, BoxError> {
        let addr = format!("{connector}:{CLIENT_PORT}");
        let net = Net::simulated(Arc::new(Turmoil::default()));
        let (socket, _) = client_async(format!("ws://{addr}/"), net.dial(&addr).await?).await?;
        let mut pomelo = Self { socket, requests: 0 };
        pomelo.send(Kind::Handshake, hello.to_string().as_bytes()).await?;
        let greeting = pomelo.next().await?;
        if greeting.0 != Kind::Handshake {
            return Err("no handshake".into());
        }
        pomelo.send(Kind::HandshakeAck, b"").await?;
        Ok(pomelo)
    }

    /// The number that the next request will have.
    pub(crate) fn next_request(&self) -> u32 {
        self.requests + 1
    }

    /// Asks, and gives the number of the request.
    pub(crate) async fn ask(&mut self, route: &str, body: &Value) -> Result<u32, BoxError> {
        self.requests += 1;
        let mut package = BytesMut::new();
        let id = RawId::new(self.requests);
        let body = body.to_string();
        wire::encode_request(&id, PushRoute::Name(route), body.as_bytes(), &mut package)?;
        self.socket.send(Frame::Binary(package.freeze())).await?;
        Ok(self.requests)
    }

    /// Says that it is there.
    pub(crate) async fn beat(&mut self) -> Result<(), BoxError> {
        self.send(Kind::Heartbeat, b"").await
    }

    /// Goes.
    pub(crate) async fn close(&mut self) -> Result<(), BoxError> {
        Ok(self.socket.close(None).await?)
    }

    async fn send(&mut self, kind: Kind, body: &[u8]) -> Result<(), BoxError> {
        let mut package = BytesMut::new();
        wire::encode_package(kind, body, &mut package)?;
        Ok(self.socket.send(Frame::Binary(package.freeze())).await?)
    }

    /// The next package. Cancel-safe: a message is taken whole or not at all.
    pub(crate) async fn next(&mut self) -> Result<(Kind, Bytes), BoxError> {
        loop {
            match self.socket.next().await.ok_or("the server has closed")?? {
                Frame::Binary(bytes) => {
                    let package = wire::decode_frame(bytes, wire::BODY_LEN_MAX).next();
                    let package =
                        package.ok_or("an empty message")?.map_err(|e| format!("{e:?}"))?;
                    return Ok((package.kind, package.body));
                }
                Frame::Close(_) => return Err("the server has closed".into()),
                _ => {}
            }
        }
    }
}
