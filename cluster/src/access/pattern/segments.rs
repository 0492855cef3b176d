//! `:`-separated segments: `*` last = one or more segments, elsewhere exactly one, `foo*` literal.
//!
//! **Why not a regular expression:** a segment walk needs no compiled program, no escaping, and can be compared with
//! another pattern.

/// Whether `name` matches `pattern`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut wanted = pattern.split(':').peekable();
    let mut found = name.split(':');
    while let Some(segment) = wanted.next() {
        let Some(actual) = found.next() else {
            return false;
        };
        if segment == "*" {
            if wanted.peek().is_none() {
                return true;
            }
        } else if segment != actual {
            return false;
        }
    }
    found.next().is_none()
}

/// Whether the pattern ends in a `*` that takes any number of segments.
pub(super) fn is_open_ended(pattern: &str) -> bool {
    pattern == "*" || pattern.ends_with(":*")
}

/// The text that every match starts with: everything before the first wildcard segment.
pub(super) fn head(pattern: &str) -> &str {
    let mut end = 0;
    for segment in pattern.split(':') {
        if segment == "*" {
            return pattern.get(..end).unwrap_or_default();
        }
        end += segment.len() + 1;
    }
    pattern
}

/// Whether it holds no wildcard segment, and so stands for exactly its own text.
pub(super) fn is_literal(pattern: &str) -> bool {
    !pattern.split(':').any(|segment| segment == "*")
}

/// Whether every name matching segments `inner` also matches segments `outer`.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    let (open, inner_open) = (is_open_ended(outer), is_open_ended(inner));
    let (outer_count, inner_count) = (outer.split(':').count(), inner.split(':').count());
    let aligned = match open {
        true => inner_count >= outer_count,
        false => inner_count == outer_count && !inner_open,
    };
    aligned && fixed_part_covers(outer, inner, open)
}

/// Whether every name that starts with `prefix` matches segments `outer`.
pub(super) fn covers_prefix(outer: &str, prefix: &str) -> bool {
    // The last segment of the prefix may go on, so only those before it are certain.
    is_open_ended(outer)
        && prefix.split(':').count() >= outer.split(':').count()
        && fixed_part_covers(outer, prefix, true)
}

fn fixed_part_covers(outer: &str, inner: &str, open: bool) -> bool {
    let fixed = outer.split(':').count() - usize::from(open);
    outer
        .split(':')
        .take(fixed)
        .zip(inner.split(':'))
        .all(|(outer, inner)| outer == "*" || outer == inner)
}
