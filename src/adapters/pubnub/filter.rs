//! Filter expressions: which messages a subscriber wants, by what their publishers said about them.
//!
//! Compiled once per request, bounded in length and depth.
//!
//! `== != < > <= >=`, `LIKE` (`*` for anything, letters' case does not count), `CONTAINS`, `&& || !`, arithmetic,
//! parentheses. A name is a field of the message's meta (`lang`, `meta.lang`, `meta['lang']`); `uuid` and `channel` are the
//! message's own, `data.x` is a field of its payload. What is missing equals nothing.

use super::envelope::{self, Extra};
use crate::core::message::Draft;
use serde_json::Value;
use std::borrow::Cow;
use std::cell::OnceCell;

const MAX_LENGTH: usize = 4_096;
/// Longest payload or meta that is looked into, and longest text that is put together, bytes. What is longer is missing.
const MAX_BYTES: usize = 64 << 10;
const MAX_DEPTH: usize = 32;

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter(Term);

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Value(Value),
    Field(Vec<String>),
    Not(Box<Term>),
    Minus(Box<Term>),
    Pair(Box<Term>, Op, Box<Term>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    More,
    AtMost,
    AtLeast,
    Like,
    Contains,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Value(Value),
    Name(String),
    Op(Op),
    Not,
    Open,
    Close,
    Dot,
    OpenIndex,
    CloseIndex,
}

/// By how tightly they bind, loosest first.
const LEVELS: [&[Op]; 5] = [
    &[Op::Or],
    &[Op::And],
    &[
        Op::Equal,
        Op::Unequal,
        Op::Less,
        Op::More,
        Op::AtMost,
        Op::AtLeast,
        Op::Like,
        Op::Contains,
    ],
    &[Op::Add, Op::Subtract],
    &[Op::Multiply, Op::Divide, Op::Modulo],
];

const SIGNS: [(&str, Token); 20] = [
    ("&&", Token::Op(Op::And)),
    ("||", Token::Op(Op::Or)),
    ("==", Token::Op(Op::Equal)),
    ("!=", Token::Op(Op::Unequal)),
    ("<=", Token::Op(Op::AtMost)),
    (">=", Token::Op(Op::AtLeast)),
    ("<", Token::Op(Op::Less)),
    (">", Token::Op(Op::More)),
    ("+", Token::Op(Op::Add)),
    ("-", Token::Op(Op::Subtract)),
    ("*", Token::Op(Op::Multiply)),
    ("/", Token::Op(Op::Divide)),
    ("%", Token::Op(Op::Modulo)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (".", Token::Dot),
    ("[", Token::OpenIndex),
    ("]", Token::CloseIndex),
    ("=", Token::Op(Op::Equal)),
];

fn tokens(mut text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start();
        let Some(first) = text.chars().next() else {
            return Some(tokens);
        };
        let (token, length) = match first {
            '"' | '\'' => {
                let rest = text.get(1..)?;
                let end = rest.find(first)?;
                (Token::Value(rest.get(..end)?.into()), end + 2)
            }
            '0'..='9' => {
                let end = text.find(|one: char| !one.is_ascii_digit() && one != '.');
                let number = text.get(..end.unwrap_or(text.len()))?;
                (
                    Token::Value(number.parse::<f64>().ok()?.into()),
                    number.len(),
                )
            }
            one if one.is_alphabetic() || one == '_' => {
                let end = text.find(|one: char| !one.is_alphanumeric() && one != '_');
                let word = text.get(..end.unwrap_or(text.len()))?;
                (named(word), word.len())
            }
            _sign => {
                let (sign, token) = SIGNS.iter().find(|(sign, _)| text.starts_with(sign))?;
                (token.clone(), sign.len())
            }
        };
        tokens.push(token);
        text = text.get(length..)?;
    }
}

fn named(word: &str) -> Token {
    match word.to_ascii_uppercase().as_str() {
        "LIKE" => Token::Op(Op::Like),
        "CONTAINS" => Token::Op(Op::Contains),
        "TRUE" => Token::Value(true.into()),
        "FALSE" => Token::Value(false.into()),
        "NULL" => Token::Value(Value::Null),
        _field => Token::Name(word.to_owned()),
    }
}

struct Parser<'t> {
    tokens: std::iter::Peekable<std::slice::Iter<'t, Token>>,
    depth: usize,
}

