//! Sessions that show who they are, and go on where they left off.

use rpc::chat::v1::{self as pb, RefusedReason, Verdict, event::Event as E, reply::Result as R};

use crate::{
    client::{Client, EXTENDED},
    extended::chat,
    scene::{Options, Scene, at, entry, presence},
    shard::reply,
};

const SECRET: &str = "0123456789abcdef";
/// The first half of the SHA-256 of the above.
const IDENTITY: &str = "9f9f5111f7b27a781f1f1ddde5ebc2dd";
/// Left off at entry 3.
const RESUME: &str =
    r#","secret":"0123456789abcdef","resume":{"epoch":"0000000000000007","seq":3}"#;
const PLACE: &str = r#""position":{"epoch":"0000000000000007","seq":"#;

/// One that asks to come in as ann, and the request that this makes.
async fn asks(s: &mut Scene, more: &str) -> (Client, u64, pb::Join) {
    let mut ann = Client::connect_as(s.connector.addr, EXTENDED).await;
    ann.ask(wire::route::ENTER, &format!(r#"{{"username":"ann","rid":"r"{more}}}"#)).await;
    let (id, join) = s.link.join().await;
    s.names.push("ann".into());
    (ann, id, join)
}

/// Lets in who asked last, with a verdict and what was missed.
fn joined(s: &Scene, id: u64, verdict: Verdict, first: u64, entries: &[pb::Entry]) -> E {
    let E::Reply(pb::Reply { result: Some(R::Joined(joined)), .. }) = s.joined(id) else {
        unreachable!()
    };
    let entries = entries.to_vec();
    reply(id, R::Joined(pb::Joined { verdict: verdict.into(), first, entries, ..joined }))
}

fn answer(seq: u64, verdict: &str) -> String {
    format!(
        r#"1 {{"code":200,"users":["bob","ann"],{PLACE}{seq}}},"resume":"{SECRET}","verdict":{verdict}}}"#
    )
}

#[tokio::test]
async fn who_shows_a_secret_is_known_by_it_and_others_get_one() {
    let mut s = Scene::start(&[]).await;
    let (join, line) = s.enter_extended("ann", &format!(r#","secret":"{SECRET}""#)).await;
    assert_eq!((wire::to_hex(&join.identity).as_str(), join.has_secret), (IDENTITY, true));
    assert!(line.ends_with(&format!(r#","resume":"{SECRET}"}}"#)), "{line}");
    let (join, line) = s.enter_extended("bob", "").await;
    let body: serde_json::Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
    let secret = body["resume"].as_str().unwrap();
    assert_eq!((secret.len(), join.has_secret), (32, true));
    let (again, _) = s.enter_extended("cat", &format!(r#","secret":"{secret}""#)).await;
    assert_eq!(again.identity, join.identity);
    // Plain sessions have none.
    let mut dan = s.connector.client().await;
    dan.ask(wire::route::ENTER, &format!(r#"{{"username":"dan","rid":"r"{RESUME}}}"#)).await;
    let (_, join) = s.link.join().await;
    assert_eq!((join.has_secret, join.resume), (false, None));
    assert_ne!(wire::to_hex(&join.identity), IDENTITY);
    // All that is brought to a shard again.
    let (_, rejoin) = s.relink(true).await;
    let brought: Vec<bool> = rejoin.members.iter().map(|member| member.has_secret).collect();
    assert_eq!(brought, [true, true, true, false]);
    assert_eq!(wire::to_hex(&rejoin.members[0].identity), IDENTITY);
}

#[tokio::test]
async fn what_was_missed_comes_after_the_answer_and_before_what_is_new() {
    let mut s = Scene::start(&["bob"]).await;
    let (ann, id, join) = asks(&mut s, RESUME).await;
    let mut ann = ann;
    assert_eq!(join.resume, Some(at(3)));
    s.head = 5;
    let (whisper, loud) = (entry(4, "bob", "ann", "psst"), entry(5, "bob", "*", "hi"));
    // On the link all this comes at once, and some of it before.
    let before: Vec<E> = (2..6).map(|seq| E::Entry(entry(seq, "bot", "*", "x"))).collect();
    let let_in = joined(&s, id, Verdict::Complete, 0, &[whisper, loud]);
    let live = E::Entry(entry(6, "bot", "*", "new"));
    let came = presence("ann", true, join.session_id);
    s.link.send_all(before.into_iter().chain([let_in, came, live])).await;
    let complete = answer(5, r#"{"kind":"complete"}"#);
    let missed = [chat(4, "bob", "ann", "psst"), chat(5, "bob", "*", "hi")];
    ann.expect(&[&complete, &missed[0], &missed[1], &chat(6, "bot", "*", "new")]).await;
    let x = "onChat bot > *: x";
    s.clients[0].expect(&[x, x, x, x, "onAdd ann", "onChat bot > *: new"]).await;
    ann.expect_nothing().await;
    s.silence().await;
    assert_eq!(s.connector.metric(r#"connector_resumes_total{result="complete"}"#), 1.0);
}

#[tokio::test]
async fn a_whisper_that_was_for_nobody_here_is_what_a_session_missed() {
    let mut s = Scene::start(&["bob"]).await;
    let (mut ann, id, _) = asks(&mut s, RESUME).await;
    s.head = 5;
    let whisper = entry(7, "bob", "ann", "psst");
    let E::Reply(pb::Reply { result: Some(R::Joined(let_in)), .. }) =
        joined(&s, id, Verdict::Complete, 0, &[whisper])
    else {
        unreachable!()
    };
    // The link is at 5, the room at 8.
    let before: Vec<E> = (2..6).map(|seq| E::Entry(entry(seq, "bot", "*", "x"))).collect();
    let let_in = reply(id, R::Joined(pb::Joined { head: 8, ..let_in }));
    let nine = E::Entry(pb::Entry { prev: 5, ..entry(9, "bot", "*", "new") });
    s.link.send_all(before.into_iter().chain([let_in, nine])).await;
    let complete = answer(8, r#"{"kind":"complete"}"#);
    ann.expect(&[&complete, &chat(7, "bob", "ann", "psst"), &chat(9, "bot", "*", "new")]).await;
    ann.expect_nothing().await;
}

#[tokio::test]
async fn nothing_comes_twice_whatever_a_shard_repeats() {
    let mut s = Scene::start(&["bob"]).await;
    let (mut ann, id, _) = asks(&mut s, RESUME).await;
    s.head = 5;
    let entries: Vec<pb::Entry> = (2..8).map(|seq| entry(seq, "bot", "*", "x")).collect();
    let on_the_link = |seq| E::Entry(entry(seq, "bot", "*", "x"));
    s.link.send_all((2..6).map(on_the_link)).await;
    s.link.send(joined(&s, id, Verdict::Complete, 0, &entries)).await;
    s.link.send_all((6..9).map(on_the_link)).await;
    let complete = answer(7, r#"{"kind":"complete"}"#);
    let missed: Vec<String> = (4..9).map(|seq| chat(seq, "bot", "*", "x")).collect();
    let all: Vec<&str> = [&complete].into_iter().chain(&missed).map(String::as_str).collect();
    ann.expect(&all).await;
    ann.expect_nothing().await;
}

#[tokio::test]
async fn a_whisper_that_another_link_carried_is_not_lost_and_not_behind_the_answer() {
    let mut s = Scene::start(&["bob"]).await;
    let (mut ann, id, _) = asks(&mut s, RESUME).await;
    // To ann, when she was elsewhere: this link is still at 3.
    s.head = 3;
    s.link.send(joined(&s, id, Verdict::Complete, 0, &[entry(4, "bob", "ann", "psst")])).await;
    let complete = answer(4, r#"{"kind":"complete"}"#);
    ann.expect(&[&complete, &chat(4, "bob", "ann", "psst")]).await;
    // And if she has seen that one already.
    let mut s = Scene::start(&["bob"]).await;
    let (mut ann, id, _) = asks(&mut s, RESUME).await;
    s.link.send(joined(&s, id, Verdict::Complete, 0, &[])).await;
    ann.expect(&[&answer(3, r#"{"kind":"complete"}"#)]).await;
    s.link.send(E::Entry(pb::Entry { prev: 1, ..entry(4, "bob", "*", "hi") })).await;
    ann.expect(&[&chat(4, "bob", "*", "hi")]).await;
}

#[tokio::test]
async fn every_verdict_is_told() {
    let reset = format!(r#"{{"kind":"reset",{PLACE}5}}}}"#);
    for (verdict, first, told, pushed) in [
        (Verdict::Truncated, 5, r#"{"kind":"truncated","first":5}"#, true),
        (Verdict::Reset, 0, &reset, false),
        // Of a shard that does not know the question.
        (Verdict::Unspecified, 0, &reset, false),
    ] {
        let mut s = Scene::start(&["bob"]).await;
        let (mut ann, id, _) = asks(&mut s, RESUME).await;
        s.head = 5;
        s.link.send(joined(&s, id, verdict, first, &[entry(5, "bot", "*", "x")])).await;
        ann.expect(&[&answer(5, told)]).await;
        if pushed {
            ann.expect(&[&chat(5, "bot", "*", "x")]).await;
        }
        ann.expect_nothing().await;
    }
}

#[tokio::test]
async fn whose_name_is_held_by_somebody_else_is_denied() {
    let mut s = Scene::start(&["bob"]).await;
    let (mut ann, id, _) = asks(&mut s, RESUME).await;
    s.link.refuse(id, RefusedReason::NameTaken).await;
    let error = r#""error":"the name is held by somebody else""#;
    ann.expect(&[&format!(r#"1 {{"code":403,{error},"verdict":{{"kind":"denied"}}}}"#)]).await;
    // Who does not want to go on is told what plain clients are.
    ann.enter("ann", "r").await;
    let (id, _) = s.link.join().await;
    s.link.refuse(id, RefusedReason::NameTaken).await;
    ann.expect(&[r#"2 {"code":500,"error":true}"#]).await;
}

#[tokio::test]
async fn more_than_may_wait_for_a_client_is_truncated_to_the_newest() {
    // Half of it may be missed: room for two of the three.
    let args = &["--outbox-max=1400"];
    let mut s = Scene::start_with(Options { args, ..Options::default() }, &["bob"]).await;
    let (mut ann, id, _) = asks(&mut s, RESUME).await;
    s.head = 6;
    let text = "x".repeat(100);
    let entries: Vec<pb::Entry> = (4..7).map(|seq| entry(seq, "bot", "*", &text)).collect();
    s.link.send(joined(&s, id, Verdict::Complete, 0, &entries)).await;
    let truncated = answer(6, r#"{"kind":"truncated","first":5}"#);
    ann.expect(&[&truncated, &chat(5, "bot", "*", &text), &chat(6, "bot", "*", &text)]).await;
    ann.expect_nothing().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_said_without_a_shard() {
    let mut s = Scene::start(&["bob"]).await;
    let mut ann = Client::connect_as(s.connector.addr, EXTENDED).await;
    let (hex, number) = (
        "resume.epoch: must be 16 hex digits",
        "seq: must be a whole number from 0 to 9007199254740991",
    );
    let long = "x".repeat(129);
    for (more, error) in [
        (r#""resume":null"#, hex),
        (r#""resume":7"#, hex),
        (r#""resume":{"seq":1}"#, hex),
        (r#""resume":{"epoch":7,"seq":1}"#, hex),
        (r#""resume":{"epoch":"7","seq":1}"#, hex),
        (r#""resume":{"epoch":"+000000000000007","seq":1}"#, hex),
        (r#""resume":{"epoch":"0000000000000007"}"#, "resume.seq: is missing"),
        (r#""resume":{"epoch":"0000000000000007","seq":-1}"#, number),
        (r#""resume":{"epoch":"0000000000000007","seq":1.5}"#, number),
        (r#""resume":{"epoch":"0000000000000007","seq":"1"}"#, number),
        (r#""resume":{"epoch":"0000000000000007","seq":9007199254740992}"#, number),
        (r#""secret":7"#, "secret: must be text"),
        (r#""secret":"0123456789abcde""#, "secret: must have 16 to 128 bytes, not 15"),
        (&format!(r#""secret":"{long}""#), "secret: must have 16 to 128 bytes, not 129"),
    ] {
        let body = format!(r#"{{"username":"ann","rid":"r",{more}}}"#);
        let asked = ann.ask(wire::route::ENTER, &body).await;
        ann.expect(&[&format!(r#"{asked} {{"code":400,"error":"{error}"}}"#)]).await;
    }
    s.link.expect_nothing().await;
    let body = r#"{"username":"ann","rid":"r","resume":{"epoch":"FFFFffffFFFFffff","seq":9007199254740991}}"#;
    ann.ask(wire::route::ENTER, body).await;
    let (_, join) = s.link.join().await;
    assert_eq!(join.resume, Some(pb::Position { epoch: u64::MAX, seq: (1 << 53) - 1 }));
}

#[tokio::test]
async fn who_comes_while_the_room_is_taken_elsewhere_misses_nothing() {
    let mut s = Scene::start(&["bob"]).await;
    let (mut ann, _, first) = asks(&mut s, RESUME).await;
    let (id, rejoin) = s.relink(true).await;
    assert_eq!(rejoin.members.len(), 2);
    s.head = 4;
    let entries: Vec<pb::Entry> = (2..5).map(|seq| entry(seq, "bot", "*", "x")).collect();
    s.ids.push(first.session_id);
    s.link.reply(id, R::Rejoined(s.rejoined(&entries))).await;
    let (id, again) = s.link.join().await;
    assert_eq!(again, first);
    s.link.send(joined(&s, id, Verdict::Complete, 0, &entries[2..])).await;
    ann.expect(&[&answer(4, r#"{"kind":"complete"}"#), &chat(4, "bot", "*", "x")]).await;
    ann.expect_nothing().await;
}

#[tokio::test]
async fn a_message_that_is_repeated_at_once_is_answered_before_it_is_seen() {
    let mut s = Scene::start(&["bob"]).await;
    let mut ann = Client::connect_as(s.connector.addr, EXTENDED).await;
    ann.feed(wire::route::ENTER, &format!(r#"{{"username":"ann","rid":"r"{RESUME}}}"#)).await;
    ann.ask(wire::route::SEND, r#"{"content":"hi","target":"*","cmid":"cmid-4"}"#).await;
    let (id, join) = s.link.join().await;
    s.names.push("ann".into());
    s.head = 4;
    let mine = pb::Entry { author_identity: join.identity, ..entry(4, "ann", "*", "hi") };
    s.link.send(joined(&s, id, Verdict::Complete, 0, &[mine])).await;
    let stored = r#"2 {"code":200,"epoch":"0000000000000007","seq":4,"at":1,"cmid":"cmid-4"}"#;
    let complete = answer(4, r#"{"kind":"complete"}"#);
    ann.expect(&[&complete, stored, &chat(4, "ann", "*", "hi")]).await;
    ann.expect_nothing().await;
}

/// Bob, and extended cat; entries 2 to 4 were said since.
async fn scene_with_a_past() -> Scene {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("cat", "").await;
    for n in 2..5 {
        let entry = s.says("bot", &format!("m{n}"));
        s.link.send(E::Entry(entry)).await;
    }
    s.clients[0].expect(&["onChat bot > *: m2", "onChat bot > *: m3", "onChat bot > *: m4"]).await;
    s
}

fn resume(seq: u64) -> String {
    format!(r#","secret":"{SECRET}","resume":{{"epoch":"0000000000000007","seq":{seq}}}"#)
}

#[tokio::test]
async fn what_the_connector_has_need_not_be_sent_again() {
    let mut s = scene_with_a_past().await;
    let (mut ann, id, join) = asks(&mut s, &resume(2)).await;
    assert_eq!(join.held_after, Some(1));
    // Said while it was asked.
    let five = s.says("bot", "m5");
    let let_in = joined(&s, id, Verdict::Complete, 0, &[]);
    let six = s.says("bot", "m6");
    s.link.send_all([E::Entry(five), let_in, E::Entry(six)]).await;
    let place = format!(r#"{PLACE}5}},"resume":"{SECRET}","verdict":{{"kind":"complete"}}}}"#);
    ann.expect(&[&format!(r#"1 {{"code":200,"users":["bob","cat","ann"],{place}"#)]).await;
    for seq in 3..7 {
        ann.expect(&[&chat(seq, "bot", "*", &format!("m{seq}"))]).await;
    }
    ann.expect_nothing().await;
}

#[tokio::test]
async fn what_a_shard_sends_all_the_same_comes_once() {
    let mut s = scene_with_a_past().await;
    let (mut ann, id, _) = asks(&mut s, &resume(0)).await;
    let sent = [entry(1, "bot", "*", "m1"), entry(3, "bot", "*", "m3")];
    s.link.send(joined(&s, id, Verdict::Truncated, 3, &sent)).await;
    let line = ann.next().await;
    assert!(line.ends_with(r#""verdict":{"kind":"truncated","first":3}}"#), "{line}");
    // What was taken from the log is not shown, though it is here.
    ann.expect(&[&chat(3, "bot", "*", "m3"), &chat(4, "bot", "*", "m4")]).await;
    ann.expect_nothing().await;
}

#[tokio::test]
async fn what_has_a_gap_or_is_of_another_log_is_left_to_the_shard() {
    let mut s = scene_with_a_past().await;
    let other = resume(2).replace("0000000000000007", "0000000000000008");
    let (_, _, join) = asks(&mut s, &other).await;
    assert_eq!(join.held_after, None);
    s.names.pop();
    // Somebody else's whisper has a number, too: it was for one who is elsewhere.
    s.head += 1;
    let six = pb::Entry { prev: 4, ..s.says("bot", "m6") };
    s.link.send(E::Entry(six)).await;
    s.clients[0].expect(&["onChat bot > *: m6"]).await;
    let (_, _, join) = asks(&mut s, &resume(2)).await;
    assert_eq!(join.held_after, Some(5));
    s.names.pop();
    let whisper = s.whispers("bot", "bob", "psst");
    s.link.send(E::Entry(whisper)).await;
    s.clients[0].expect(&["onChat bot > bob: psst"]).await;
    let (_, _, join) = asks(&mut s, &resume(2)).await;
    assert_eq!(join.held_after, None);
}

#[tokio::test]
async fn a_gap_that_opens_while_it_is_asked_is_asked_about() {
    let mut s = scene_with_a_past().await;
    let (mut ann, id, join) = asks(&mut s, &resume(3)).await;
    assert_eq!(join.held_after, Some(1));
    // A whisper to ann as it was elsewhere: this link was not sent it.
    s.head += 1;
    s.link.send(joined(&s, id, Verdict::Complete, 0, &[])).await;
    let (id, again) = s.link.join().await;
    assert_eq!((again.held_after, again.resume), (None, Some(at(3))));
    ann.expect_nothing().await;
    let missed = [entry(4, "bot", "*", "m4"), entry(5, "bob", "ann", "psst")];
    s.link.send(joined(&s, id, Verdict::Complete, 0, &missed)).await;
    ann.next().await;
    ann.expect(&[&chat(4, "bot", "*", "m4"), &chat(5, "bob", "ann", "psst")]).await;
}

#[tokio::test]
async fn what_was_taken_away_is_not_kept() {
    let mut s = scene_with_a_past().await;
    let gone = pb::Redacted { room: "r".into(), fence: Some(crate::scene::FENCE), seq: 4 };
    s.link.send(E::Redacted(gone)).await;
    let (mut ann, id, join) = asks(&mut s, &resume(3)).await;
    assert_eq!(join.held_after, Some(1));
    s.link.send(joined(&s, id, Verdict::Complete, 0, &[])).await;
    ann.next().await;
    let line = ann.next().await;
    assert!(line.contains(r#""msg":"","#) && line.ends_with(r#""redacted":true}"#), "{line}");
}

#[tokio::test]
async fn rooms_without_extended_sessions_keep_nothing() {
    let mut s = Scene::start(&["bob"]).await;
    let entry = s.says("bot", "m2");
    s.link.send(E::Entry(entry)).await;
    s.clients[0].expect(&["onChat bot > *: m2"]).await;
    let (_, _, join) = asks(&mut s, &resume(1)).await;
    assert_eq!(join.held_after, None);
}

#[tokio::test]
async fn of_two_under_one_name_whom_the_shard_let_in_last_stays() {
    let mut s = Scene::start(&["bob", "ann"]).await;
    // The shard had lost the first one, and did not know whom to close.
    let mut again = s.connector.client().await;
    again.enter("ann", "r").await;
    let (id, _) = s.link.join().await;
    s.link.send(s.joined(id)).await;
    again.expect(&[r#"1 {"users":["bob","ann"]}"#]).await;
    let kick = r#"kick {"reason":"superseded: logged in elsewhere"}"#;
    s.clients[1].expect(&[kick, "closed"]).await;
    let whisper = s.whispers("bob", "ann", "psst");
    s.link.send(E::Entry(whisper)).await;
    again.expect(&["onChat bob > ann: psst"]).await;
    s.clients[0].expect_nothing().await;
    s.link.expect_nothing().await;
}

#[tokio::test]
async fn whoever_proves_to_be_the_same_takes_the_place_of_the_one_before() {
    let mut s = Scene::start(&["bob"]).await;
    s.enter_extended("ann", &format!(r#","secret":"{SECRET}""#)).await;
    let (mut again, id, _) = asks(&mut s, &resume(2)).await;
    s.names.pop();
    let before = s.says("bob", "before");
    let close = E::CloseSession(pb::CloseSession {
        room: "r".into(),
        session_id: s.ids[1],
        reason: "superseded: logged in elsewhere".into(),
    });
    s.link.send_all([E::Entry(before), close, joined(&s, id, Verdict::Complete, 0, &[])]).await;
    let after = s.says("bob", "after");
    s.link.send(E::Entry(after)).await;
    let kick = r#"kick {"reason":"superseded: logged in elsewhere"}"#;
    s.clients[1].expect(&[&chat(2, "bob", "*", "before"), kick, "closed"]).await;
    let complete = answer(2, r#"{"kind":"complete"}"#);
    again.expect(&[&complete, &chat(3, "bob", "*", "after")]).await;
    s.clients[0].expect(&["onChat bob > *: before", "onChat bob > *: after"]).await;
    let closes = s.connector.metric(r#"connector_closes_total{reason="superseded"}"#);
    assert_eq!(closes, 1.0);
    // The shard knows that the first one has gone.
    s.link.expect_nothing().await;
    let whisper = s.whispers("bob", "ann", "psst");
    s.link.send(E::Entry(whisper)).await;
    again.expect(&[&chat(4, "bob", "ann", "psst")]).await;
}
