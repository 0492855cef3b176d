//! What this process asks of the system: files that are its owner's alone, and enough of them open.
//!
//! **Why clients get less than the limit:** sockets, links between nodes, the operators' port and the database share
//! one limit; where clients can use it up, `/ready` is not answered and the disk cannot be opened any more.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Connections that the internal port takes.
pub(super) const INTERNAL: usize = 128;
/// Open files kept for everything but clients: the internal port, peers, the database, webhooks.
const RESERVED: u64 = 512;

/// Whatever this process writes from now on, others cannot read.
pub fn own_files_only() {
    let _before = umask(Mode::from_raw_mode(0o077));
}

/// A word that a shell reads as it is, for lines that are pasted.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Raises the limit of open files as far as it may be; how many connections each worker may take.
pub(super) fn connections(workers: usize, wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files cannot be raised");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let share = share(files, workers, wanted);
    if share < wanted {
        let needed = RESERVED.saturating_add((workers as u64).saturating_mul(wanted as u64));
        tracing::warn!(
            open_files = files,
            needed,
            max_connections = share,
            "the limit of open files is too low for `max_connections` on every worker, so each takes fewer: raise it \
             to what is needed (LimitNOFILE= of systemd, `ulimit -Hn` of a shell), or lower `max_connections`"
        );
    }
    share
}

/// What each worker may take of so many open files.
fn share(files: u64, workers: usize, wanted: usize) -> usize {
    let kept = RESERVED.min(files / 2);
    let each = files.saturating_sub(kept) / (workers.max(1) as u64);
    wanted
        .min(usize::try_from(each).unwrap_or(usize::MAX))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_word_as_it_is() {
        for (text, word) in [
            ("/var/lib/a-1.b", "/var/lib/a-1.b"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn clients_never_get_what_the_rest_of_the_node_needs() {
        assert_eq!(share(1 << 20, 3, 25_000), 25_000);
        assert_eq!(share(u64::MAX, 3, 25_000), 25_000);
        assert_eq!(share(20_512, 2, 25_000), 10_000);
        assert_eq!(share(1_024, 1, 25_000), 512);
        assert_eq!(share(256, 1, 25_000), 128, "half of very little");
        assert_eq!(share(0, 1, 25_000), 1);
    }
}
