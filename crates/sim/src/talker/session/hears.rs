//! What a session hears, and what it makes of it.

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use verify::{Event, Position, Verdict};
use wire::{Kind, Message as Packed, RawRoute};

use super::{Asked, RETRY, Session, State};
use crate::pomelo::BoxError;

impl Session {
    pub(super) async fn take(&mut self, kind: Kind, body: Bytes) -> Result<(), BoxError> {
        match kind {
            Kind::Heartbeat => return Ok(()),
            Kind::Kick => return Err(String::from_utf8(body.to_vec())?.into()),
            _ => {}
        }
        match Packed::decode(body)? {
            Packed::Response { id, body } => {
                let body: Value = serde_json::from_slice(&body)?;
                let request = id.little_endian();
                let asked = self.asked.remove(&request).ok_or("an answer to nothing")?;
                self.answered(request, asked, &body).await
            }
            Packed::Push { route: RawRoute::Name(route), body } => {
                self.push(std::str::from_utf8(&route)?, &body)
            }
            other => Err(format!("servers do not send {other:?}").into()),
        }
    }

    async fn answered(&mut self, request: u32, asked: Asked, body: &Value) -> Result<(), BoxError> {
        let code = u16::try_from(body["code"].as_u64().unwrap_or(200))?;
        let session = self.id;
        match asked {
            Asked::Enter => self.entered(request, code, body).await?,
            Asked::Send(message) => {
                let position = position(body);
                self.writer.add(Event::Sent { session, request, code, position });
                self.mind.borrow_mut().answered(&self.room, &message, code);
                if matches!(code, 429 | 503) {
                    self.again_at = Some(Instant::now() + RETRY);
                }
            }
            Asked::Page { before, left } => self.page(request, code, body, before, left).await?,
            Asked::Leave => {
                self.writer.add(Event::GotOut { session, request, code });
                self.state = State::Outside;
                self.enter().await?;
            }
        }
        Ok(())
    }

    async fn entered(&mut self, request: u32, code: u16, body: &Value) -> Result<(), BoxError> {
        let users = body["users"].as_array().into_iter().flatten();
        let users = users.filter_map(Value::as_str).map(str::to_owned).collect();
        let (position, verdict) = (position(&body["position"]), verdict(&body["verdict"]));
        let session = self.id;
        self.writer.add(Event::Entered {
            session,
            request,
            code,
            users,
            position: position.clone(),
            verdict: verdict.clone(),
        });
        if code != 200 {
            self.again_at = Some(Instant::now() + RETRY);
            return Ok(());
        }
        self.state = State::Inside;
        let follows = verdict.is_some_and(|v| matches!(v.kind.as_str(), "complete" | "truncated"));
        if let Some(position) = position.filter(|_| !follows) {
            self.mind.borrow_mut().set_mark(&self.room, &position);
        }
        self.again().await
    }

    async fn page(
        &mut self,
        request: u32,
        code: u16,
        body: &Value,
        before: bool,
        left: u32,
    ) -> Result<(), BoxError> {
        let entries = body["entries"].as_array().cloned().unwrap_or_default();
        let entries: Vec<verify::record::Shown> =
            entries.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        let edge = if before { entries.first() } else { entries.last() }.map(|entry| entry.seq);
        let complete = body["complete"].as_bool().unwrap_or_default();
        self.writer.add(Event::Page {
            session: self.id,
            request,
            code,
            epoch: body["epoch"].as_str().unwrap_or_default().to_owned(),
            head: body["head"].as_u64().unwrap_or_default(),
            taken: body["taken"].as_u64().unwrap_or_default(),
            complete,
            entries,
        });
        if let Some(edge) = edge.filter(|_| left > 0 && !complete && self.state == State::Inside) {
            self.read(before, Some(edge), left - 1).await?;
        }
        Ok(())
    }

    fn push(&mut self, route: &str, body: &[u8]) -> Result<(), BoxError> {
        let is_extended = self.mind.borrow().is_extended();
        let body: Value = match route {
            "onChat" if !is_extended => {
                self.chat.decode(route, body).map_err(|error| format!("{error:?}"))?
            }
            _ => serde_json::from_slice(body)?,
        };
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (session, numbered) = (self.id, body.get("seq").is_some());
        let event = match route {
            "onChat" => {
                let position = position(&body);
                if let Some(position) = &position {
                    self.mind.borrow_mut().saw(&self.room, position);
                }
                let redacted = body["redacted"].as_bool().unwrap_or_default();
                let (from, target, content) = (text("from"), text("target"), text("msg"));
                Event::Pushed { session, from, target, content, position, redacted }
            }
            "onAdd" => Event::Came { session, user: text("user"), numbered },
            "onLeave" => Event::Went { session, user: text("user"), numbered },
            "onVerdict" => {
                let verdict = verdict(&body).ok_or("a verdict without words")?;
                if let Some(position) = &verdict.position {
                    self.mind.borrow_mut().set_mark(&self.room, position);
                }
                Event::Told { session, verdict }
            }
            // What follows is the end of the connection.
            "onRedact" | "onReconnect" => return Ok(()),
            other => return Err(format!("a push {other}").into()),
        };
        self.writer.add(event);
        Ok(())
    }
}

fn position(body: &Value) -> Option<Position> {
    let (epoch, seq) = (body["epoch"].as_str()?.to_owned(), body["seq"].as_u64()?);
    Some(Position { epoch, seq })
}

fn verdict(body: &Value) -> Option<Verdict> {
    let kind = body["kind"].as_str()?.to_owned();
    let (first, position) = (body["first"].as_u64(), position(&body["position"]));
    Some(Verdict { kind, first, position })
}
