//! Links that are lost and opened again.

use rpc::chat::v1::{self as pb, RefusedReason, event::Event as E, reply::Result as R};

use crate::{
    scene::{FENCE, Options, Scene, at, presence, published},
    shard::reply,
};

const BUSY: &str = r#"{"code":503,"error":"the room cannot be served now, try again"}"#;

impl Scene {
    /// Cuts the link, takes the next one, and the re-join that comes over it.
    pub(crate) async fn relink(&mut self, volatile: bool) -> (u64, pb::Rejoin) {
        self.link.cut().await;
        self.link = self.shard.welcome(volatile, true).await;
        self.link.rejoin().await
    }
}

#[tokio::test]
async fn a_rejoin_brings_all_and_is_answered_with_what_was_missed() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let one = s.says("bot", "1");
    s.link.send(E::Entry(one)).await;
    s.everybody_gets(&["onChat bot > *: 1"]).await;
    let mut cat = s.connector.client().await;
    cat.enter("cat", "r").await;
    let (_, joining) = s.link.join().await;

    let (id, rejoin) = s.relink(true).await;
    assert_eq!((rejoin.mark, rejoin.seen, rejoin.redirected), (Some(at(2)), Some(FENCE), false));
    let members: Vec<(&str, u64, Option<pb::Grant>)> =
        rejoin.members.iter().map(|m| (m.user.as_str(), m.session_id, m.grant)).collect();
    let expected = [
        ("ann", s.ids[0], Some(s.grant(1))),
        ("bob", s.ids[1], Some(s.grant(2))),
        ("cat", joining.session_id, None),
    ];
    assert_eq!(members, expected);
    assert!(rejoin.members.iter().all(|m| m.identity.len() == 16 && !m.has_secret));

    let (two, three) = (s.says("bot", "2"), s.says("bot", "3"));
    s.names.push("cat".into());
    let answer = s.rejoined(&[two, three.clone()]);
    let live = s.says("bot", "4");
    s.link.send_all([reply(id, R::Rejoined(answer)), E::Entry(three), E::Entry(live)]).await;
    let (id, _) = s.link.join().await;
    s.link.send(s.joined(id)).await;
    cat.expect(&[r#"1 {"users":["ann","bob","cat"]}"#]).await;
    let missed = ["onChat bot > *: 2", "onChat bot > *: 3", "onAdd cat", "onChat bot > *: 4"];
    s.everybody_gets(&missed).await;
    s.silence().await;
    assert_eq!(
        s.connector.metric(r#"connector_rejoins_total{result="complete",cause="link_lost"}"#),
        1.0
    );
}

#[tokio::test]
async fn what_is_said_behind_an_enter_waits_for_its_answer() {
    let mut s = Scene::start(&["bob"]).await;
    let mut ann = s.connector.client().await;
    ann.feed(wire::route::ENTER, r#"{"username":"ann","rid":"r"}"#).await;
    ann.say("hi", "*").await;
    let (joining, _) = s.link.join().await;
    // Of others nothing waits; and if its enter is tried again, it goes on waiting.
    s.clients[0].say("ho", "*").await;
    assert_eq!(s.link.publish().await.1.content, "ho");
    s.link.refuse(joining, RefusedReason::Moved).await;
    s.link.send(E::Moved(pb::Moved { room: "r".into(), shard: None })).await;
    let (rejoining, _) = s.link.rejoin().await;
    s.link.reply(rejoining, R::Rejoined(s.rejoined(&[]))).await;
    let (joining, join) = s.link.join().await;
    assert_eq!(s.link.publish().await.1.content, "ho");
    s.names.push("ann".into());
    s.link.send_all([s.joined(joining), presence("ann", true, join.session_id)]).await;
    let (said, publish) = s.link.publish().await;
    assert_eq!(publish.content, "hi");
    s.link.reply(said, published(2)).await;
    ann.expect(&[r#"1 {"users":["bob","ann"]}"#, "2 {}"]).await;
}

#[tokio::test]
async fn what_was_not_answered_is_said_again_in_order_before_what_is_new() {
    let mut s = Scene::start(&["ann"]).await;
    let mut cmids = Vec::new();
    for n in 0..3 {
        s.clients[0].say(&format!("m{n}"), "*").await;
        cmids.push(s.link.publish().await.1.cmid);
    }
    let (id, _) = s.relink(true).await;
    s.clients[0].say("m3", "*").await;
    // The first was stored, and says so itself.
    let stored = pb::Entry { cmid: cmids[0].clone(), ..s.says("ann", "m0") };
    let answer = s.rejoined(&[stored]);
    s.link.reply(id, R::Rejoined(answer)).await;
    s.clients[0].expect(&["2 {}", "onChat ann > *: m0"]).await;
    for n in 1..4 {
        let (id, publish) = s.link.publish().await;
        assert_eq!(publish.content, format!("m{n}"));
        // Repeated under its id, or said for the first time.
        assert!(cmids.get(n).is_none_or(|cmid| *cmid == publish.cmid));
        let entry = s.says("ann", &publish.content);
        s.link.send_all([reply(id, published(s.head)), E::Entry(entry)]).await;
        s.clients[0].expect(&[&format!("{} {{}}", n + 2), &format!("onChat ann > *: m{n}")]).await;
    }
}

#[tokio::test]
async fn what_was_refused_unheard_is_not_said_again_behind_what_came_later() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let mut cmids = Vec::new();
    for (client, content) in [(0, "m0"), (1, "m1"), (0, "m2"), (0, "m3")] {
        s.clients[client].say(content, "*").await;
        cmids.push(s.link.publish().await.1.cmid);
    }
    let (id, _) = s.relink(true).await;
    let stored = pb::Entry { cmid: cmids[2].clone(), ..s.says("ann", "m2") };
    s.link.reply(id, R::Rejoined(s.rejoined(&[stored]))).await;
    s.clients[0].expect(&["3 {}", "onChat ann > *: m2", &format!("2 {BUSY}")]).await;
    s.clients[1].expect(&["onChat ann > *: m2"]).await;
    // Others are in no order with these; and what came after it is still to be said.
    for (client, content, answer) in [(1, "m1", "2 {}"), (0, "m3", "4 {}")] {
        let (id, publish) = s.link.publish().await;
        assert_eq!(publish.content, content);
        s.link.reply(id, published(s.head + 1)).await;
        s.clients[client].expect(&[answer]).await;
    }
}

#[tokio::test]
async fn what_was_still_looked_for_is_not_said_again_behind_what_was_answered() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    s.clients[0].say("psst", "gone").await;
    s.link.publish().await;
    s.clients[0].say("later", "*").await;
    let (id, _) = s.link.publish().await;
    s.link.reply(id, published(2)).await;
    s.clients[0].expect(&["3 {}"]).await;
    let (id, _) = s.relink(true).await;
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.clients[0].expect(&[&format!("2 {BUSY}")]).await;
    s.clients[0].say("last", "*").await;
    assert_eq!(s.link.publish().await.1.content, "last");
}

#[tokio::test]
async fn what_was_whispered_to_somebody_elsewhere_is_answered_and_shown_to_nobody() {
    let mut s = Scene::start(&["ann", "eve"]).await;
    s.clients[0].say("psst", "eve").await;
    let (_, publish) = s.link.publish().await;
    let (id, _) = s.relink(true).await;
    // It was for an eve who was somewhere else then.
    let whisper = pb::Entry { cmid: publish.cmid, ..s.whispers("ann", "eve", "psst") };
    let answer = pb::Rejoined { said: vec![whisper], ..s.rejoined(&[]) };
    s.link.reply(id, R::Rejoined(answer)).await;
    s.clients[0].expect(&["2 {}"]).await;
    s.silence().await;
}

#[tokio::test]
async fn what_an_owner_may_have_stored_is_not_called_refused_when_its_author_is_gone() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (said, _) = s.link.publish().await;
    s.link
        .send(E::Reply(pb::Reply {
            request_id: said,
            room: "r".into(),
            result: Some(R::Refused(pb::Refused {
                reason: RefusedReason::Moved.into(),
                unknown: true,
                ..Default::default()
            })),
        }))
        .await;
    s.link.send(E::Moved(pb::Moved { room: "r".into(), shard: None })).await;
    let (rejoining, _) = s.link.rejoin().await;
    s.link.reply(rejoining, R::Rejoined(s.rejoined(&[]))).await;
    let (id, again) = s.link.publish().await;
    assert_eq!(again.content, "hi");
    s.link.refuse(id, RefusedReason::NotAMember).await;
    s.clients[0].expect(&[&format!("2 {BUSY}")]).await;
}

#[tokio::test]
async fn what_an_old_link_carried_is_answered_before_it_is_pushed() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (_, first) = s.link.publish().await;
    let (id, _) = s.relink(true).await;
    let answer = s.rejoined(&[]);
    s.link.reply(id, R::Rejoined(answer)).await;
    let (id, again) = s.link.publish().await;
    assert_eq!(again.cmid, first.cmid);
    // The first of the two is stored now, and the second was not looked at yet.
    let stored = pb::Entry { cmid: first.cmid, ..s.says("ann", "hi") };
    s.link.send(E::Entry(stored)).await;
    s.clients[0].expect(&["2 {}", "onChat ann > *: hi"]).await;
    s.link.reply(id, published(2)).await;
    s.silence().await;
}

#[tokio::test]
async fn what_another_shard_may_still_store_is_answered_before_it_is_pushed() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (said, first) = s.link.publish().await;
    let (id, _) = s.relink(true).await;
    // It was sent here, too, before the room was elsewhere; and comes late.
    s.link.refuse(said, RefusedReason::Moved).await;
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.link.publish().await;
    let stored = pb::Entry { cmid: first.cmid, ..s.says("ann", "hi") };
    s.link.send(E::Entry(stored)).await;
    s.clients[0].expect(&["2 {}", "onChat ann > *: hi"]).await;
}

