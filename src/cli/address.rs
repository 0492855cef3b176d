//! How names are written into the addresses of `/v1`, so that the server reads the names that were typed.
//!
//! **Why not every name in the path:** a URL's `.` and `..` are steps, escaped or not, for every client and proxy.

/// A path with a name in it. Names that no URL can carry there, since they mean a step or nothing, stand in the query.
pub(super) fn named(before: &str, name: &str, after: &str) -> String {
    match name {
        "" | "." | ".." => format!("{before}/-{after}?name={name}"),
        name => format!("{before}/{}{after}", encoded(name)),
    }
}

/// One part of a path or query: everything but unreserved characters is escaped.
pub(super) fn encoded(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}
