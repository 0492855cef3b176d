//! Which paths a source names: its `use` trees and its inline paths, resolved to absolute ones.
//!
//! `crate`, `self`, `super`, aliases and child modules are resolved, so that `use crate::core; core::x::Y` is
//! seen as `gatecast::core::x::Y`. A path whose first word is none of these stands as it is: an extern crate.

use crate::source::{Source, closing, line_of};
use std::collections::BTreeMap;

/// One named path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// Absolute, its first word the crate's name.
    pub(crate) path: String,
    /// Where it is named, from 1.
    pub(crate) line: usize,
}

/// Everything this source names.
pub(crate) fn of(source: &Source, all: &[Source]) -> Vec<Import> {
    let tokens = tokens(&source.code);
    let mut reader = Reader {
        source,
        module: module_of(&source.path),
        inline: Vec::new(),
        aliases: BTreeMap::new(),
        imports: Vec::new(),
        modules: all
            .iter()
            .map(|other| module_of(&other.path).join("::"))
            .collect(),
    };
    reader.read_uses(&tokens);
    reader.read_inline(&tokens);
    reader.imports
}

/// The absolute module path of a file: `src/core/limits.rs` is `gatecast::core::limits`.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let (root, inner) = match path.strip_prefix("cluster/src/") {
        Some(inner) => ("gatecast_cluster", inner),
        None => ("gatecast", path.strip_prefix("src/").unwrap_or(path)),
    };
    let mut module = vec![root.to_owned()];
    for part in inner.trim_end_matches(".rs").split('/') {
        if !matches!(part, "mod" | "lib" | "main") {
            module.push(part.to_owned());
        }
    }
    module
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    at: usize,
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let start = at;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        if word(bytes[at]) {
            while at < bytes.len() && word(bytes[at]) {
                at += 1;
            }
        } else if bytes[at..].starts_with(b"::") {
            at += 2;
        } else {
            at += 1;
            if bytes[start].is_ascii_whitespace() {
                continue;
            }
        }
        found.push(Token {
            text: &code[start..at],
            at: start,
        });
    }
    found
}

struct Reader<'a> {
    source: &'a Source,
    module: Vec<String>,
    /// Inline modules around the current token: name, and where it ends.
    inline: Vec<(String, usize)>,
    aliases: BTreeMap<String, String>,
    imports: Vec<Import>,
    modules: Vec<String>,
}

impl Reader<'_> {
    fn read_uses(&mut self, tokens: &[Token<'_>]) {
        let mut at = 0;
        while at < tokens.len() {
            self.enter(tokens, at);
            if tokens[at].text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<") {
                at = self.read_tree(tokens, at + 1, &[]);
            } else {
                at += 1;
            }
        }
        self.inline.clear();
    }

    /// Reads one `use` tree and answers where it ends.
    fn read_tree(&mut self, tokens: &[Token<'_>], from: usize, prefix: &[String]) -> usize {
        let (mut path, mut at) = (prefix.to_vec(), from);
        let mut alias = None;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|next| next.text != "}") {
                        at = self.read_tree(tokens, at, &path);
                        if tokens.get(at).is_some_and(|next| next.text == ",") {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                "as" => {
                    alias = tokens.get(at + 1).map(|name| name.text.to_owned());
                    at += 2;
                }
                "," | ";" | "}" => break,
                word => {
                    path.push(word.to_owned());
                    at += 1;
                }
            }
        }
        if path.len() > prefix.len() {
            self.name_use(&path, alias, tokens[from].at);
        }
        at
    }

    fn name_use(&mut self, path: &[String], alias: Option<String>, position: usize) {
        let mut path = path.to_vec();
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let resolved = self.resolve(&path);
        let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
        if name != "*" && name != "_" {
            self.aliases.insert(name, resolved.clone());
        }
        self.add(resolved, position);
    }

    fn read_inline(&mut self, tokens: &[Token<'_>]) {
        let mut at = 0;
        while at < tokens.len() {
            self.enter(tokens, at);
            if tokens[at].text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<") {
                while tokens.get(at).is_some_and(|token| token.text != ";") {
                    at += 1;
                }
                continue;
            }
            if tokens[at].text == "extern"
                && tokens.get(at + 1).is_some_and(|next| next.text == "crate")
                && let Some(name) = tokens.get(at + 2)
            {
                self.add(name.text.to_owned(), name.at);
            }
            let starts = is_word(tokens[at].text)
                && tokens.get(at + 1).is_some_and(|next| next.text == "::")
                && (at == 0 || tokens[at - 1].text != "::" || !continues(tokens, at));
            if !starts {
                at += 1;
                continue;
            }
            let (mut path, position) = (vec![tokens[at].text.to_owned()], tokens[at].at);
            while tokens.get(at + 1).is_some_and(|next| next.text == "::")
                && tokens.get(at + 2).is_some_and(|next| is_word(next.text))
            {
                path.push(tokens[at + 2].text.to_owned());
                at += 2;
            }
            let resolved = self.resolve(&path);
            self.add(resolved, position);
            at += 1;
        }
    }

    /// Keeps track of the inline modules around token `at`.
    fn enter(&mut self, tokens: &[Token<'_>], at: usize) {
        let position = tokens[at].at;
        self.inline.retain(|(_, end)| *end > position);
        if tokens[at].text == "mod" && tokens.get(at + 2).is_some_and(|open| open.text == "{") {
            let end = closing(self.source.code.as_bytes(), tokens[at + 2].at);
            self.inline.push((tokens[at + 1].text.to_owned(), end));
        }
    }

    fn resolve(&self, path: &[String]) -> String {
        let mut here = self.module.clone();
        here.extend(self.inline.iter().map(|(name, _)| name.clone()));
        let (mut base, mut rest) = match path[0].as_str() {
            "crate" => (vec![self.module[0].clone()], &path[1..]),
            "self" => (here, &path[1..]),
            "super" => {
                here.pop();
                (here, &path[1..])
            }
            first => {
                let child = format!("{}::{first}", here.join("::"));
                let known = self.aliases.get(first).cloned();
                let base = match known {
                    Some(alias) => alias,
                    None if self.modules.contains(&child) => child,
                    None => first.to_owned(),
                };
                (vec![base], &path[1..])
            }
        };
        while rest.first().is_some_and(|word| word == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        base.join("::")
    }

    fn add(&mut self, path: String, position: usize) {
        let line = line_of(&self.source.code, position);
        self.imports.push(Import { path, line });
    }
}

fn is_word(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// Whether the `::` before token `at` continues a path (and is not the leading `::` of an absolute one).
fn continues(tokens: &[Token<'_>], at: usize) -> bool {
    at >= 2 && (is_word(tokens[at - 2].text) || tokens[at - 2].text == ">")
}