#[tokio::test]
async fn what_overtook_the_rejoin_is_not_refused_but_said_again() {
    let mut s = Scene::start(&["ann"]).await;
    s.clients[0].say("hi", "*").await;
    let (said, _) = s.link.publish().await;
    // The shard gave the room up, and opened it again for what was on its way.
    s.link.send(E::Moved(pb::Moved { room: "r".into(), shard: None })).await;
    let (rejoining, _) = s.link.rejoin().await;
    s.link.refuse(said, RefusedReason::NotAMember).await;
    let answer = s.rejoined(&[]);
    s.link.reply(rejoining, R::Rejoined(answer)).await;
    let (id, again) = s.link.publish().await;
    assert_eq!(again.content, "hi");
    let entry = s.says("ann", "hi");
    s.link.send_all([reply(id, published(2)), E::Entry(entry)]).await;
    s.clients[0].expect(&["2 {}", "onChat ann > *: hi"]).await;
}

#[tokio::test]
async fn a_new_log_of_a_volatile_shard_keeps_sessions_and_gives_up_what_is_unknown() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    s.clients[0].say("lost?", "*").await;
    s.link.publish().await;
    let (id, _) = s.relink(true).await;
    s.clients[1].say("new", "*").await;
    let position = Some(pb::Position { epoch: 8, seq: 1 });
    let fence = Some(pb::Fence { r#gen: 2, term: 1 });
    let verdict = pb::Verdict::Reset.into();
    let answer = pb::Rejoined { verdict, position, fence, ..s.rejoined(&[]) };
    s.link.reply(id, R::Rejoined(answer)).await;
    s.clients[0].expect(&[&format!("2 {BUSY}")]).await;
    let (id, publish) = s.link.publish().await;
    assert_eq!(publish.content, "new");
    // The new log counts from 1 again; that is no repetition.
    let entry = pb::Entry { fence, ..s.says("bob", "new") };
    s.link.send_all([reply(id, published(2)), E::Entry(entry)]).await;
    s.clients[1].expect(&["2 {}", "onChat bob > *: new"]).await;
    s.clients[0].expect(&["onChat bob > *: new"]).await;
    s.silence().await;
}

async fn closes_all(volatile: bool, verdict: pb::Verdict) {
    let options = Options { volatile, ..Options::default() };
    let mut s = Scene::start_with(options, &["ann", "bob"]).await;
    let (id, _) = s.relink(volatile).await;
    let answer = pb::Rejoined { verdict: verdict.into(), ..s.rejoined(&[]) };
    s.link.reply(id, R::Rejoined(answer)).await;
    let kick = r#"kick {"reason":"reconnect: messages may have been lost"}"#;
    s.everybody_gets(&[kick, "closed"]).await;
    for id in s.ids.clone() {
        assert_eq!(s.link.leave().await.1.session_id, id);
    }
}

#[tokio::test]
async fn a_new_log_of_a_durable_shard_closes_plain_sessions() {
    closes_all(false, pb::Verdict::Reset).await;
}

#[tokio::test]
async fn messages_that_are_known_to_be_missing_close_plain_sessions() {
    closes_all(false, pb::Verdict::Truncated).await;
    closes_all(true, pb::Verdict::Truncated).await;
}

#[tokio::test]
async fn whose_name_was_taken_meanwhile_is_closed() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    let (id, _) = s.relink(true).await;
    let mut answer = s.rejoined(&[]);
    answer.readmitted.remove(0);
    answer.refused_session_ids.push(s.ids[0]);
    s.link.reply(id, R::Rejoined(answer)).await;
    let kick = r#"kick {"reason":"superseded: the name is held by another session"}"#;
    s.clients[0].expect(&[kick, "closed"]).await;
    let next = s.says("bot", "1");
    s.link.send(E::Entry(next)).await;
    s.clients[1].expect(&["onChat bot > *: 1"]).await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn names_that_are_late_are_neither_announced_nor_missed() {
    let mut s = Scene::start(&["ann"]).await;
    s.link.send(presence("bob", true, 0)).await;
    s.everybody_gets(&["onAdd bob"]).await;
    let (id, _) = s.relink(true).await;
    // Bob's connector has not come yet.
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    let cat = s.connector.client().await;
    let (names, mut cat) = enter_among_ghosts(&mut s, cat).await;
    assert_eq!(names, r#"1 {"users":["ann","cat","bob"]}"#);
    s.everybody_gets(&["onAdd cat"]).await;
    s.link.send(presence("bob", true, 0)).await;
    s.silence().await;
    cat.expect_nothing().await;
    s.link.send(presence("bob", false, 0)).await;
    s.everybody_gets(&["onLeave bob"]).await;
}

async fn enter_among_ghosts(
    s: &mut Scene,
    mut cat: crate::client::Client,
) -> (String, crate::client::Client) {
    cat.enter("cat", "r").await;
    let (id, join) = s.link.join().await;
    s.names.push("cat".into());
    s.link.send_all([s.joined(id), presence("cat", true, join.session_id)]).await;
    (cat.next().await, cat)
}

#[tokio::test]
async fn whoever_leaves_while_the_link_is_down_is_not_brought() {
    let mut s = Scene::start(&["ann", "bob"]).await;
    s.link.cut().await;
    let mut link = s.shard.raw_link().await;
    s.clients.pop().unwrap().close().await;
    s.connector.until("connector_members", 1.0).await;
    link.next().await;
    let welcome = pb::Welcome { shard_id: "chat-0".into(), incarnation: 1, volatile: true };
    link.send(E::Welcome(welcome)).await;
    link.beat();
    let (_, rejoin) = link.rejoin().await;
    assert_eq!(rejoin.members.iter().map(|m| m.session_id).collect::<Vec<_>>(), [s.ids[0]]);
}

#[tokio::test]
async fn who_asks_while_the_link_is_down_waits_for_it() {
    let mut s = Scene::start(&["ann"]).await;
    s.link.cut().await;
    let mut link = s.shard.raw_link().await;
    let mut bob = s.connector.client().await;
    bob.enter("bob", "r").await;
    s.clients[0].say("hi", "*").await;
    link.next().await;
    let welcome = pb::Welcome { shard_id: "chat-0".into(), incarnation: 1, volatile: true };
    link.send(E::Welcome(welcome)).await;
    link.beat();
    s.link = link;
    let (id, rejoin) = s.link.rejoin().await;
    assert_eq!(rejoin.members.len(), 1);
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    // Each in the order of asking; nobody knows which of the two was first.
    let (mut join, mut publish) = (None, None);
    for _ in 0..2 {
        match s.link.next().await {
            (id, pb::command::Command::Join(_)) => join = Some(id),
            (id, pb::command::Command::Publish(_)) => publish = Some(id),
            other => panic!("{other:?}"),
        }
    }
    s.names.push("bob".into());
    let joined = s.joined(join.unwrap());
    s.link.send_all([reply(publish.unwrap(), published(2)), joined]).await;
    s.clients[0].expect(&["2 {}"]).await;
    bob.expect(&[r#"1 {"users":["ann","bob"]}"#]).await;
}

#[tokio::test]
async fn a_session_that_closes_while_it_joins_leaves_no_member_behind() {
    let mut s = Scene::start(&["ann"]).await;
    let mut bob = s.connector.client().await;
    bob.enter("bob", "r").await;
    let (id, join) = s.link.join().await;
    bob.close().await;
    s.connector.until("connector_sessions", 1.0).await;
    s.names.push("bob".into());
    s.link.send_all([s.joined(id), presence("bob", true, join.session_id)]).await;
    let (id, leave) = s.link.leave().await;
    assert_eq!(leave.session_id, join.session_id);
    s.link.send_all([reply(id, R::Gone(pb::Gone {})), presence("bob", false, 0)]).await;
    s.clients[0].expect(&["onAdd bob", "onLeave bob"]).await;

    // Nor is it brought over a new link.
    let mut cat = s.connector.client().await;
    cat.enter("cat", "r").await;
    s.link.join().await;
    cat.close().await;
    s.connector.until("connector_sessions", 1.0).await;
    let (_, rejoin) = s.relink(true).await;
    assert_eq!(rejoin.members.len(), 1);
}

#[tokio::test]
async fn a_refused_rejoin_is_tried_again() {
    for reason in [RefusedReason::Unavailable, RefusedReason::Overloaded, RefusedReason::RoomFull] {
        let mut s = Scene::start(&["ann"]).await;
        let (id, _) = s.relink(true).await;
        s.link.refuse(id, reason).await;
        let (id, _) = s.link.rejoin().await;
        s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
        s.clients[0].say("hi", "*").await;
        s.link.publish().await;
    }
}

#[tokio::test]
async fn a_send_that_came_too_early_waits_for_the_rejoin() {
    let mut s = Scene::start(&["ann"]).await;
    let (id, _) = s.relink(true).await;
    s.clients[0].say("hi", "*").await;
    s.link.expect_nothing().await;
    s.link.reply(id, R::Rejoined(s.rejoined(&[]))).await;
    s.link.publish().await;
}
