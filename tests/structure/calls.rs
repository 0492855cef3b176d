//! Every path that the sources register, and every frame that they read, has a row in `docs/calls.md`, which says what
//! right it needs, and no row is left of what is gone.

use super::{Path, walk};
use std::collections::BTreeSet;

/// Not carried out, whatever the credential: they answer that there is no such thing here.
const REFUSED: [&str; 4] = [
    "/channels/{channel}/messages/{tail:.*}",
    "/channels/{channel}/object{tail:.*}",
    "/push/{tail:.*}",
    "/comet/{tail:.*}",
];
const FOLDERS: [&str; 2] = ["src/adapters", "src/console"];

/// The paths that one source registers over HTTP.
fn registered(name: &str, text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = BTreeSet::new();
    if !code.contains("fn routes(") {
        return found;
    }
    // How paths begin says whose an unknown one is; it is no call.
    let mut pieces = code.split("BEGINNINGS: ");
    let mut code = pieces.next().unwrap().to_owned();
    for piece in pieces {
        code.push_str(piece.split_once("];").map_or("", |(_, rest)| rest));
    }
    for (at, _) in code.match_indices("\"/") {
        let literal = code[at + 1..].split('"').next().unwrap();
        // The places of sockets are made of pieces, and their calls are frames.
        if literal.contains("broadcast")
            || literal.starts_with("/pusher/app")
            || literal == "/v1"
            || literal == "/"
        {
            continue;
        }
        found.insert(match name.contains("adapters/native/") {
            true if !["/access/", "/oauth/", "/.well-known/"]
                .iter()
                .any(|one| literal.starts_with(one)) =>
            {
                format!("/v1{literal}")
            }
            _other => literal.to_owned(),
        });
    }
    found
}

#[test]
fn every_call_names_the_right_that_it_needs() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&root);
    let mut paths = Vec::new();
    for folder in FOLDERS {
        walk(&root.join(folder), &mut paths);
    }
    let mut calls = BTreeSet::new();
    for path in &paths {
        let name = path.to_str().unwrap().replace('\\', "/");
        calls.extend(registered(&name, &std::fs::read_to_string(path).unwrap()));
    }
    for refused in REFUSED {
        assert!(calls.remove(refused), "{refused} is registered no more");
    }
    assert!(
        calls.len() > 50,
        "only {} paths: looking in the wrong place?",
        calls.len()
    );
    let table = std::fs::read_to_string(root.join("docs/calls.md")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `/"));
    let rows: BTreeSet<String> = rows
        .map(|row| format!("/{}", row.split('`').next().unwrap()))
        .collect();
    let missing: Vec<_> = calls.difference(&rows).collect();
    assert!(
        missing.is_empty(),
        "without a row in docs/calls.md: {missing:?}"
    );
    let stale: Vec<_> = rows.difference(&calls).collect();
    assert!(
        stale.is_empty(),
        "rows of docs/calls.md without a path: {stale:?}"
    );
}

/// Where a dialect reads its frames: section of the page, source, where the reading begins and ends, and what stands
/// before a frame's name.
const FRAMES: [(&str, &str, [&str; 2], &str); 4] = [
    (
        "Pusher",
        "src/adapters/pusher/frame/client.rs",
        ["match &*event {", "_ => Ok(Command::Unsupported"],
        "        \"",
    ),
    (
        "Pusher",
        "src/adapters/pusher/frame/client.rs",
        ["match &*event {", "_ => Ok(Command::Unsupported"],
        "event.starts_with(\"",
    ),
    (
        "Ably",
        "src/adapters/ably/session/mod.rs",
        ["match message.action {", "_unknown => {}"],
        "action::",
    ),
    (
        "Realtime.co",
        "src/adapters/realtime/command.rs",
        ["match fields.text()? {", "_ => Err(Malformed"],
        "        \"",
    ),
];

/// The names of the frames that a source reads.
fn read([begin, end]: [&str; 2], before: &str, code: &str) -> BTreeSet<String> {
    let (_, rest) = code.split_once(begin).expect("where frames are read");
    let (rest, _) = rest.split_once(end).expect("where reading ends");
    let pieces = rest.split(before).skip(1);
    pieces
        .filter_map(|piece| piece.split(['"', ' ', ')']).next())
        .map(str::to_owned)
        .collect()
}

/// The frames that a section of the page has rows for.
fn rows_of_frames(section: &str, page: &str) -> BTreeSet<String> {
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).unwrap();
    let rest = rest.split("\n## ").next().unwrap();
    let (_, rest) = rest.split_once("\n| frame |").expect("a table of frames");
    rest.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_frame_names_the_right_that_it_needs() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&root);
    let page = std::fs::read_to_string(root.join("docs/calls.md")).unwrap();
    for section in ["Pusher", "Ably", "Realtime.co"] {
        // What opens a connection is no frame, and a beat is read before the others are.
        let mut frames = BTreeSet::from(["connect".to_owned()]);
        if section == "Realtime.co" {
            frames.insert("b".to_owned());
        }
        for (of, source, part, before) in FRAMES {
            if of == section {
                let code = std::fs::read_to_string(root.join(source)).unwrap();
                frames.extend(read(part, before, &code));
            }
        }
        assert!(frames.len() > 6, "{section}: only {frames:?}");
        assert_eq!(frames, rows_of_frames(section, &page), "{section}");
    }
}
