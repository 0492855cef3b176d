//! Which known name was meant: the one advice every "unknown name" error gives.
//!
//! **Must never know:** what the names stand for.

/// Largest distance at which a name still counts as a slip of another.
const NEAR: usize = 3;

/// The known name closest to `given`, when one is close enough to be meant.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = NEAR.min(given.chars().count().div_ceil(2));
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "; did you mean `x`?", or nothing when no known name is close.
#[must_use]
pub fn advice<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Edits (insert, delete, replace) from one text to the other; texts over 64 characters are never near.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(usize::MAX - 1);
            let replaced = diagonal + usize::from(x != y);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["admin_token", "cluster", "cluster_secret", "node"];
        assert_eq!(nearest("admin_tokn", known), Some("admin_token"));
        assert_eq!(nearest("clustr", known), Some("cluster"));
        assert_eq!(nearest("nod", known), Some("node"));
        assert_eq!(nearest("bananas", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
        assert_eq!(advice("nodes", known), "; did you mean `node`?");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
