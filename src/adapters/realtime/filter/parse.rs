//! Filters as text: words, then conditions by recursive descent.

use super::{Comparison, Filter, Operand, Pattern};
use serde_json::Value;

/// Longest filter, bytes.
const MAX_BYTES: usize = 1_024;
/// Deepest nesting of brackets and `not`s.
const MAX_DEPTH: u32 = 32;

/// Why a text is no filter; shown to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct NoFilter(pub String);

type Result<T> = std::result::Result<T, NoFilter>;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A bare word.
    Word(String),
    Text(String),
    Number(serde_json::Number),
    /// An operator or bracket.
    Sign(&'static str),
}

/// Signs, longest first.
const SIGNS: [&str; 14] = [
    "==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".",
];

/// Reads a filter.
pub(in super::super) fn parse(text: &str) -> Result<Filter> {
    if text.len() > MAX_BYTES {
        return Err(wrong(format!("longer than {MAX_BYTES} bytes")));
    }
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
        depth: 0,
    };
    let filter = parser.either()?;
    match parser.tokens.next() {
        None => Ok(filter),
        Some(token) => Err(unexpected(Some(token))),
    }
}

fn wrong(what: impl Into<String>) -> NoFilter {
    NoFilter(what.into())
}

fn unexpected(token: Option<Token>) -> NoFilter {
    wrong(match token {
        None => "it ends too early".to_owned(),
        Some(Token::Word(word)) => format!("unexpected `{word}`"),
        Some(Token::Text(text)) => format!("unexpected '{text}'"),
        Some(Token::Number(number)) => format!("unexpected {number}"),
        Some(Token::Sign(sign)) => format!("unexpected `{sign}`"),
    })
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let before = tokens.last();
        let after_value = matches!(before, Some(Token::Word(_) | Token::Number(_)));
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let length = if first == '\'' || first == '"' {
            let (text, length) = quoted(rest, first)?;
            tokens.push(Token::Text(text));
            length
        } else if first.is_ascii_digit() || (first == '-' && !after_value) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let number = rest.get(..length).unwrap_or_default();
            let number = number
                .parse()
                .map_err(|_| wrong(format!("no number: {number}")))?;
            tokens.push(Token::Number(number));
            length
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(
                rest.get(..length).unwrap_or_default().to_owned(),
            ));
            length
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| wrong(format!("unexpected `{first}`")))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// A text in quotes; the quote doubled, or behind a backslash, stands for itself.
fn quoted(text: &str, quote: char) -> Result<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        let doubled = chars.peek().is_some_and(|(_, next)| *next == quote);
        match char {
            '\\' => out.extend(chars.next().map(|(_, next)| next)),
            char if char == quote && doubled => {
                chars.next();
                out.push(quote);
            }
            char if char == quote => return Ok((out, at + 1)),
            char => out.push(char),
        }
    }
    Err(wrong("a text has no end"))
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: u32,
}

impl Parser {
    /// Takes this keyword if it comes next.
    fn word(&mut self, wanted: &str) -> bool {
        let is =
            |token: &Token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(wanted));
        self.tokens.next_if(is).is_some()
    }

    fn sign(&mut self, wanted: &str) -> bool {
        let is = |token: &Token| matches!(token, Token::Sign(sign) if *sign == wanted);
        self.tokens.next_if(is).is_some()
    }

    fn must(&mut self, wanted: &str) -> Result<()> {
        match self.sign(wanted) {
            true => Ok(()),
            false => Err(wrong(format!("`{wanted}` is missing"))),
        }
    }

    fn either(&mut self) -> Result<Filter> {
        let mut filter = self.both()?;
        while self.word("or") {
            filter = Filter::Either(filter.into(), self.both()?.into());
        }
        Ok(filter)
    }

    fn both(&mut self) -> Result<Filter> {
        let mut filter = self.not()?;
        while self.word("and") {
            filter = Filter::Both(filter.into(), self.not()?.into());
        }
        Ok(filter)
    }

    fn not(&mut self) -> Result<Filter> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(wrong("nested too deeply"));
        }
        let filter = if self.word("not") {
            Filter::Not(self.not()?.into())
        } else if self.sign("(") {
            let inner = self.either()?;
            self.must(")")?;
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn condition(&mut self) -> Result<Filter> {
        let operand = self.operand()?;
        if let Some(comparison) = self.comparison() {
            return Ok(Filter::Compare(operand, comparison, self.operand()?));
        }
        if self.word("is") {
            let not = self.word("not");
            return match self.word("null") {
                true => Ok(negated(not, Filter::IsNull(operand))),
                false => Err(wrong("`null` is missing after `is`")),
            };
        }
        let not = self.word("not");
        if self.word("like") {
            return match self.tokens.next() {
                Some(Token::Text(text)) => {
                    let long = || wrong("a part of a pattern that has a `_` is too long");
                    let pattern = Pattern::new(&text).ok_or_else(long)?;
                    Ok(negated(not, Filter::Like(operand, pattern)))
                }
                other => Err(unexpected(other)),
            };
        }
        if self.word("in") {
            return Ok(negated(not, Filter::In(operand, self.list()?)));
        }
        if self.word("between") {
            let low = self.operand()?;
            if !self.word("and") {
                return Err(wrong("`and` is missing after `between`"));
            }
            let least = Filter::Compare(operand.clone(), Comparison::GreaterOrEqual, low);
            let most = Filter::Compare(operand, Comparison::LessOrEqual, self.operand()?);
            return Ok(negated(not, Filter::Both(least.into(), most.into())));
        }
        match not {
            true => Err(unexpected(self.tokens.next())),
            false => Ok(Filter::Truth(operand)),
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let of = |sign: &str| match sign {
            "=" | "==" => Some(Comparison::Equal),
            "!=" | "<>" => Some(Comparison::Unequal),
            "<" => Some(Comparison::Less),
            "<=" => Some(Comparison::LessOrEqual),
            ">" => Some(Comparison::Greater),
            ">=" => Some(Comparison::GreaterOrEqual),
            _ => None,
        };
        let Some(Token::Sign(sign)) = self.tokens.peek() else {
            return None;
        };
        let found = of(sign)?;
        self.tokens.next();
        Some(found)
    }

    fn list(&mut self) -> Result<Vec<Operand>> {
        self.must("(")?;
        let mut list = vec![self.operand()?];
        while self.sign(",") {
            list.push(self.operand()?);
        }
        self.must(")")?;
        Ok(list)
    }

    fn operand(&mut self) -> Result<Operand> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(Operand::Constant(Value::String(text))),
            Some(Token::Number(number)) => Ok(Operand::Constant(Value::Number(number))),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => {
                Ok(Operand::Constant(true.into()))
            }
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => {
                Ok(Operand::Constant(false.into()))
            }
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => {
                Ok(Operand::Constant(Value::Null))
            }
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("message") => self.path(),
            other => Err(unexpected(other)),
        }
    }

    fn path(&mut self) -> Result<Operand> {
        let mut path = Vec::new();
        loop {
            if self.sign(".") {
                match self.tokens.next() {
                    Some(Token::Word(name)) => path.push(name),
                    other => return Err(unexpected(other)),
                }
            } else if self.sign("[") {
                match self.tokens.next() {
                    Some(Token::Text(name)) => path.push(name),
                    Some(Token::Number(at)) => path.push(at.to_string()),
                    other => return Err(unexpected(other)),
                }
                self.must("]")?;
            } else {
                return Ok(Operand::Field(path));
            }
        }
    }
}

fn negated(not: bool, filter: Filter) -> Filter {
    match not {
        true => Filter::Not(filter.into()),
        false => filter,
    }
}
