//! The AuthZEN paths: what is asked, by whom, and what is answered.

use super::*;
use crate::core::authority::{GroupMember, UserGroupChange};
use crate::identity::fixture::run;

async fn asked(auth: &str, path: &str, body: Value) -> (u16, Value) {
    let (status, _, body) = key(auth, "POST", &format!("/access/v1/{path}"), body).await;
    (status, body)
}

fn question(user: &str, action: &str, channel: &str) -> Value {
    json!({
        "subject": { "type": "user", "id": user, "properties": { "department": 5 } },
        "action": { "name": action, "properties": { "method": "GET" } },
        "resource": { "type": "channel", "id": channel, "properties": { "key": [] } },
        "context": { "time": "1985-10-26T01:22-07:00" },
    })
}

#[actix_web::test]
async fn a_decision_says_by_which_rule() {
    let (status, told) = asked(OWNER, "evaluation", question("ana", "subscribe", "a")).await;
    assert_eq!((status, &told["decision"]), (200, &json!(true)), "{told}");
    assert_eq!(told["context"]["rule"]["kind"], "grant");
    assert_eq!(told["context"]["revision"], 42);
    let (status, told) = asked(OWNER, "evaluation", question("ana", "publish", "a")).await;
    assert_eq!((status, &told["decision"]), (200, &json!(false)));
    assert_eq!(told["context"]["reason"]["code"], "not_granted");
    // A single question may be put to the other path.
    let (_, told) = asked(OWNER, "evaluations", question("ana", "subscribe", "a")).await;
    assert_eq!(told["decision"], true);
}

#[actix_web::test]
async fn every_kind_of_subject_can_be_asked_about() {
    let ask = async |subject: Value, action: &str, channel: &str| {
        let mut question = question("x", action, channel);
        question["subject"] = subject;
        asked(OWNER, "evaluation", question).await.1
    };
    let yes = |told: &Value| told["decision"] == json!(true);
    assert!(yes(&ask(
        json!({"type": "token", "id": "bearer"}),
        "subscribe",
        "t"
    )
    .await));
    assert!(yes(&ask(
        json!({"type": "key", "id": "chat"}),
        "publish",
        "chat-1"
    )
    .await));
    assert!(!yes(&ask(
        json!({"type": "key", "id": "off"}),
        "publish",
        "chat-1"
    )
    .await));
    assert!(yes(
        &ask(json!({"type": "everyone"}), "subscribe", "hall").await
    ));
    let under = json!({"type": "user", "id": "ana", "properties": {"key": "chat"}});
    let told = ask(under, "subscribe", "a").await;
    assert_eq!(told["context"]["reason"]["code"], "beyond_key");
    // What a client showed may be anything at all: it opens nothing, and the question was a good one.
    for (kind, id, code) in [
        ("token", "signed:9:x", "bad_value"),
        ("token", "{\"token\":1}", "bad_value"),
        ("key", "other", "no_such_key"),
    ] {
        let told = ask(json!({"type": kind, "id": id}), "subscribe", "hall").await;
        assert_eq!(told["decision"], false, "{kind} {id}");
        assert_eq!(told["context"]["error"]["code"], code, "{kind} {id}");
    }
}

#[actix_web::test]
async fn several_questions_share_what_they_do_not_say_and_stop_where_asked() {
    let common = question("ana", "subscribe", "a");
    let several = |semantic: &str| {
        let mut body = common.clone();
        body["evaluations"] = json!([
            {},
            { "action": { "name": "publish" } },
            { "resource": { "type": "channel", "id": "hall" } },
            { "resource": { "type": "document", "id": "1" } },
        ]);
        body["options"] = json!({ "evaluations_semantic": semantic, "another": 1 });
        body
    };
    let decisions = |told: &Value| {
        let all = told["evaluations"].as_array().unwrap();
        all.iter()
            .map(|one| one["decision"] == json!(true))
            .collect::<Vec<_>>()
    };
    let (status, told) = asked(OWNER, "evaluations", several("execute_all")).await;
    assert_eq!(status, 200);
    assert_eq!(decisions(&told), [true, false, true, false]);
    assert_eq!(told["evaluations"][3]["context"]["error"]["status"], 400);
    let (_, told) = asked(OWNER, "evaluations", several("deny_on_first_deny")).await;
    assert_eq!(decisions(&told), [true, false]);
    let (_, told) = asked(OWNER, "evaluations", several("permit_on_first_permit")).await;
    assert_eq!(decisions(&told), [true]);
    assert_eq!(asked(OWNER, "evaluations", several("guess")).await.0, 400);
    let mut many = common.clone();
    many["evaluations"] = vec![json!({}); 101].into();
    let (status, told) = asked(OWNER, "evaluations", many).await;
    assert_eq!((status, &told["error"]["code"]), (413, &json!("too_large")));
}

