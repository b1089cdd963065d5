//! Notices when a connector brings rooms to a shard again: links are lost on a machine that
//! is too busy, too, and what the contract allows then is not asked of us alone.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use chassis::{Clock, Net};
use verify::{Event, record::REPAIR};

use super::process::repairs;
use crate::people::recorder::Recorder;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Looks at the counts of connectors, of which some are known by name, until it is
/// dropped.
pub(crate) async fn watch(
    net: Net,
    clock: Clock,
    recorder: Recorder,
    admins: Vec<(Option<String>, SocketAddr)>,
) {
    let mut known: HashMap<SocketAddr, f64> = HashMap::new();
    loop {
        clock.sleep(LOOK).await;
        for (name, admin) in &admins {
            let counted = tokio::time::timeout(LOOK, repairs(&net, *admin)).await;
            let Ok(Ok(count)) = counted else { continue };
            // After a restart it counts from 0.
            if known.insert(*admin, count).unwrap_or_default() == count || count == 0.0 {
                continue;
            }
            let (fault, kind) = (recorder.next_fault(), REPAIR.to_owned());
            let by = name.as_deref().unwrap_or("a connector");
            let what = format!("{by} took rooms to a shard again");
            let (store_stopped, touches) = (false, name.clone().map(|name| vec![name]));
            recorder.add(Event::FaultBegins { fault, kind, what, store_stopped, touches });
            recorder.add(Event::FaultEnds { fault });
        }
    }
}
