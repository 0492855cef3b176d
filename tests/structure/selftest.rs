//! The checker checked: each law catches a small source that breaks it, and none cries over a good one.

use crate::source::parse_all;
use crate::{Finding, examine};

const HEAD: &str = "//! A file.\n//!\n//! **Must never know:** the rest.\n";

/// What the checker says of one file with this code under a proper head.
fn said(path: &str, code: &str) -> Vec<Finding> {
    examine(&parse_all(vec![(path.into(), format!("{HEAD}{code}"))]))
}

#[track_caller]
fn caught(path: &str, code: &str, line: usize, words: &str) {
    let findings = said(path, code);
    let wanted = HEAD.lines().count() + line;
    assert!(
        findings
            .iter()
            .any(|finding| finding.line == wanted && finding.what.contains(words)),
        "nothing about {words:?} at line {wanted}: {findings:?}"
    );
}

#[track_caller]
fn clean(path: &str, code: &str) {
    let findings = said(path, code);
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn nothing_runs_beside_a_simulation() {
    for call in [
        "tokio::task::spawn_blocking(f)",
        "tokio::spawn(f)",
        "std::thread::spawn(f)",
        "std::time::Instant::now()",
    ] {
        let code = format!("fn f() {{ {call}; }}\n");
        caught("cluster/src/raft/a.rs", &code, 1, "task.rs");
        clean("cluster/src/store/a.rs", &code);
    }
}

#[test]
fn imports_are_seen_however_they_are_written() {
    caught(
        "src/core/session.rs",
        "use crate::adapters::pusher;\n",
        1,
        "gatecast::adapters",
    );
    caught(
        "src/core/session.rs",
        "use crate::{core::ids, transport::ws};\n",
        1,
        "gatecast::transport",
    );
    caught(
        "src/core/session.rs",
        "\nfn f() { crate::peers::go(); }\n",
        2,
        "gatecast::peers",
    );
    caught(
        "src/core/session/c.rs",
        "use super::super::super::adapters::X;\n",
        1,
        "gatecast::adapters",
    );
    caught(
        "src/core/session.rs",
        "use crate as all;\nfn f() -> all::transport::W { all::make() }\n",
        2,
        "transport",
    );
    caught(
        "src/core/session.rs",
        "fn f() { ::serde_json::to_string(&1); }\n",
        1,
        "serde_json",
    );
    caught(
        "src/core/session.rs",
        "extern crate actix_web;\n",
        1,
        "actix_web",
    );
    caught(
        "src/core/session.rs",
        "mod b {\n  use super::super::super::peers::X;\n}\n",
        2,
        "gatecast::peers",
    );
    caught(
        "src/core/session.rs",
        "fn f() { let x = gatecast_cluster::access::State::new(); }\n",
        1,
        "may ask the cluster",
    );
}

/// What the checker says of these files of core, each under a proper head.
fn said_of(files: &[(&str, &str)]) -> Vec<Finding> {
    let texts = files.iter();
    let texts = texts.map(|(path, code)| (format!("src/core/{path}.rs"), format!("{HEAD}{code}")));
    examine(&parse_all(texts.collect()))
}

#[test]
fn imports_inside_core_go_down_only_and_in_no_circle() {
    let up = said_of(&[
        ("delivery/a", "\nuse crate::core::channel::b::X;\n"),
        ("channel/b", ""),
    ]);
    assert_eq!(up.len(), 1, "{up:?}");
    assert_eq!(
        (up[0].line, up[0].path.as_str()),
        (5, "src/core/delivery/a.rs")
    );
    assert!(up[0].what.contains("higher floor"), "{up:?}");
    let replica = [
        ("channel/replica/a", "use super::super::b::X;\n"),
        ("channel/b", ""),
    ];
    assert_eq!(said_of(&replica).len(), 1, "a replica is below its shell");
    let down = [
        (
            "channel/a",
            "use crate::core::delivery::b::X;\nuse super::c::Y;\n",
        ),
        ("channel/c", "use crate::core::channel::replica::Z;\n"),
        ("channel/replica/mod", ""),
        ("delivery/b", ""),
    ];
    assert_eq!(said_of(&down), []);
    let circle = said_of(&[
        ("channel/a", "use super::b::X;\n"),
        ("channel/b", "fn f() { super::c::go(); }\n"),
        ("channel/c", "use super::a;\nuse super::d;\n"),
        ("channel/d", ""),
    ]);
    assert_eq!(circle.len(), 1, "{circle:?}");
    let names = "channel/a.rs, src/core/channel/b.rs, src/core/channel/c.rs";
    assert!(circle[0].what.ends_with(names), "{circle:?}");
    let homeless = said_of(&[("attic", "")]);
    assert!(homeless[0].what.contains("no floor"), "{homeless:?}");
}

#[test]
fn a_field_that_only_tests_have_hides_nothing_behind_it() {
    caught(
        "src/core/ids.rs",
        "struct S {\n    #[cfg(test)]\n    a: Vec<(u8, u8)>,\n}\nfn f() { crate::peers::go(); }\n",
        5,
        "gatecast::peers",
    );
}

#[test]
fn nobody_says_that_a_key_was_shown_without_looking_at_it() {
    for claim in [
        "Proof { key }",
        "Principal::proven(app, proof)",
        "Voucher::Held(key)",
        "Issuer::Key(key)",
    ] {
        let code = format!("fn f() {{ x({claim}); }}\n");
        caught("src/adapters/pusher/a.rs", &code, 1, "Holder");
        clean("src/core/authority/a.rs", &code);
    }
    clean(
        "src/adapters/pusher/a.rs",
        "fn f() -> Proof {\n    g()\n}\n",
    );
}

#[test]
fn no_credential_is_a_cookie() {
    for code in [
        "fn f() { headers.get(header::COOKIE); }\n",
        "fn f() { request.cookie(name); }\n",
        "const NAME: &str = \"Cookie\";\n",
    ] {
        caught("src/adapters/ably/a.rs", code, 1, "cookie");
        clean("src/console/a.rs", code);
    }
    clean("src/transport/a.rs", "// Never a cookie.\nfn f() {}\n");
}

#[test]
fn nobody_reads_what_rust_prints_for_programmers() {
    for code in [
        "fn f() { format!(\"not {:?}\", why); }\n",
        "fn f() { format!(\"not {why:?}\"); }\n",
        "fn f() { format!(\"not {0:#?}\", why); }\n",
        "#[error(\"it cannot be used: {0:?}\")]\nstruct E(R);\n",
    ] {
        caught("src/core/authority/a.rs", code, 1, "Display");
        caught("src/adapters/ably/a.rs", code, 1, "Display");
    }
    for code in [
        "fn f() { write!(f, \"Hold({:?})\", self.id) }\n",
        "// `{:?}`\nfn f() { tracing::warn!(?error, \"no\"); }\n",
    ] {
        clean("src/core/authority/a.rs", code);
    }
}

#[test]
fn every_edge_of_the_law_is_held() {
    caught(
        "src/core/channel/actor.rs",
        "use gatecast_cluster::access::State;\n",
        1,
        "may ask the cluster",
    );
    caught(
        "src/core/connection/state.rs",
        "use actix::prelude::*;\n",
        1,
        "pure",
    );
    caught(
        "src/transport/ws.rs",
        "use crate::adapters::pusher::Frame;\n",
        1,
        "adapters",
    );
    caught(
        "src/adapters/pusher/a.rs",
        "use gatecast_cluster::Cluster;\n",
        1,
        "gatecast_cluster",
    );
    for code in [
        "use crate::adapters::{dialect::Dialect, pusher};\n",
        "fn f() { crate::adapters::realtime::start(); }\n",
    ] {
        for path in ["src/server/plane.rs", "src/cli/request.rs"] {
            caught(path, code, 1, "dialect `");
        }
        clean("src/adapters/mod.rs", code);
    }
    clean(
        "src/server/plane.rs",
        "use crate::adapters::{ALL, dialect::Dialect, native};\n",
    );
    clean(
        "src/adapters/ably/a.rs",
        "use crate::adapters::dialect::Dialect;\n",
    );
    caught(
        "src/adapters/pusher/a.rs",
        "use crate::adapters::ably::X;\n",
        1,
        "adapter `ably`",
    );
    caught(
        "src/adapters/pusher/a.rs",
        "use super::super::ably::X;\n",
        1,
        "adapter `ably`",
    );
    caught(
        "src/adapters/pusher/a.rs",
        "use crate::core::channel::replica::S;\n",
        1,
        "channel::replica",
    );
    caught(
        "src/peers/link.rs",
        "use crate::adapters::pusher::X;\n",
        1,
        "adapters",
    );
    caught(
        "cluster/src/access/apply.rs",
        "use std::collections::HashMap;\n",
        1,
        "HashMap",
    );
    caught(
        "cluster/src/access/apply.rs",
        "use std::{collections::BTreeMap, time::Instant};\n",
        1,
        "std::time",
    );
    caught(
        "cluster/src/access/apply.rs",
        "fn f() { tracing::info!(1); }\n",
        1,
        "tracing",
    );
    caught(
        "cluster/src/raft/node.rs",
        "use actix::Actor;\n",
        1,
        "actix",
    );
    caught("cluster/src/raft/node.rs", "use sled::Db;\n", 1, "swapped");
    caught(
        "src/core/session.rs",
        "fn f() { bincode::serialize(&1); }\n",
        1,
        "swapped",
    );
    caught(
        "src/adapters/pusher/ws.rs",
        "use actix_web_actors::ws;\n",
        1,
        "swapped",
    );
    assert!(
        said("src/gadgets/a.rs", "")
            .iter()
            .any(|found| found.what.contains("no room"))
    );
}

#[test]
fn good_sources_pass() {
    clean(
        "src/core/authority/facade.rs",
        "pub use gatecast_cluster::access::State;\n",
    );
    clean(
        "src/core/session.rs",
        "use super::ids::Text;\nuse core::fmt::Debug;\nuse std::sync::Arc;\n",
    );
    clean(
        "src/adapters/pusher/rest.rs",
        "use super::codes::X;\nuse crate::core::broker::Broker;\n",
    );
    clean("cluster/src/store/log.rs", "use sled::Db;\n");
    clean(
        "src/server.rs",
        "use crate::adapters::{ALL, native};\nuse gatecast_cluster::Cluster;\n",
    );
}

#[test]
fn comments_literals_and_tests_do_not_count() {
    clean(
        "src/core/session.rs",
        "// crate::adapters::x\n/* /* sled::Db */ actix_web::x */\n",
    );
    clean(
        "src/core/session.rs",
        "const A: &str = \"serde_json::x .unwrap() {\";\nconst B: &str = r#\"a\" .unwrap() \"#;\n",
    );
    clean(
        "src/core/session.rs",
        "const C: char = '{';\nconst D: u8 = b'\\'';\nfn f<'a>(x: &'a str) -> &'a str { x }\n",
    );
    clean(
        "src/core/session.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::adapters::x;\n    fn f() { a.unwrap() }\n}\n",
    );
    let files = vec![
        (
            "src/core/session.rs".to_owned(),
            format!("{HEAD}#[cfg(test)]\n#[allow(x, y)]\nmod tests;\n"),
        ),
        (
            "src/core/session/tests.rs".to_owned(),
            "fn f() { a.unwrap() }\n".to_owned(),
        ),
    ];
    assert_eq!(examine(&parse_all(files)), Vec::new());
    let declared = "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n";
    let files = vec![
        (
            "src/core/session.rs".to_owned(),
            format!("{HEAD}{declared}"),
        ),
        (
            "src/core/a_tests.rs".to_owned(),
            "fn f() { a.unwrap() }\n".to_owned(),
        ),
    ];
    assert_eq!(examine(&parse_all(files)), Vec::new());
    caught(
        "src/core/session.rs",
        "#[cfg(test)]\nmod tests {}\nfn f() { a.unwrap() }\n",
        3,
        ".unwrap()",
    );
}

#[test]
fn form_is_held() {
    caught(
        "src/core/session.rs",
        "fn f() {\n    x.expect(\"\");\n}\n",
        2,
        ".expect(",
    );
    caught(
        "src/core/session.rs",
        "fn f() { panic!(\"no\") }\n",
        1,
        "panic!(",
    );
    let long = format!(
        "fn short() {{}}\nfn long(\n    a: [u8; 4],\n) {{\n{}}}\n",
        "    x();\n".repeat(67)
    );
    caught("src/core/session.rs", &long, 2, "`long` has 71 lines");
    let fits = format!("fn fits() {{\n{}}}\n", "    x();\n".repeat(68));
    clean("src/core/session.rs", &fits);
    let lines = "static X: u8 = 1;\n".repeat(498);
    assert!(
        said("src/core/session.rs", &lines)
            .iter()
            .any(|found| found.what.contains("501 lines"))
    );
    assert!(
        said("src/core/utils.rs", "")
            .iter()
            .any(|found| found.what.contains("says nothing"))
    );
    let bare = |text: &str| {
        examine(&parse_all(vec![(
            "src/core/session.rs".into(),
            text.into(),
        )]))
    };
    assert!(
        bare("fn f() {}\n")
            .iter()
            .any(|found| found.what.contains("does not open"))
    );
    assert!(
        bare("//! Frames.\nfn f() {}\n")
            .iter()
            .any(|found| found.what.contains("say in a sentence"))
    );
    assert!(bare("//! What a session may do.\nfn f() {}\n").is_empty());
    let room = examine(&parse_all(vec![(
        "src/core/delivery/mod.rs".into(),
        "//! What is delivered to whom.\nfn f() {}\n".into(),
    )]));
    assert!(
        room.iter()
            .any(|found| found.what.contains("must never know"))
    );
    let short = "struct S {\n    /// Which.\n    a: u8,\n}\n";
    caught("src/core/session.rs", short, 2, "a doc of 1 words");
    let sentence = "struct S {\n    /// The channel\n    /// it is about.\n    a: u8,\n}\n";
    clean("src/core/session.rs", sentence);
    clean("src/cli/arguments.rs", "/// App id\nstruct S;\n");
    let grown = "static X: u8 = 1;\n".repeat(160);
    assert!(
        said("src/core/session.rs", &grown)
            .iter()
            .any(|found| found.what.contains("median"))
    );
}

#[test]
fn who_says_pure_is_held_to_it() {
    let pure = |path: &str| {
        examine(&parse_all(vec![(
            path.into(),
            "//! A state of two parts. Pure.\n".into(),
        )]))
    };
    let found = pure("src/core/delivery/relays.rs");
    assert!(
        found
            .iter()
            .any(|found| found.what.contains("says that it is pure"))
    );
    assert!(pure("src/core/delivery/timers.rs").is_empty());
    caught(
        "src/adapters/pubnub/rates.rs",
        "use std::time::Instant;\n",
        1,
        "states are pure",
    );
    caught(
        "src/core/suggest.rs",
        "use tokio::time::sleep;\n",
        1,
        "states are pure",
    );
    clean("cluster/src/raft/proofs.rs", "use tokio::time::Instant;\n");
}

#[test]
fn a_law_about_nothing_is_noticed() {
    let sources = parse_all(vec![("src/core/ids.rs".into(), HEAD.into())]);
    assert!(crate::is_there(&sources, "src/core/id"));
    assert!(!crate::is_there(&sources, "src/core/connection/gone"));
}

#[test]
fn test_doubles_stay_out_of_a_release() {
    let path = "src/core/authority/facade.rs";
    caught(
        path,
        "fn f() { fixture::state(); }\n",
        1,
        "outside of `cfg(test)`",
    );
    let arms = "match s {\n    A => 1,\n    Source::Fixed(_) => 2,\n}";
    caught(
        path,
        &format!("fn f() -> u8 {{ {arms} }}\n"),
        3,
        "outside of `cfg(test)`",
    );
    let arms = "match s {\n    A => 1,\n    #[cfg(test)]\n    Source::Fixed(_) => 2,\n}";
    clean(path, &format!("fn f() -> u8 {{ {arms} }}\n"));
    clean(path, "#[cfg(test)]\nmod fixture;\n");
}