impl Parser<'_> {
    fn pair(&mut self, level: usize) -> Option<Term> {
        let Some(ops) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.pair(level + 1)?;
        while let Some(Token::Op(op)) = self.tokens.peek()
            && ops.contains(op)
        {
            self.tokens.next();
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return None;
            }
            let right = self.pair(level + 1)?;
            left = Term::Pair(Box::new(left), *op, Box::new(right));
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Term> {
        self.depth += 1;
        if self.depth > MAX_DEPTH * 4 {
            return None;
        }
        match self.tokens.next()? {
            Token::Not => self.unary().map(|term| Term::Not(Box::new(term))),
            Token::Op(Op::Subtract) => self.unary().map(|term| Term::Minus(Box::new(term))),
            Token::Open => {
                let inner = self.pair(0)?;
                matches!(self.tokens.next(), Some(Token::Close)).then_some(inner)
            }
            Token::Value(value) => Some(Term::Value(value.clone())),
            Token::Name(name) => self.field(name),
            Token::Op(_) | Token::Close | Token::Dot | Token::OpenIndex | Token::CloseIndex => None,
        }
    }

    fn field(&mut self, first: &str) -> Option<Term> {
        let mut path = vec![first.to_owned()];
        loop {
            match self.tokens.peek() {
                Some(Token::Dot) => {
                    self.tokens.next();
                    let Some(Token::Name(name)) = self.tokens.next() else {
                        return None;
                    };
                    path.push(name.clone());
                }
                Some(Token::OpenIndex) => {
                    self.tokens.next();
                    let Some(Token::Value(Value::String(name))) = self.tokens.next() else {
                        return None;
                    };
                    path.push(name.clone());
                    let Some(Token::CloseIndex) = self.tokens.next() else {
                        return None;
                    };
                }
                _ => return Some(Term::Field(path)),
            }
        }
    }
}

/// What an expression is asked about.
struct Subject<'m> {
    channel: &'m str,
    draft: &'m Draft,
    meta: OnceCell<Value>,
    payload: OnceCell<Value>,
}

/// A JSON text, once somebody asks for it.
fn read<'m>(into: &'m OnceCell<Value>, text: impl FnOnce() -> Option<Cow<'m, str>>) -> &'m Value {
    into.get_or_init(|| {
        let text = text().filter(|text| text.len() <= MAX_BYTES);
        let value = text.and_then(|text| serde_json::from_str(&text).ok());
        value.unwrap_or(Value::Null)
    })
}

impl Subject<'_> {
    fn meta(&self) -> &Value {
        read(&self.meta, || envelope::meta(self.draft).map(Cow::Borrowed))
    }

    fn payload(&self) -> &Value {
        read(&self.payload, || Some(envelope::payload(self.draft)))
    }

    fn field(&self, path: &[String]) -> Cow<'_, Value> {
        let mut names = path.iter().map(String::as_str);
        match (names.next(), path) {
            (Some("uuid"), [_]) => {
                Cow::Owned(Extra::of(self.draft).i.map_or(Value::Null, Value::from))
            }
            (Some("channel"), [_]) => Cow::Owned(self.channel.into()),
            (Some("meta"), [_, rest @ ..]) => Cow::Borrowed(within(self.meta(), rest)),
            (Some("data"), [_, rest @ ..]) => Cow::Borrowed(within(self.payload(), rest)),
            (_, names) => Cow::Borrowed(within(self.meta(), names)),
        }
    }

    fn value<'s>(&'s self, term: &'s Term) -> Cow<'s, Value> {
        let truth = |term| truth(&self.value(term));
        Cow::Owned(match term {
            Term::Value(value) => return Cow::Borrowed(value),
            Term::Field(path) => return self.field(path),
            Term::Not(term) => (!truth(term)).into(),
            Term::Minus(term) => number(&self.value(term)).map_or(Value::Null, |n| (-n).into()),
            Term::Pair(left, Op::And, right) => (truth(left) && truth(right)).into(),
            Term::Pair(left, Op::Or, right) => (truth(left) || truth(right)).into(),
            Term::Pair(left, op, right) => apply(&self.value(left), *op, &self.value(right)),
        })
    }
}

fn within<'v>(value: &'v Value, path: &[String]) -> &'v Value {
    const NULL: &Value = &Value::Null;
    let found = path.iter().try_fold(value, |value, name| value.get(name));
    found.unwrap_or(NULL)
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn order(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => number(left)?.partial_cmp(&number(right)?),
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), _) | (_, Value::Number(_)) => {
            number(left).is_some_and(|left| Some(left) == number(right))
        }
        (left, right) => left == right,
    }
}

fn apply(left: &Value, op: Op, right: &Value) -> Value {
    let is = |wanted: fn(std::cmp::Ordering) -> bool| order(left, right).is_some_and(wanted).into();
    let count = |with: fn(f64, f64) -> f64| {
        let both = number(left).zip(number(right));
        both.map_or(Value::Null, |(left, right)| with(left, right).into())
    };
    match op {
        Op::Equal => equal(left, right).into(),
        Op::Unequal => (!equal(left, right)).into(),
        Op::Less => is(std::cmp::Ordering::is_lt),
        Op::More => is(std::cmp::Ordering::is_gt),
        Op::AtMost => is(std::cmp::Ordering::is_le),
        Op::AtLeast => is(std::cmp::Ordering::is_ge),
        Op::Like => match (left, right) {
            (Value::String(text), Value::String(pattern)) => {
                like(&text.to_lowercase(), &pattern.to_lowercase()).into()
            }
            _ => false.into(),
        },
        Op::Contains => match (left, right) {
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()).into(),
            (Value::Array(list), one) => list.iter().any(|item| equal(item, one)).into(),
            _ => false.into(),
        },
        Op::Add => match (left, right) {
            (Value::String(left), Value::String(right)) => {
                let fits = left.len() + right.len() <= MAX_BYTES;
                fits.then(|| format!("{left}{right}")).into()
            }
            _ => count(|left, right| left + right),
        },
        Op::Subtract => count(|left, right| left - right),
        Op::Multiply => count(|left, right| left * right),
        Op::Divide => count(|left, right| left / right),
        Op::Modulo => count(|left, right| left % right),
        Op::And => (truth(left) && truth(right)).into(),
        Op::Or => (truth(left) || truth(right)).into(),
    }
}