#[actix_web::test]
async fn a_question_that_is_none_is_refused() {
    let without = |field: &str| {
        let mut question = question("ana", "subscribe", "a");
        question.as_object_mut().unwrap().remove(field);
        question
    };
    for field in ["subject", "action", "resource"] {
        let (status, told) = asked(OWNER, "evaluation", without(field)).await;
        assert_eq!(status, 400, "{told}");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("`{field}` is missing")),
            "{message}"
        );
    }
    assert_eq!(asked(OWNER, "evaluation", without("context")).await.0, 200);
    let (status, told) = asked(OWNER, "evaluation", question("ana", "read", "a")).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (400, &json!("unknown_operation"))
    );
    let mut robot = question("ana", "subscribe", "a");
    robot["subject"]["type"] = "robot".into();
    assert_eq!(asked(OWNER, "evaluation", robot).await.0, 400);
}

#[actix_web::test]
async fn only_who_may_inspect_the_app_is_answered() {
    let one = || question("ana", "subscribe", "a");
    assert_eq!(asked(CHAT, "evaluation", one()).await.0, 403);
    assert_eq!(asked("", "evaluation", one()).await.0, 401);
    assert_eq!(asked(OWNER, "evaluation?app=8", one()).await.0, 403);
    assert_eq!(asked(OWNER, "evaluation?app=7", one()).await.0, 200);
    assert_eq!(asked(OWNER, "evaluation?a=7", one()).await.0, 400);
    let uri = "/access/v1/evaluation";
    assert_eq!(operator("POST", uri, one()).await.0, 400);
    let (status, _, told) = operator("POST", &format!("{uri}?app=7"), one()).await;
    assert_eq!((status, &told["decision"]), (200, &json!(true)));
}

#[actix_web::test]
async fn nobody_decides_on_a_view_that_cannot_be_confirmed() {
    let ask = async |seen: u64| {
        let mut body = question("ana", "subscribe", "a");
        body["context"]["at_least"] = seen.into();
        asked(OWNER, "evaluation", body).await.0
    };
    assert_eq!(ask(42).await, 200);
    assert_eq!(ask(43).await, 503);
    // An operator is let in whether or not the node serves: a yes that a revoke may have undone is none.
    let authority = Arc::new(Authority::fixed(state(), 1000));
    let ask = async || {
        let request = TestRequest::post().uri("/access/v1/evaluation?app=7");
        let request = request.set_json(question("ana", "subscribe", "a"));
        let request = request.insert_header(("Authorization", OPERATOR));
        let token = "operators-only".into();
        let auth_mode = AuthMode::Operators { token };
        ask_of(authority.clone(), auth_mode, request).await
    };
    assert_eq!(ask().await.0, 200);
    authority.set_serving(false);
    let (status, _, told) = ask().await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (503, &json!("unavailable"))
    );
}

#[actix_web::test]
async fn a_no_about_a_user_costs_one_round_however_many_keys_might_vouch_for_her() {
    let authority = Arc::new(Authority::fixed(state(), 1000));
    let request = TestRequest::post().uri("/access/v1/evaluation");
    let request = request.set_json(question("ana", "publish", "a"));
    let request = request.insert_header(("Authorization", OWNER));
    let (status, _, told) = ask_of(authority.clone(), AuthMode::Keys, request).await;
    assert_eq!((status, &told["decision"]), (200, &json!(false)));
    assert_eq!(authority.rounds(), 1);
}

