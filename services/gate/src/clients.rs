//! Clients of the Pomelo protocol: one route, answered as the original does.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use chassis::{Policy, Tasks};
use frontend::{Handler, Session};
use serde_json::{Value, json};
use wire::{Call, Dialect, RawId, Route, to_json};

use crate::{
    advertise::{Asked, Entry},
    service::Gate,
};

/// What all clients' sessions share.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) gate: Gate,
    /// For answers that have to wait.
    pub(crate) tasks: Tasks,
}

/// What is known of a client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Where it said that it goes to.
    asked: OnceLock<Asked>,
    /// There if it reads more than the original's answer.
    extended: OnceLock<()>,
}

impl Handler for Clients {
    type State = Client;

    const KNOWN: &'static [&'static str] = &[wire::route::QUERY_ENTRY];

    fn upgraded(&self, session: &Arc<Session<Client>>, request: &http::Request<()>) {
        if let Some(asked) = Asked::of(request) {
            let _ = session.state().asked.set(asked);
        }
    }

    fn opened(&self, session: &Arc<Session<Client>>, conn: &mut wire::Conn) {
        if conn.dialect() == Dialect::Extended {
            let _ = session.state().extended.set(());
        }
    }

    fn call(&self, session: &Arc<Session<Client>>, call: Call) {
        let Route::QueryEntry = call.route else { return };
        session.set_busy(true);
        let uid = uid(&call.body);
        let Some(visit) = uid.as_deref().and_then(|uid| self.gate.visit(uid)) else {
            return answer(&self.gate, session, call.id.as_ref(), uid.as_deref());
        };
        // The name alone, which is short: the rest of the body need not wait.
        let (id, uid) = (call.id, uid.map(Cow::into_owned));
        let (gate, session) = (self.gate.clone(), Arc::clone(session));
        self.tasks.spawn("query_entry", Policy::Session, async move {
            visit.make().await;
            answer(&gate, &session, id.as_ref(), uid.as_deref());
        });
    }

    fn closed(&self, _: &Arc<Session<Client>>) {}
}

/// The name in a query, if there is one. Any that is text or a number is answered:
/// whether a room takes it is said by the connector, which can tell what is wrong with
/// it.
fn uid(body: &Value) -> Option<Cow<'_, str>> {
    match body.get("uid") {
        Some(Value::String(uid)) => Some(Cow::Borrowed(uid)),
        // The original takes 0 for no name.
        Some(Value::Number(uid)) if uid.as_f64() != Some(0.0) => {
            Some(Cow::Owned(wire::js_number_text(uid)))
        }
        _ => None,
    }
}

fn answer(gate: &Gate, session: &Session<Client>, id: Option<&RawId>, uid: Option<&str>) {
    let client = session.state();
    let answer = match gate.assign(uid, client.asked.get()) {
        Ok(entry) if client.extended.get().is_some() => {
            let Entry { host, port, tls, path } = entry;
            to_json(&json!({ "code": 200, "host": host, "port": port, "tls": tls, "path": path }))
        }
        Ok(entry) => {
            let (host, port) = (entry.plain_host(), entry.port);
            to_json(&json!({ "code": 200, "host": host, "port": port }))
        }
        Err(_) => to_json(&json!({ "code": 500 })),
    };
    // Nobody waits for the answer to a notify.
    if let Some(id) = id {
        session.respond(id, &answer);
    }
}
