//! The import law as data: which room may not name what, and why.
//!
//! `server -> adapters -> transport -> core -> cluster`, `adapters -> outbound -> identity -> core`, and `peers -> core, cluster`.

use crate::Finding;
use crate::imports::{Import, module_of};
use crate::pure::{self, PURE};
use crate::source::{Source, line_of};

/// A room, and what it never names.
struct Never {
    /// Path prefixes of the files it holds for.
    room: &'static [&'static str],
    /// Files (prefixes) inside the room it does not hold for.
    except: &'static [&'static str],
    /// Absolute paths that are not named there, nor anything below them.
    paths: &'static [&'static str],
    /// Said to whoever breaks it.
    why: &'static str,
}

const LAWS: &[Never] = &[
    Never {
        room: &["cluster/src/access/"],
        except: &[],
        paths: &[
            "openraft",
            "sled",
            "tokio",
            "futures_util",
            "rand",
            "tracing",
            "arc_swap",
            "regex::bytes",
            "std::time",
            "std::net",
            "std::fs",
            "std::env",
            "std::thread",
            "std::io",
            "std::process",
            "std::collections::HashMap",
            "std::collections::HashSet",
            "gatecast_cluster::raft",
            "gatecast_cluster::store",
            "gatecast_cluster::net",
            "gatecast_cluster::handle",
            "gatecast_cluster::Cluster",
        ],
        why: "the access machine is pure: same log, same state, on every node",
    },
    Never {
        room: &["cluster/src/"],
        except: &[],
        paths: &[
            "gatecast",
            "actix",
            "actix_web",
            "actix_http",
            "actix_web_actors",
            "actix_rt",
            "serde_json",
            "reqwest",
        ],
        why: "the access plane is below the broker and knows no wire of its clients",
    },
    Never {
        room: &["cluster/src/"],
        // The handle is asked from outside; a store of files syncs on a thread of its own.
        except: &[
            "cluster/src/task.rs",
            "cluster/src/contract/config.rs",
            "cluster/src/handle/",
            "cluster/src/store/",
        ],
        paths: &[
            "tokio::spawn",
            "tokio::task::spawn",
            "tokio::task::spawn_blocking",
            "tokio::task::spawn_local",
            "std::thread::spawn",
            "std::thread::sleep",
            "std::thread::Builder",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
        why: "tasks start in `task.rs` and time is tokio's: a simulation plays the same seed the same way only \
              if nothing runs beside it",
    },
    Never {
        room: &["src/core/"],
        except: &[],
        paths: &[
            "gatecast::adapters",
            "gatecast::transport",
            "gatecast::peers",
            "gatecast::server",
            "gatecast::config",
            "gatecast::cli",
            "gatecast::console",
            "actix_web",
            "actix_http",
            "actix_web_actors",
            "serde_json",
            "reqwest",
            "figment",
            "std::fs",
            "tokio::fs",
            "tokio::net",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::env",
        ],
        why: "core knows no wire format, no HTTP, no configuration and nothing that depends on it",
    },
    Never {
        room: &["src/core/"],
        except: &["src/core/access", "src/core/authority", "src/core/nodes"],
        paths: &["gatecast_cluster"],
        why: "inside core only `access`, `authority` and `nodes` may ask the cluster",
    },
    Never {
        room: PURE,
        // Its instants are values; nothing there reads a clock.
        except: &["cluster/src/raft/proofs"],
        paths: &["tokio::time"],
        why: "states are pure: time comes in",
    },
    Never {
        room: PURE,
        except: &[],
        paths: &[
            "actix",
            "actix_web",
            "tokio::net",
            "tokio::task",
            "tokio::spawn",
            "std::time::Instant",
            "std::time::SystemTime",
            "rand",
            "tracing",
        ],
        why: "states are pure: `handle(input, now) -> effects`",
    },
    Never {
        room: &["src/transport/"],
        except: &[],
        paths: &[
            "gatecast::adapters",
            "gatecast::peers",
            "gatecast::server",
            "gatecast::cli",
            "gatecast::config",
            "gatecast_cluster",
            "serde_json",
            "gatecast::core::channel",
        ],
        why: "a transport carries bytes and never knows what they mean",
    },
    Never {
        room: &["src/identity/"],
        except: &[],
        paths: &[
            "gatecast::adapters",
            "gatecast::transport",
            "gatecast::peers",
            "gatecast::server",
            "gatecast::cli",
            "gatecast::config",
            "gatecast::console",
            "gatecast_cluster",
            "actix_web",
            "actix_http",
            "reqwest",
            "tokio",
            "std::time",
        ],
        why: "a provider's token means the same whoever reads it, and when is an argument",
    },
    Never {
        room: &["src/core/", "src/transport/", "src/peers/"],
        except: &[],
        paths: &["gatecast::identity"],
        why: "tokens of providers are read above core: below it there are principals",
    },
    Never {
        room: &["src/outbound/"],
        except: &[],
        paths: &[
            "gatecast::adapters",
            "gatecast::transport",
            "gatecast::peers",
            "gatecast::server",
            "gatecast::cli",
            "gatecast::config",
            "gatecast::console",
            "gatecast_cluster",
            "actix_web::web",
            "actix_http",
        ],
        why: "where a request of ours may go does not depend on who asks",
    },
    Never {
        room: &["src/core/", "src/transport/", "src/peers/", "src/identity/"],
        except: &[],
        paths: &["gatecast::outbound"],
        why: "no decision waits for somebody else's server",
    },
    Never {
        room: &["src/adapters/"],
        except: &[],
        paths: &[
            "gatecast_cluster",
            "gatecast::peers",
            "gatecast::server",
            "gatecast::cli",
            "gatecast::config",
            "gatecast::core::channel::actor",
            "gatecast::core::channel::replica",
            "gatecast::core::channel::fanout",
            "gatecast::core::channel::mailbox",
            "gatecast::core::channel::shared",
            "sled",
            "openraft",
        ],
        why: "an adapter translates; what it needs is offered by core's vocabulary",
    },
    Never {
        room: &["src/peers/"],
        except: &[],
        paths: &[
            "gatecast::adapters",
            "gatecast::transport",
            "gatecast::server",
            "gatecast::cli",
            "gatecast::config",
            "actix_web",
            "actix_http",
            "actix_web_actors",
        ],
        why: "links between nodes carry publications, never a dialect",
    },
    Never {
        room: &["src/config"],
        except: &[],
        paths: &[
            "gatecast::adapters",
            "gatecast::transport",
            "gatecast::peers",
            "gatecast::server",
        ],
        why: "a configuration is handed out in pieces; only the wiring knows the rooms",
    },
];

/// Every place that a law names, so that a law whose files have moved is noticed.
pub(crate) fn places() -> impl Iterator<Item = &'static str> {
    let laws = LAWS
        .iter()
        .flat_map(|law| law.room.iter().chain(law.except));
    let one_room = ONE_ROOM.iter().map(|one| &one.room);
    let homes = CLAIMS.iter().flat_map(|claim| claim.homes);
    laws.chain(one_room).chain(homes).chain(ROOMS).copied()
}

