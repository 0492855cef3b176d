//! Golden bytes: what is stored in logs and snapshots must stay readable.
//!
//! A difference here is a format change: give the record a new version (and a reader for the old one), or
//! undo it. Appending a variant or a section is no difference. `PRINT_ENCODINGS=1` prints the actual bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod access_language;

use access_language::{Line, Machine, command};
use gatecast_cluster::access::*;
use gatecast_cluster::codec;
use std::fmt::Write as _;
use std::path::Path;

/// One command of every kind, in the words of the golden scripts.
const COMMANDS: &str = "\
tick
version 1
member up 1
member down 1 2
member drain 1
member remove 1
app create 7 name=n protocols=d default=!x=subscribe open=*=publish settings=s:v aliases=k:a keys=k1
app update 7 enabled=true settings=s:-
app delete 7
key create 7 k2 cap=a:*=subscribe;user/u.*=get;group//r/=manage
key update k2 enabled=false cap=p*=subscribe
key rotate 7 k2 k3 overlap=300
key delete k2
grant 7 user:u room=subscribe,publish ttl=1000 by=k1 mode=replace
ungrant 7 everyone room by=k1
token 7 t key=k1 user=u revkey=r cap=room=subscribe issued=5 expires=6
revoke 7 channel:c before=1 margin=2
revoke 7 app by=k1
disconnect 7 token:t
block 7 key:k1 for=5 reason=why
unblock 7 user:u
nonce 7 k1 n expires=9
flag 7 room f on by=k1
group 7 g add=a,b remove=c by=k1
administer 7 k1 app update 7 open=*=publish settings=s:v hands=*=subscribe
administer 7 operator key create 7 k2 cap=a=subscribe
administer 7 k1 key update k2 enabled=true cap=a=publish
administer 7 k1 key rotate 7 k2 k3 overlap=300
administer 7 k1 key delete k2
administer 7 k1 provider create 7 p iss=https://id aud=a,b kids=e,r:rsa source=set:https://id/keys leeway=5 ceiling=k1
administer 7 operator provider update 7 p ifsource=discovery:https://id enabled=true iss=https://ie aud=c algs=PS256,ES256,ES384 kids=c:p256 source= rights=details leeway=6 ceiling=k2
administer 7 k1 provider delete 7 p
administer 7 k1 provider ask 7 p for=60000
administer 7 operator provider fetched 7 p source=set:https://id/keys before=3 kids=e
administer 7 operator provider fetched 7 p source=discovery:https://id reason=late
signout 7 user:u revkey:s by=k1
members 7 g add=user:u,group:h remove=user:v by=k1
nogroup 7 g
grant 7 group:g room=subscribe
revoke 7 group:g
signal 7 p j user:u revkey:s before=5 state=v
administer 7 k1 provider signals 7 p bearer=b aud=a,b device=newer
administer 7 operator provider signals 7 p endpoint=https://id/poll stream=s state=v assurance=newer
administer 7 k1 provider nosignals 7 p
asked left_the_team p revoke 7 user:u by=k1
keep 3 1000 5000
keep 3 1000 -";

/// A log whose state has something in every section.
const LOG: &str = "\
member up 1
member up 2
member remove 2
app create 7 name=n protocols=d default=!x=subscribe open=*=publish settings=s:v aliases=k:a keys=k1,k2
key rotate 7 k2 k3 overlap=300
grant 7 user:u room=subscribe;a:*=publish;/^r/=history ttl=1000 by=k1
token 7 t key=k1 user=u revkey=r cap=room=subscribe issued=5 expires=6000
revoke 7 user:z
revoke 7 user:z margin=50
block 7 key:k1 for=5 reason=why
nonce 7 k1 n expires=9000
request 5 app update 7 name=m
request 6 app create 7
flag 7 room f on
group 7 g add=a,b
same administer 7 operator provider create 7 p iss=https://id aud=a,b kids=e ceiling=k1
administer 7 operator provider create 7 q iss=https://q aud=a source=set:https://q/keys ceiling=k1
administer 7 operator provider ask 7 q
members 7 g add=user:u,group:h
members 7 h add=user:u,user:v
administer 7 operator provider signals 7 p endpoint=https://id/poll stream=s state=v
signal 7 p j before=5 state=v";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn actual() -> String {
    let mut out = String::new();
    for line in COMMANDS.lines() {
        let command = command(&Line::read(line), 1_000).unwrap();
        let bytes = codec::encode(1, &command, 4096).unwrap();
        assert_eq!(codec::decode::<Command>(1, &bytes, 4096), Ok(command));
        writeln!(out, "{line}\n  {}", hex(&bytes)).unwrap();
    }
    let batch = Batch {
        time_ms: 1_000,
        ops: vec![Op {
            request: 1 << 100,
            command: Command::Tick,
        }],
    };
    let bytes = codec::encode(1, &batch, 4096).unwrap();
    assert_eq!(codec::decode::<Batch>(1, &bytes, 4096), Ok(batch));
    writeln!(out, "batch\n  {}", hex(&bytes)).unwrap();

    let mut machine = Machine::default();
    for line in LOG.lines() {
        machine.run(line);
    }
    let bytes = snapshot(&machine.state);
    writeln!(out, "snapshot").unwrap();
    for chunk in bytes.chunks(48) {
        writeln!(out, "  {}", hex(chunk)).unwrap();
    }
    out
}

#[test]
fn stored_encodings_have_not_changed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/access_encodings.txt");
    let actual = actual();
    if std::env::var_os("PRINT_ENCODINGS").is_some() {
        std::fs::write(&file, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    for (want, got) in expected.lines().zip(actual.lines()) {
        assert_eq!(want, got, "a stored encoding has changed");
    }
    assert_eq!(expected, actual);
}

fn unhex<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let hex: String = lines.map(str::trim).collect();
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

#[test]
fn the_stored_snapshot_is_read() {
    let text = include_str!("scripts/access_encodings.txt");
    let lines = text.lines().skip_while(|line| *line != "snapshot").skip(1);
    let bytes = unhex(lines);
    let state = restore(&bytes).unwrap();
    assert_eq!(snapshot(&state), bytes);
    assert_eq!(state.grants.len(), 3);
    assert_eq!(state.requests.len(), 2);
}

#[test]
fn a_snapshot_from_before_the_audit_is_read_and_its_chain_begins_then() {
    let bytes = unhex(include_str!("scripts/snapshot_before_the_audit.txt").lines());
    let state = restore(&bytes).unwrap();
    assert_eq!(state.audit.last_index(), 0);
    assert_eq!(snapshot(&state), bytes);
}
