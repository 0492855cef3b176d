//! Which known name was meant: the one suggestion that every "unknown name" error makes.

/// Largest distance at which a name still counts as a slip of another.
const MAX_DISTANCE: usize = 3;

/// The known name closest to `given`, when one is close enough to be meant.
#[must_use]
pub fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = MAX_DISTANCE.min(given.chars().count().div_ceil(2));
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "; did you mean `x`?", or nothing when no known name is close.
#[must_use]
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggest(given, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
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
        assert_eq!(suggest("admin_tokn", known), Some("admin_token"));
        assert_eq!(suggest("clustr", known), Some("cluster"));
        assert_eq!(suggest("nod", known), Some("node"));
        assert_eq!(suggest("bananas", known), None);
        assert_eq!(suggest(&"x".repeat(1000), known), None);
        assert_eq!(did_you_mean("nodes", known), "; did you mean `node`?");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
