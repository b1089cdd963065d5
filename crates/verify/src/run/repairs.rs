//! Notices when rooms are brought to a shard again: links are lost on a machine that
//! is too busy, too, and what the contract allows then is not asked of us alone.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use chassis::{Clock, Net};
use verify::{Event, record::REPAIR};

use super::process::repairs;
use crate::people::recorder::Recorder;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Looks at the connectors' counts until it is dropped.
pub(crate) async fn watch(net: Net, clock: Clock, recorder: Recorder, admins: Vec<SocketAddr>) {
    let mut known: HashMap<SocketAddr, f64> = HashMap::new();
    loop {
        let mut is_new = false;
        while !is_new {
            clock.sleep(LOOK).await;
            for admin in &admins {
                let counted = tokio::time::timeout(LOOK, repairs(&net, *admin)).await;
                let Ok(Ok(count)) = counted else { continue };
                // After a restart it counts from 0.
                is_new |= known.insert(*admin, count).unwrap_or_default() != count && count > 0.0;
            }
        }
        let what = "rooms were taken to a shard again".to_owned();
        let (fault, kind) = (recorder.next_fault(), REPAIR.to_owned());
        recorder.add(Event::FaultBegins { fault, kind, what, store_stopped: false });
        recorder.add(Event::FaultEnds { fault });
    }
}