/// A crate that only one room may name, because it may have to be swapped.
struct OneRoom {
    krate: &'static str,
    room: &'static str,
}

const ONE_ROOM: &[OneRoom] = &[
    OneRoom {
        krate: "sled",
        room: "cluster/src/store",
    },
    OneRoom {
        krate: "bincode",
        room: "cluster/src/codec",
    },
    OneRoom {
        krate: "actix_web_actors",
        room: "src/transport/",
    },
    OneRoom {
        krate: "openraft",
        room: "cluster/src/",
    },
];

/// What claims that a key was shown, and so is written only where one was looked at.
struct Claim {
    words: &'static str,
    /// Files (prefixes) that may write it.
    homes: &'static [&'static str],
}

const CLAIMS: &[Claim] = &[
    Claim {
        words: "Proof {",
        homes: &["src/core/authority/", "src/adapters/native/explain.rs"],
    },
    Claim {
        words: "Principal::proven(",
        homes: &["src/core/authority/", "src/adapters/native/explain.rs"],
    },
    Claim {
        words: "Voucher::Held",
        homes: &["src/core/authority/", "src/adapters/native/explain.rs"],
    },
    Claim {
        words: "Issuer::Key(",
        homes: &["src/core/authority/", "src/adapters/native/text.rs"],
    },
];

/// Where a file may live. A new room has to be entered here, and so has to be thought about.
const ROOMS: &[&str] = &[
    "cluster/src/",
    "src/core/",
    "src/transport/",
    "src/identity/",
    "src/outbound/",
    "src/adapters/",
    "src/peers/",
    "src/cli/",
    "src/config",
    "src/console/",
    "src/server",
    "src/lib.rs",
    "src/main.rs",
];

/// The laws this source breaks by what it names, and by where it lives.
pub(crate) fn check(source: &Source, imports: &[Import]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = source.path.as_str();
    if !ROOMS.iter().any(|room| path.starts_with(room)) {
        findings.push(finding(
            source,
            1,
            "no room of the map: enter it in tests/structure/laws.rs".into(),
        ));
    }
    for import in imports {
        for law in LAWS {
            let holds = law.room.iter().any(|room| path.starts_with(room))
                && !law.except.iter().any(|room| path.starts_with(room));
            let named = law
                .paths
                .iter()
                .find(|banned| is_below(&import.path, banned));
            if let Some(banned) = named.filter(|_| holds) {
                let what = format!(
                    "names `{}` (never `{banned}` here: {})",
                    import.path, law.why
                );
                findings.push(finding(source, import.line, what));
            }
        }
        for one in ONE_ROOM {
            if is_below(&import.path, one.krate) && !path.starts_with(one.room) {
                let what = format!(
                    "names `{}`: only {} may, so that it can be swapped",
                    one.krate, one.room
                );
                findings.push(finding(source, import.line, what));
            }
        }
        findings.extend(dialect_by_name(source, import));
    }
    findings.extend(pure::check(source));
    findings.extend(test_doubles(source));
    findings.extend(claims(source));
    findings.extend(cookies(source));
    findings.extend(debug_text(source));
    findings
}

