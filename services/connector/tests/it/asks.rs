//! What only extended sessions can ask for: to leave, to read, and for rooms.

use rpc::chat::v1::{
    self as pb, RefusedReason, command::Command as C, event::Event as E, reply::Result as R,
};
use wire::route::{HISTORY, LEAVE, ROOMS};

use crate::{
    client::{Client, EXTENDED},
    extended::chat,
    scene::{EPOCH, Options, Scene, entry, presence},
    shard::{Shard, reply},
};

const OK: &str = r#"{"code":200}"#;

async fn scene_of_ann_and_bob() -> Scene {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", "").await;
    s
}

fn list(id: u64, rooms: &[(&str, u32)]) -> E {
    let room =
        |(room, members): &(&str, u32)| pb::ListedRoom { room: (*room).into(), members: *members };
    let list = pb::RoomList { rooms: rooms.iter().map(room).collect() };
    E::Reply(pb::Reply { request_id: id, room: String::new(), result: Some(R::RoomList(list)) })
}

#[tokio::test]
async fn who_has_left_hears_nothing_more_and_may_enter_again() {
    let mut s = scene_of_ann_and_bob().await;
    let asked = s.clients[1].ask(LEAVE, "{}").await;
    let (id, leave) = s.link.leave().await;
    assert_eq!((leave.room.as_str(), leave.session_id), ("r", s.ids[1]));
    // It is not said before the shard knows.
    s.clients[1].expect_nothing().await;
    s.names.pop();
    // What the shard said before it knew is not for ann any more.
    let (loud, whisper) = (s.says("bob", "hi"), s.whispers("bob", "ann", "psst"));
    let gone = reply(id, R::Gone(pb::Gone {}));
    s.link.send_all([E::Entry(loud), E::Entry(whisper), gone, presence("ann", false, 0)]).await;
    s.clients[1].expect(&[&format!("{asked} {OK}")]).await;
    s.clients[0].expect(&["onChat bob > *: hi", "onLeave ann"]).await;
    for route in [LEAVE, HISTORY] {
        let asked = s.clients[1].ask(route, "{}").await;
        s.clients[1].expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
    }
    let asked = s.clients[1].enter("eve", "r").await;
    let (id, join) = s.link.join().await;
    assert_eq!(join.session_id, s.ids[1]);
    s.names.push("eve".into());
    s.link.send_all([s.joined(id), presence("eve", true, join.session_id)]).await;
    let line = s.clients[1].next().await;
    assert!(line.starts_with(&format!(r#"{asked} {{"code":200,"users":["bob","eve"]"#)), "{line}");
    let loud = s.says("bob", "hi");
    s.link.send(E::Entry(loud)).await;
    s.clients[1].expect(&[&chat(4, "bob", "*", "hi")]).await;
    s.connector.until("connector_members", 2.0).await;
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_not_told_that_nothing_was_stored() {
    let mut s = scene_of_ann_and_bob().await;
    let said = s.clients[1].say("hi", "*").await;
    s.link.publish().await;
    let asked = s.clients[1].ask(LEAVE, "{}").await;
    s.link.leave().await;
    let (id, _) = s.relink(true).await;
    s.clients[1].expect(&[&format!("{asked} {OK}")]).await;
    s.names.pop();
    s.ids.pop();
    let rejoined = s.rejoined(&[]);
    s.link.reply(id, R::Rejoined(rejoined)).await;
    let (id, _) = s.link.publish().await;
    s.link.refuse(id, RefusedReason::NotAMember).await;
    let busy = r#"{"code":503,"error":"the room cannot be served now, try again"}"#;
    s.clients[1].expect(&[&format!("{said} {busy}")]).await;
}

#[tokio::test]
async fn a_shard_that_dies_does_not_keep_anybody() {
    let mut s = scene_of_ann_and_bob().await;
    let asked = s.clients[1].ask(LEAVE, "{}").await;
    s.link.leave().await;
    let (id, rejoin) = s.relink(true).await;
    s.clients[1].expect(&[&format!("{asked} {OK}")]).await;
    assert_eq!(rejoin.members.len(), 1);
    s.names.pop();
    s.ids.pop();
    // Nor one that is still to be told.
    let mut rejoined = s.rejoined(&[]);
    rejoined.roster = vec!["bob".into()];
    s.link.reply(id, R::Rejoined(rejoined)).await;
    s.clients[0].say("hi", "*").await;
    s.link.publish().await;
}

#[tokio::test]
async fn who_leaves_while_there_is_no_shard_is_out_at_once() {
    let mut s = scene_of_ann_and_bob().await;
    s.link.cut().await;
    let mut link = s.shard.raw_link().await;
    let asked = s.clients[1].ask(LEAVE, "{}").await;
    s.clients[1].expect(&[&format!("{asked} {OK}")]).await;
    link.next().await;
    let welcome = pb::Welcome { shard_id: "chat-0".into(), incarnation: 1, volatile: true };
    link.send(E::Welcome(welcome)).await;
    link.beat();
    let (_, rejoin) = link.rejoin().await;
    assert_eq!(rejoin.members.len(), 1);
}

#[tokio::test]
async fn who_leaves_need_not_wait_for_a_shard_that_is_silent() {
    let args = &["--request-timeout=300ms"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &[]).await;
    s.enter_extended("ann", "").await;
    let asked = s.clients[0].ask(LEAVE, "{}").await;
    let (id, _) = s.link.leave().await;
    s.clients[0].expect(&[&format!("{asked} {OK}")]).await;
    s.link.reply(id, R::Gone(pb::Gone {})).await;
    s.connector.until("connector_rooms", 0.0).await;
    s.clients[0].expect_nothing().await;
}

#[tokio::test]
async fn who_is_about_to_come_in_can_not_leave() {
    let mut s = Scene::start(&["bob"]).await;
    let mut ann = Client::connect_as(s.connector.addr, EXTENDED).await;
    let asked = ann.ask(LEAVE, "{}").await;
    ann.expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
    ann.enter("ann", "r").await;
    let asked = ann.ask(LEAVE, "{}").await;
    ann.expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
    s.link.join().await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn the_past_is_read_page_by_page() {
    let mut s = scene_of_ann_and_bob().await;
    for (body, after, before, limit) in [
        ("{}", None, None, 50),
        (r#"{"after":0,"limit":200}"#, Some(0), None, 200),
        (r#"{"before":9007199254740991,"limit":1}"#, None, Some((1 << 53) - 1), 1),
    ] {
        let asked = s.clients[1].ask(HISTORY, body).await;
        let (id, read) = s.link.read_history().await;
        let session_id = s.ids[1];
        assert_eq!(read, pb::ReadHistory { room: "r".into(), session_id, after, before, limit });
        let gone = pb::Entry { redacted: true, content: String::new(), ..entry(3, "bob", "*", "") };
        let entries = vec![entry(2, "bob", "ann", "\"é"), gone];
        let page = pb::HistoryPage { epoch: EPOCH, entries, head: 9, taken: 1, complete: true };
        s.link.reply(id, R::HistoryPage(page)).await;
        let first = r#"{"seq":2,"at":1,"from":"bob","target":"ann","msg":"\"é","cmid":"cmid-2"}"#;
        let second = r#"{"seq":3,"at":1,"from":"bob","target":"*","msg":"","cmid":"cmid-3","redacted":true}"#;
        let page = format!(
            r#""epoch":"0000000000000007","head":9,"taken":1,"complete":true,"entries":[{first},{second}]"#
        );
        s.clients[1].expect(&[&format!(r#"{asked} {{"code":200,{page}}}"#)]).await;
    }
    let asked = s.clients[1].ask(HISTORY, "{}").await;
    let (id, _) = s.link.read_history().await;
    s.link.refuse(id, RefusedReason::NotAMember).await;
    s.clients[1].expect(&[&format!(r#"{asked} {{"code":500}}"#)]).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_not_asked() {
    let mut s = scene_of_ann_and_bob().await;
    let seq = "must be a whole number from 0 to 9007199254740991";
    for (route, body, error) in [
        (HISTORY, r#"{"before":2,"after":1}"#, "before: not together with after"),
        (HISTORY, r#"{"before":"2"}"#, &format!("before: {seq}")),
        (HISTORY, r#"{"after":-1}"#, &format!("after: {seq}")),
        (HISTORY, r#"{"limit":0}"#, "limit: must be a whole number from 1 to 200"),
        (HISTORY, r#"{"limit":201}"#, "limit: must be a whole number from 1 to 200"),
        (HISTORY, r#"{"limit":null}"#, "limit: must be a whole number from 1 to 200"),
        (ROOMS, r#"{"limit":101}"#, "limit: must be a whole number from 1 to 100"),
    ] {
        let asked = s.clients[1].ask(route, body).await;
        s.clients[1].expect(&[&format!(r#"{asked} {{"code":400,"error":"{error}"}}"#)]).await;
    }
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn a_page_that_would_not_fit_is_cut_where_the_next_one_begins() {
    let args = &["--outbox-max=1400"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &[]).await;
    s.enter_extended("ann", "").await;
    let text = "x".repeat(100);
    let longest = "x".repeat(1000);
    for (body, content, expected) in [
        (r#"{"after":1}"#, &text, "[2, 3]"),
        (r#"{"before":5}"#, &text, "[3, 4]"),
        (r#"{"after":1}"#, &longest, "[2]"),
        ("{}", &longest, "[4]"),
    ] {
        s.clients[0].ask(HISTORY, body).await;
        let (id, _) = s.link.read_history().await;
        let entries = (2..5).map(|seq| entry(seq, "bob", "*", content)).collect();
        let page = pb::HistoryPage { epoch: EPOCH, entries, head: 4, taken: 0, complete: true };
        s.link.reply(id, R::HistoryPage(page)).await;
        let line = s.clients[0].next().await;
        let page: serde_json::Value =
            serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        let seqs: Vec<u64> = page["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["seq"].as_u64().unwrap())
            .collect();
        assert_eq!((format!("{seqs:?}").as_str(), &page["complete"]), (expected, &false.into()));
    }
}

#[tokio::test]
async fn a_page_is_asked_for_again_when_the_room_has_moved() {
    let mut s = scene_of_ann_and_bob().await;
    let asked = s.clients[1].ask(HISTORY, "{}").await;
    let (_, first) = s.link.read_history().await;
    let (id, _) = s.relink(true).await;
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    let (id, again) = s.link.read_history().await;
    assert_eq!(again, first);
    s.link.reply(id, R::HistoryPage(pb::HistoryPage::default())).await;
    let line = s.clients[1].next().await;
    assert!(line.starts_with(&format!(r#"{asked} {{"code":200"#)), "{line}");
}

#[tokio::test]
async fn rooms_of_all_shards_are_listed_those_with_most_members_first() {
    let mut s = Scene::start(&[]).await;
    let mut second = Shard::start("chat-1").await;
    let shards = [s.shard.listed(), second.listed()];
    s.connector.view.send_replace(cluster::View::new(shards));
    let mut link = second.link().await;
    s.connector.until("connector_links", 2.0).await;
    let mut ann = Client::connect_as(s.connector.addr, EXTENDED).await;
    for (body, limit, rooms) in [
        ("{}", 100, vec![("b", 9), ("a", 3), ("c", 3), ("d", 1)]),
        (r#"{"limit":2}"#, 2, vec![("b", 9), ("a", 3)]),
    ] {
        let asked = ann.ask(ROOMS, body).await;
        let (id, asked_for) = s.link.list_rooms().await;
        assert_eq!(asked_for.limit, limit);
        s.link.send(list(id, &[("c", 3), ("b", 2)])).await;
        let (id, _) = link.list_rooms().await;
        link.send(list(id, &[("b", 9), ("a", 3), ("d", 1)])).await;
        let rooms: Vec<String> = rooms
            .iter()
            .map(|(rid, members)| format!(r#"{{"rid":"{rid}","members":{members}}}"#))
            .collect();
        let rooms = rooms.join(",");
        ann.expect(&[&format!(r#"{asked} {{"code":200,"rooms":[{rooms}]}}"#)]).await;
    }
    // A shard that does not answer is left out, and one that refuses is not waited for.
    for refuses in [false, true] {
        let asked = ann.ask(ROOMS, "{}").await;
        let (id, _) = s.link.list_rooms().await;
        s.link.send(list(id, &[("c", 3)])).await;
        let (id, _) = link.list_rooms().await;
        if refuses {
            let refused = crate::shard::refused(RefusedReason::Unavailable, None);
            let room = String::new();
            link.send(E::Reply(pb::Reply { request_id: id, room, result: Some(refused) })).await;
        }
        let rooms = r#"{"code":200,"rooms":[{"rid":"c","members":3}]}"#;
        ann.expect(&[&format!("{asked} {rooms}")]).await;
    }
    let (_, other) = link.command().await;
    assert!(matches!(other, C::Heartbeat(_) | C::Compare(_)));
}

#[tokio::test]
async fn who_asks_too_fast_is_told_so() {
    let args = &["--sends-per-second=1", "--sends-burst=2"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &[]).await;
    s.enter_extended("ann", "").await;
    for _ in 0..10 {
        s.clients[0].ask(HISTORY, "{}").await;
    }
    let line = s.clients[0].next().await;
    assert!(line.ends_with(r#" {"code":429,"error":"too many requests"}"#), "{line}");
    // What may be said is another matter.
    s.clients[0].say("hi", "*").await;
    while !matches!(s.link.next().await.1, C::Publish(_)) {}
}
