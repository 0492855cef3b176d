//! Sources as the laws see them: comments and literals blanked, test code cut out, lines kept.

/// One production source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the repository root, with `/`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// The code alone: comments, literals and test items are spaces; line breaks stay where they were.
    pub(crate) code: String,
    /// Lines that are not part of test items.
    pub(crate) prod_lines: usize,
}

/// A test module in a file of its own: by its name, or where `#[path]` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TestModule {
    Named(String),
    At(String),
}

/// Parses files and drops those that are only compiled for tests.
pub(crate) fn parse_all(texts: Vec<(String, String)>) -> Vec<Source> {
    let mut test_files = Vec::new();
    let mut sources = Vec::new();
    for (path, text) in texts {
        let (source, test_modules) = parse(path, text);
        let folder = module_folder(&source.path);
        let beside = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        for module in test_modules {
            match module {
                TestModule::Named(name) => {
                    test_files.push(format!("{folder}/{name}.rs"));
                    test_files.push(format!("{folder}/{name}/"));
                }
                TestModule::At(file) => test_files.push(format!("{beside}/{file}")),
            }
        }
        sources.push(source);
    }
    sources.retain(|source| {
        !test_files.iter().any(|test| {
            source.path == *test || (test.ends_with('/') && source.path.starts_with(test))
        })
    });
    sources
}

/// Where the child modules of a file live.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
    }
}

/// Blanks comments, literals and test items; also names the test modules kept in files of their own.
pub(crate) fn parse(path: String, text: String) -> (Source, Vec<TestModule>) {
    let mut code = blank_comments_and_literals(&text);
    let (test_lines, modules) = blank_test_items(&mut code, &text);
    let prod_lines = text.lines().count().saturating_sub(test_lines);
    let source = Source {
        path,
        text,
        code,
        prod_lines,
    };
    (source, modules)
}

/// The line of a byte position, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// The position after the bracket that closes the one at `open`; the end of the code when none does.
pub(crate) fn closing(code: &[u8], open: usize) -> usize {
    let (mut depth, mut at) = (0_usize, open);
    while at < code.len() {
        match code[at] {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    code.len()
}

fn blank(code: &mut [u8]) {
    for byte in code {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn blank_comments_and_literals(text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let after_word = at > 0 && is_word(code[at - 1]);
        let end = if rest.starts_with(b"//") {
            at + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + end_of_block_comment(rest)
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            at + length
        } else if rest[0] == b'"' {
            at + end_of_quoted(rest)
        } else if let Some(length) = char_literal(rest) {
            at + length
        } else {
            at += 1;
            continue;
        };
        blank(&mut code[at..end]);
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn end_of_block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn end_of_quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw string (`r"…"`, `br#"…"#`) that starts here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = usize::from(rest[0] == b'b' || rest[0] == b'c');
    if rest.get(prefix) != Some(&b'r') {
        return None;
    }
    let hashes = rest[prefix + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = prefix + 1 + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = &rest[open + 1..];
    let found = body
        .windows(end.len())
        .position(|window| window == end.as_slice())?;
    Some(open + 1 + found + end.len())
}

/// The length of a character literal that starts here; a lifetime is none.
fn char_literal(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' {
        return None;
    }
    if rest.get(1) == Some(&b'\\') {
        let close = rest[3.min(rest.len())..]
            .iter()
            .position(|byte| *byte == b'\'')?;
        return Some(3 + close + 1);
    }
    let letter = &rest[1..rest.len().min(5)];
    let valid = std::str::from_utf8(letter).map_or_else(|error| error.valid_up_to(), str::len);
    let first = std::str::from_utf8(&letter[..valid]).ok()?.chars().next()?;
    let close = 1 + first.len_utf8();
    (rest.get(close) == Some(&b'\'')).then_some(close + 1)
}

/// Blanks every item under `#[cfg(test)]` (or `#[test]`). Answers how many lines they took and which modules
/// among them live in files of their own.
fn blank_test_items(code: &mut String, text: &str) -> (usize, Vec<TestModule>) {
    let mut bytes = std::mem::take(code).into_bytes();
    let (mut lines, mut modules, mut from) = (0, Vec::new(), 0);
    while let Some((start, after_attribute)) = next_test_attribute(&bytes, from) {
        let end = end_of_item(&bytes, after_attribute);
        let item = String::from_utf8_lossy(&bytes[after_attribute..end]).into_owned();
        if let Some(name) = module_declaration(&item) {
            modules.push(match path_attribute(&text.as_bytes()[start..end]) {
                Some(file) => TestModule::At(file),
                None => TestModule::Named(name),
            });
        }
        lines += item.matches('\n').count() + 2;
        blank(&mut bytes[start..end]);
        from = end;
    }
    *code = String::from_utf8_lossy(&bytes).into_owned();
    (lines, modules)
}

fn next_test_attribute(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while at < bytes.len() {
        if bytes[at] == b'#' && bytes.get(at + 1) == Some(&b'[') {
            let end = closing(bytes, at + 1);
            let attribute: Vec<u8> = bytes[at..end]
                .iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            if matches!(attribute.as_slice(), b"#[cfg(test)]" | b"#[test]")
                || attribute.starts_with(b"#[cfg(all(test,")
            {
                return Some((at, end));
            }
            at = end;
        } else {
            at += 1;
        }
    }
    None
}

/// The end of the item that starts at or after `from`: its `;`, or the end of its first braces. A field or an arm ends
/// with its `,`, or where what it is in ends.
fn end_of_item(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut angles) = (from, 0_i32);
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at + 1,
            b',' if angles == 0 => return at + 1,
            b'}' | b')' | b']' => return at,
            b'{' => return closing(bytes, at),
            b'(' | b'[' => at = closing(bytes, at),
            b'<' => {
                angles += 1;
                at += 1;
            }
            b'>' => {
                angles -= i32::from(!matches!(bytes[at - 1], b'-' | b'='));
                at += 1;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn module_declaration(item: &str) -> Option<String> {
    let mut item = item.trim_start();
    while item.starts_with('#') {
        let open = item.find('[')?;
        item = item[closing(item.as_bytes(), open)..].trim_start();
    }
    let words: Vec<&str> = item
        .trim_end_matches(';')
        .split_whitespace()
        .filter(|word| !word.starts_with("pub"))
        .collect();
    match words.as_slice() {
        ["mod", name] if !item.contains('{') => Some((*name).to_owned()),
        _ => None,
    }
}

/// The file that a `#[path = "…"]` names.
fn path_attribute(item: &[u8]) -> Option<String> {
    let item = String::from_utf8_lossy(item);
    let (_, rest) = item.split_once("#[path")?;
    Some(rest.split('"').nth(1)?.to_owned())
}
