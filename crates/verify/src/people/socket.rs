//! A WebSocket through the handshake of the protocol, and what the handshake said.

use std::{borrow::Cow, collections::HashMap};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use chassis::{Net, Stream};
use futures::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as Frame};
use wire::{Kind, Message, PushRoute, RawId, RawRoute, Schema, route};

use super::entry::Url;

pub(crate) type Socket = WebSocketStream<Stream>;

/// How a server writes pushes and wants requests, as its handshake said.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    /// Routes by their codes.
    routes: HashMap<u16, String>,
    pushes: Schema,
    requests: Schema,
}

/// Connects and shakes hands.
pub(crate) async fn open(net: &Net, at: &Url, extended: bool) -> anyhow::Result<(Socket, Codec)> {
    let stream = net.dial(&at.addr).await?;
    let (mut socket, _) = client_async(at.to_string(), stream).await?;
    let user = if extended { json!({ "shaddock": 1 }) } else { json!({}) };
    let greeting = json!({ "sys": {}, "user": user }).to_string();
    write(&mut socket, Kind::Handshake, greeting.as_bytes()).await?;
    let Some(Frame::Binary(bytes)) = socket.next().await.transpose()? else {
        bail!("no handshake");
    };
    let package = wire::decode_frame(bytes, wire::BODY_LEN_MAX).next().context("empty")??;
    ensure!(package.kind == Kind::Handshake, "no handshake");
    let codec = Codec::of(&serde_json::from_slice(&package.body)?);
    write(&mut socket, Kind::HandshakeAck, b"").await?;
    Ok((socket, codec))
}

pub(crate) async fn write(socket: &mut Socket, kind: Kind, body: &[u8]) -> anyhow::Result<()> {
    let mut package = BytesMut::new();
    wire::encode_package(kind, body, &mut package)?;
    Ok(socket.send(Frame::Binary(package.freeze())).await?)
}

/// A request, as a package.
pub(crate) fn request(number: u32, route: &str, body: &[u8]) -> anyhow::Result<Bytes> {
    let mut package = BytesMut::new();
    wire::encode_request(&RawId::new(number), PushRoute::Name(route), body, &mut package)?;
    Ok(package.freeze())
}

/// Asks a gate where `uid` is to go.
pub(crate) async fn ask(net: &Net, gate: &Url, uid: &str, extended: bool) -> anyhow::Result<Value> {
    let (mut socket, codec) = open(net, gate, extended).await?;
    let body = codec.request(route::QUERY_ENTRY, &json!({ "uid": uid }))?;
    socket.send(Frame::Binary(request(1, route::QUERY_ENTRY, &body)?)).await?;
    while let Some(frame) = socket.next().await.transpose()? {
        let Frame::Binary(bytes) = frame else { continue };
        for package in wire::decode_frame(bytes, wire::BODY_LEN_MAX) {
            let package = package?;
            if package.kind != Kind::Data {
                continue;
            }
            if let Message::Response { body, .. } = Message::decode(package.body)? {
                // It has said all that we wanted to know.
                let _ = socket.close(None).await;
                return Ok(serde_json::from_slice(&body)?);
            }
        }
    }
    bail!("the gate closed")
}

impl Codec {
    fn of(handshake: &Value) -> Self {
        let sys = &handshake["sys"];
        let codes = sys["dict"].as_object().into_iter().flatten();
        let code = |(name, code): (&String, &Value)| {
            Some((u16::try_from(code.as_u64()?).ok()?, name.clone()))
        };
        let (pushes, requests) = (&sys["protos"]["server"], &sys["protos"]["client"]);
        let routes = codes.filter_map(code).collect();
        Self { routes, pushes: schema(pushes), requests: schema(requests) }
    }

    /// The body of a request.
    pub(crate) fn request(&self, route: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        if self.requests.contains(route)
            && let Some(protobuf) = self.requests.encode(route, body)?
        {
            return Ok(protobuf);
        }
        Ok(serde_json::to_vec(body)?)
    }

    /// What a push says.
    pub(crate) fn push<'a>(
        &'a self,
        route: &'a RawRoute,
        body: &[u8],
    ) -> anyhow::Result<(Cow<'a, str>, Value)> {
        let route = match route {
            RawRoute::Name(name) => String::from_utf8_lossy(name),
            RawRoute::Code(code) => {
                Cow::Borrowed(self.routes.get(code).context("a route")?.as_str())
            }
        };
        let body = match self.pushes.contains(&route) {
            true => self.pushes.decode(&route, body)?,
            false => serde_json::from_slice(body)?,
        };
        Ok((route, body))
    }
}

/// A schema of messages that have no messages in them, as a handshake tells it, field by
/// field: `{"uid":{"option":"required","type":"string","tag":1}}`.
fn schema(told: &Value) -> Schema {
    let field = |(name, told): (&String, &Value)| {
        let (option, kind) = (told["option"].as_str()?, told["type"].as_str()?);
        Some((format!("{option} {kind} {name}"), told["tag"].clone()))
    };
    let file = told.as_object().into_iter().flatten().filter_map(|(route, fields)| {
        let fields: Map<_, _> = fields.as_object()?.iter().filter_map(field).collect();
        Some((route.clone(), Value::Object(fields)))
    });
    Schema::parse(&Value::Object(file.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_read_as_the_handshake_said() {
        let handshake = json!({ "code": 200, "sys": {
            "dict": { "onAdd": 7 },
            "protos": {
                "server": { "onChat": { "msg": { "option": "required", "type": "string", "tag": 1 } } },
                "client": {},
            },
        } });
        let codec = Codec::of(&handshake);
        let name = |name: &'static str| RawRoute::Name(Bytes::from_static(name.as_bytes()));
        let check = |route: RawRoute, body: &[u8], expected: (&str, Value)| {
            let (route, body) = codec.push(&route, body).unwrap();
            assert_eq!((&*route, body), expected);
        };
        check(name("onChat"), b"\x0a\x02hi", ("onChat", json!({ "msg": "hi" })));
        check(name("onLeave"), br#"{"user":"ann"}"#, ("onLeave", json!({ "user": "ann" })));
        check(RawRoute::Code(7), br#"{"user":"ann"}"#, ("onAdd", json!({ "user": "ann" })));
        assert!(codec.push(&RawRoute::Code(8), b"{}").is_err());
        assert_eq!(codec.request("a.b.c", &json!({ "x": 1 })).unwrap(), br#"{"x":1}"#);
    }
}
