//! Clients of the Pomelo protocol: one route, answered as the original does.

use std::{borrow::Cow, sync::Arc};

use chassis::{Policy, Tasks};
use frontend::{Handler, Session};
use serde_json::{Value, json};
use wire::{Call, RawId, Route, to_json};

use crate::service::Gate;

/// What all clients' sessions share.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) gate: Gate,
    /// For answers that have to wait.
    pub(crate) tasks: Tasks,
}

impl Handler for Clients {
    type State = ();

    const KNOWN: &'static [&'static str] = &[wire::route::QUERY_ENTRY];

    fn call(&self, session: &Arc<Session<()>>, call: Call) {
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

    fn closed(&self, _: &Arc<Session<()>>) {}
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

fn answer(gate: &Gate, session: &Session<()>, id: Option<&RawId>, uid: Option<&str>) {
    let answer = match gate.assign(uid) {
        Ok(entry) => to_json(&json!({ "code": 200, "host": entry.host, "port": entry.port })),
        Err(_) => to_json(&json!({ "code": 500 })),
    };
    // Nobody waits for the answer to a notify.
    if let Some(id) = id {
        session.respond(id, &answer);
    }
}
