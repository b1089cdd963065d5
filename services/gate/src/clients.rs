//! Clients of the Pomelo protocol: one route, answered as the original does.

use std::{borrow::Cow, sync::Arc};

use frontend::{Handler, Session};
use serde_json::{Value, json};
use wire::{Call, Route, to_json};

use crate::service::Gate;

/// What all clients' sessions share.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) gate: Gate,
}

impl Handler for Clients {
    type State = ();

    const KNOWN: &'static [&'static str] = &[wire::route::QUERY_ENTRY];

    fn call(&self, session: &Arc<Session<()>>, call: Call) {
        let Route::QueryEntry = call.route else { return };
        session.set_busy(true);
        let answer = self.query_entry(&call.body);
        // Nobody waits for the answer to a notify.
        if let Some(id) = call.id {
            session.respond(&id, &answer);
        }
    }

    fn closed(&self, _: &Arc<Session<()>>) {}
}

impl Clients {
    /// Any name that is text or a number is answered: whether a room takes it is said by the
    /// connector, which can tell what is wrong with it.
    fn query_entry(&self, body: &Value) -> Vec<u8> {
        let uid = match body.get("uid") {
            Some(Value::String(uid)) => Some(Cow::Borrowed(&uid[..])),
            // The original takes 0 for no name.
            Some(Value::Number(uid)) if uid.as_f64() != Some(0.0) => {
                Some(Cow::Owned(wire::js_number_text(uid)))
            }
            _ => None,
        };
        match self.gate.assign(uid.as_deref()) {
            Ok(entry) => to_json(&json!({ "code": 200, "host": entry.host, "port": entry.port })),
            Err(_) => to_json(&json!({ "code": 500 })),
        }
    }
}