/// Where a text is made of what Rust prints for programmers: clients and people read sentences. What a type prints of
/// itself for programmers, and fields of the log, are something else.
fn debug_text(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.path.contains("_tests/") {
        return findings;
    }
    for (at, line) in source.text.lines().enumerate() {
        let said = line.split("//").next().unwrap_or_default();
        let debug = said.contains(":?}") || said.contains(":#?}");
        if at < source.prod_lines && debug && !said.contains("write!(f,") {
            let what = "`{:?}` in a text: give the type words of its own (`Display`)";
            findings.push(finding(source, at + 1, what.into()));
        }
    }
    findings
}

/// What stands in for something in tests, and is named where `cfg(test)` does not take it out of a release.
const DOUBLES: &[&str] = &[
    "fixture::",
    "Source::Fixed",
    "Authority::fixed",
    "mod fixture",
];

fn test_doubles(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for double in DOUBLES {
        for (at, _) in source.code.match_indices(double) {
            let what = format!(
                "`{double}` outside of `cfg(test)`: a release does not contain what only tests need"
            );
            findings.push(finding(source, line_of(&source.code, at), what));
        }
    }
    findings
}

/// Where the broker reads a cookie. A browser sends those of its user to whoever some other site's page asks for, so a
/// credential in one would lend her rights to that page; ours are said in each request, which only her own app can do.
fn cookies(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.path.starts_with("src/") || source.path.starts_with("src/console/") {
        return findings;
    }
    for (at, line) in source.text.lines().enumerate() {
        let said = line.split("//").next().unwrap_or_default();
        if at < source.prod_lines && said.to_ascii_lowercase().contains("cookie") {
            let what =
                "names a cookie: credentials are said in each request, see docs/guarantees.md S17b";
            findings.push(finding(source, at + 1, what.into()));
        }
    }
    findings
}

/// The claims that this source makes and may not make.
fn claims(source: &Source) -> Vec<Finding> {
    let inside = source.path.starts_with("src/");
    let foreign = |claim: &&Claim| !claim.homes.iter().any(|home| source.path.starts_with(home));
    let mut findings = Vec::new();
    for claim in CLAIMS.iter().filter(foreign).filter(|_| inside) {
        for (at, _) in source.code.match_indices(claim.words) {
            let before = source.code.get(..at).unwrap_or_default();
            let part_of_a_name =
                before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            // A type in a signature, or a variant of that name.
            if part_of_a_name || before.ends_with("-> ") || before.ends_with("Rule::") {
                continue;
            }
            let what = format!(
                "writes `{}`: that a key was shown is said by `Holder` and `Signer` of `core/authority/holder.rs`",
                claim.words
            );
            findings.push(finding(source, line_of(&source.code, at), what));
        }
    }
    findings
}

/// What in the adapters' room is no dialect: the contract, and our own API.
const NO_DIALECT: [&str; 2] = ["dialect", "native"];

/// A dialect that is named elsewhere than in its own folder and in the list of them all, `adapters/mod.rs`.
fn dialect_by_name(source: &Source, import: &Import) -> Option<Finding> {
    let own = source.path.strip_prefix("src/adapters/");
    let own = own.and_then(|path| path.split('/').next());
    if own == Some("mod.rs") {
        return None;
    }
    let other = import.path.strip_prefix("gatecast::adapters::")?;
    let other = other.split("::").next()?;
    let is_folder = other
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !is_folder || own.map(|own| own.trim_end_matches(".rs")) == Some(other) {
        return None;
    }
    let allowed = match own {
        // Our own API is one adapter among the others: what it shares with them is the contract.
        Some(_) => other == "dialect",
        None => NO_DIALECT.contains(&other),
    };
    (!allowed).then(|| {
        let what = match own {
            Some(_) => format!(
                "names adapter `{other}`: what two dialects need belongs in core, or is written twice"
            ),
            None => format!(
                "names dialect `{other}`: outside of its folder it is known by `adapters::ALL` and the `Dialect` trait"
            ),
        };
        finding(source, import.line, what)
    })
}

fn is_below(path: &str, banned: &str) -> bool {
    path.strip_prefix(banned)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn finding(source: &Source, line: usize, what: String) -> Finding {
    Finding {
        path: source.path.clone(),
        line,
        what,
    }
}

/// The last word of a file's module path: what the module is called.
pub(crate) fn name_of(source: &Source) -> String {
    module_of(&source.path).pop().unwrap_or_default()
}
