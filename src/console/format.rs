//! The two text forms of metrics: OpenMetrics, as the library writes it, and the older one that most tools read.
//!
//! **Why the older one unless the other is asked for:** a person with `curl`, `promtool check metrics` and most exporters'
//! tools read only that; Prometheus itself asks for OpenMetrics.

/// The content type of OpenMetrics.
pub(super) const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of the older form.
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics as the older form: there a counter's `_total` is part of its name, and neither units nor an end are said.
pub(super) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let mut words = line.splitn(4, ' ');
        let (hash, what, name, rest) = (words.next(), words.next(), words.next(), words.next());
        let (Some("#"), Some(what)) = (hash, what) else {
            text += line;
            text.push('\n');
            continue;
        };
        if !matches!(what, "HELP" | "TYPE") {
            continue;
        }
        let name = name.unwrap_or_default();
        // The type is told behind the help.
        let of = |line: &str| line == format!("# TYPE {name} counter");
        let counts = of(line) || lines.peek().is_some_and(|next| of(next));
        let suffix = if counts { "_total" } else { "" };
        // Descriptions of the library end in a full stop of its own.
        text += &format!("# {what} {name}{suffix} {}\n", rest.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_name_is_whole_in_the_older_form() {
        let open = "# HELP a_b Some help.\n# TYPE a_b counter\na_b_total{x=\"# TYPE\"} 3\n# HELP c Help.\n# TYPE c gauge\n# UNIT c \
                    seconds\nc 1\n# EOF\n";
        let older = "# HELP a_b_total Some help.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE\"} 3\n# HELP c Help.\n# TYPE c \
                     gauge\nc 1\n";
        assert_eq!(classic(open), older);
    }
}