/// Whether the parts between the stars stand in the text in that order.
fn like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(last)
}

impl Filter {
    /// Compiles it; `None` when it cannot be read or is too large.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let tokens = tokens(text)?;
        // Parentheses and negations nest the reader itself.
        let opens = |token: &&Token| matches!(token, Token::Open | Token::Not);
        if tokens.iter().filter(opens).count() > MAX_DEPTH {
            return None;
        }
        let mut parser = Parser {
            tokens: tokens.iter().peekable(),
            depth: 0,
        };
        let term = parser.pair(0)?;
        parser.tokens.next().is_none().then_some(Self(term))
    }

    /// Whether a message on that channel passes.
    pub(super) fn passes(&self, channel: &str, draft: &Draft) -> bool {
        #[cfg(test)]
        tests::ASKED.set(tests::ASKED.get() + 1);
        let subject = Subject {
            channel,
            draft,
            meta: OnceCell::new(),
            payload: OnceCell::new(),
        };
        truth(&subject.value(&self.0))
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::adapters::pubnub::envelope::tests::draft;
    use crate::core::message::ContentKind;
    use std::cell::Cell;

    thread_local! {
        /// How often filters were asked on this thread.
        pub(in crate::adapters::pubnub) static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    fn passes(text: &str) -> bool {
        let mut draft = draft(r#"{"text":"hi","n":3}"#, ContentKind::Json);
        draft.meta = Some(
            r#"{"lang":"en","price":12.5,"tags":["a","b"],"deep":{"x":1}}"#
                .as_bytes()
                .into(),
        );
        draft.client = Some("alice".into());
        let filter = Filter::parse(text).expect(text);
        filter.passes("room", &draft)
    }

    #[test]
    #[allow(clippy::panic)]
    fn expressions_mean_what_the_documentation_says() {
        for yes in [
            "lang == 'en'",
            "meta.lang == \"en\"",
            "meta['lang'] == 'en'",
            "lang != 'de' && price > 10",
            "(lang == 'de' || price <= 12.5) && uuid == 'alice'",
            "!(lang == 'de')",
            "lang LIKE 'E*'",
            "lang like '*n'",
            "tags CONTAINS 'a'",
            "lang CONTAINS 'n'",
            "price * 2 + 1 == 26",
            "price - 2.5 >= 10 && -price < 0",
            "deep.x == 1",
            "data.text == 'hi'",
            "channel == 'room'",
            "missing != 'x'",
        ] {
            assert!(passes(yes), "{yes}");
        }
        for no in [
            "lang == 'de'",
            "missing == 'x'",
            "price % 2 == 0",
            "tags CONTAINS 'c'",
            "lang LIKE 'n*'",
            "price < 'x'",
            "missing > 1",
        ] {
            assert!(!passes(no), "{no}");
        }
    }

    #[test]
    fn what_is_longer_than_an_expression_looks_into_is_missing() {
        let long = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "a".repeat(bytes - 11));
        let asked = |text: &str, payload: &str| {
            let draft = Draft {
                data: payload.to_owned().into(),
                ..draft("1", ContentKind::Json)
            };
            Filter::parse(text).unwrap().passes("room", &draft)
        };
        assert!(asked("data.text LIKE 'a*'", &long(MAX_BYTES)));
        assert!(!asked("data.text LIKE 'a*'", &long(MAX_BYTES + 1)));
        let twice = "data.text + data.text LIKE 'a*'";
        assert!(asked(twice, &long(MAX_BYTES / 2)));
        assert!(!asked(twice, &long(MAX_BYTES / 2 + 100)));
    }

    #[test]
    fn what_is_no_expression_is_refused_and_none_is_too_deep() {
        for bad in [
            "", "a ==", "'open", "a b", "(a", "a..b", "a[1]", "#", "== 1",
        ] {
            assert_eq!(Filter::parse(bad), None, "{bad}");
        }
        assert_eq!(Filter::parse(&"(".repeat(2_000)), None);
        assert_eq!(Filter::parse(&"!".repeat(4_000)), None);
        assert_eq!(Filter::parse(&"-".repeat(4_000)), None);
        assert_eq!(Filter::parse(&format!("a{}", "+a".repeat(1_000))), None);
        assert_eq!(Filter::parse(&"a".repeat(5_000)), None);
    }
}