#[actix_web::test]
async fn everybody_else_has_a_turn_before_each_key_that_might_vouch() {
    let authority = Arc::new(Authority::fixed(state(), 1000));
    let keys = authority
        .view()
        .keys_of(AppId(7))
        .filter(|key| key.enabled)
        .count();
    assert!(keys > 4);
    let turns = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = turns.clone();
    let others = actix_web::rt::spawn(async move {
        loop {
            counted.set(counted.get() + 1);
            tokio::task::yield_now().await;
        }
    });
    let no = question("ana", "publish", "a");
    let explained = json!({"user": "ana", "channel": "a", "operations": ["publish"]});
    let mut several = no.clone();
    several["evaluations"] = json!([{}, {}, {}]);
    for (path, body, times) in [
        ("/access/v1/evaluation", no, 2),
        ("/access/v1/evaluations", several, 2),
        ("/v1/apps/7/explain", explained, 1),
    ] {
        let before = turns.get();
        let request = TestRequest::post().uri(path).set_json(body);
        let request = request.insert_header(("Authorization", OWNER));
        let (status, _, told) = ask_of(authority.clone(), AuthMode::Keys, request).await;
        assert_eq!(status, 200, "{told}");
        let had = turns.get() - before;
        assert!(
            had >= times * keys,
            "{path}: {had} turns beside {keys} keys"
        );
    }
    others.abort();
}

#[actix_web::test]
async fn what_is_null_is_left_out() {
    let mut body = question("ana", "subscribe", "a");
    body["context"] = Value::Null;
    body["subject"]["properties"] = Value::Null;
    body["evaluations"] = Value::Null;
    body["options"] = Value::Null;
    let (status, told) = asked(OWNER, "evaluations", body).await;
    assert_eq!((status, &told["decision"]), (200, &json!(true)), "{told}");
}

#[actix_web::test]
async fn the_way_to_the_group_that_decided_is_told() {
    let mut state = state();
    let add = UserGroupChange {
        app: AppId(7),
        issuer: Issuer::Operator,
        group: "staff".into(),
        add: vec![GroupMember::User("zoe".into())],
        remove: Vec::new(),
    };
    let grant = Command::SetGrants {
        app: AppId(7),
        issuer: Issuer::Operator,
        subject: Subject::Group("staff".into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact("desk".into()),
            operations: Operations::SUBSCRIBE,
            ttl_ms: None,
        }],
    };
    for command in [Command::SetUserGroup(add), grant] {
        run(&mut state, &command);
    }
    let authority = Arc::new(Authority::fixed(state, 1000));
    let request = TestRequest::post().uri("/access/v1/evaluation");
    let request = request.set_json(question("zoe", "subscribe", "desk"));
    let request = request.insert_header(("Authorization", OWNER));
    let (_, _, told) = ask_of(authority, AuthMode::Keys, request).await;
    assert_eq!(told["decision"], true, "{told}");
    let path = json!([{"user": "zoe"}, {"group": "staff"}]);
    assert_eq!(told["context"]["path"], path);
}

#[actix_web::test]
async fn one_request_comes_to_so_many_decisions_and_no_more() {
    let mut state = state();
    for at in 0..200 {
        let key = KeySpec {
            id: format!("more-{at}").into(),
            app: AppId(7),
            name: "".into(),
            secret: Secret("0123456789abcdef".into()),
            capability: Capability::default(),
            revocable_tokens: true,
        };
        run(&mut state, &Command::CreateKey(key));
    }
    let authority = Arc::new(Authority::fixed(state, 1000));
    let ask = async |questions: usize, under: Option<&str>| {
        let mut body = question("ana", "subscribe", "a");
        body["subject"]["properties"]["key"] = under.into();
        body["evaluations"] = vec![json!({}); questions].into();
        let request = TestRequest::post().uri("/access/v1/evaluations");
        let request = request
            .set_json(body)
            .insert_header(("Authorization", OWNER));
        let (status, _, told) = ask_of(authority.clone(), AuthMode::Keys, request).await;
        (status, told)
    };
    assert_eq!(ask(40, None).await.0, 200);
    let (status, told) = ask(60, None).await;
    assert_eq!((status, &told["error"]["code"]), (413, &json!("too_large")));
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("`subject.properties.key`"), "{message}");
    assert_eq!(ask(60, Some("owner")).await.0, 200);
}
