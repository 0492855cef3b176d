//! Strict reading of requests: bodies as exactly one documented JSON object, query parameters by name, ids
//! in paths. Everything is bounded before it is parsed.
//!
//! **Why not the framework's own extractors:** they answer in plain text, let unknown query parameters pass and demand
//! a content type that `curl` does not send.

use super::codes::{ApiError, Code};
use crate::core::authority::{AppId, BarrierMode, Revision};
use crate::core::suggest::did_you_mean;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Largest request body of `/v1`, bytes.
pub const MAX_BODY: usize = 1 << 20;
/// Longest wait for a body, as in every dialect.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// Largest integer that every JSON reader keeps exactly.
pub const MAX_EXACT: u64 = (1 << 53) - 1;

/// A request body: the value, and the bytes it was read from (a retry is the same bytes).
#[derive(Clone, Debug)]
pub struct Body<T> {
    /// The body as it was read.
    pub value: T,
    /// The bytes of the body as they were sent.
    pub raw: web::Bytes,
}

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // Bounded by the `PayloadConfig` of the scope, before a byte is parsed.
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let late = |_| ApiError::new(Code::TooSlow, "the body did not arrive in time");
            let read = tokio::time::timeout(BODY_WITHIN, bytes).await;
            let raw = read.map_err(late)?.map_err(|error| {
                match error.as_response_error().status_code().as_u16() {
                    413 => ApiError::new(
                        Code::TooLarge,
                        format!("a body is at most {MAX_BODY} bytes"),
                    ),
                    _other => ApiError::new(Code::BadJson, "the body could not be read"),
                }
            })?;
            let value = json(&raw)?;
            Ok(Self { value, raw })
        })
    }
}

/// Reads exactly one JSON value; an empty body counts as `{}`.
///
/// # Errors
/// `bad_json`, saying where.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = match bytes.is_empty() {
        true => b"{}",
        false => bytes,
    };
    serde_json::from_slice(bytes).map_err(|error| ApiError::new(Code::BadJson, error.to_string()))
}

/// Reads a body of at most `most` bytes, whatever it is.
///
/// # Errors
/// `too_slow`, `too_large`, or `bad_value` when it breaks off.
pub async fn bytes(payload: web::Payload, most: usize) -> Result<web::Bytes, ApiError> {
    let read = tokio::time::timeout(BODY_WITHIN, payload.to_bytes_limited(most)).await;
    let late = |_| ApiError::new(Code::TooSlow, "the body did not arrive in time");
    let large = |_| ApiError::new(Code::TooLarge, format!("a body is at most {most} bytes"));
    let broken = |_| ApiError::new(Code::BadValue, "the body could not be read");
    read.map_err(late)?.map_err(large)?.map_err(broken)
}

/// A form: its fields, and its bytes (a retry is the same bytes).
#[derive(Clone, Debug, Default)]
pub struct Form {
    fields: Vec<(String, String)>,
    /// The bytes of the form as they were sent.
    pub raw: web::Bytes,
}

impl Form {
    /// The field of this name. Of two, each reader could take another one.
    ///
    /// # Errors
    /// `bad_value` when it is there twice.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.fields.iter_mut().filter(|(given, _)| given == name);
        let first = values.next().map(|(_, value)| std::mem::take(value));
        match values.next() {
            None => Ok(first),
            Some(_second) => {
                let message = format!("the form has `{name}` twice");
                Err(ApiError::new(Code::BadValue, message))
            }
        }
    }
}

/// Reads a form of at most `most` bytes.
///
/// # Errors
/// `too_slow`, `too_large`, or `bad_value` when it is none.
pub async fn form(payload: web::Payload, most: usize) -> Result<Form, ApiError> {
    let unread = || ApiError::new(Code::BadValue, "the body is no form");
    let raw = bytes(payload, most).await?;
    let text = std::str::from_utf8(&raw).map_err(|_| unread())?;
    let fields = web::Query::<Vec<(String, String)>>::from_query(text).map_err(|_| unread())?;
    let fields = fields.into_inner();
    Ok(Form { fields, raw })
}

/// The query parameters of one request; what is not taken is an error.
#[derive(Clone, Debug, Default)]
pub struct Params {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Params {
    /// Of this request.
    ///
    /// # Errors
    /// `unknown_parameter` when the query cannot be read at all.
    pub fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map(|query| Self {
                given: query.into_inner(),
                known: vec!["at_least"],
            })
            .map_err(|_bad| ApiError::new(Code::UnknownParameter, "the query string is malformed"))
    }

    /// Takes a text parameter.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.swap_remove(at).1)
    }

    /// The name that stands in a path. What no URL can carry there (`.` and `..`, which clients and proxies take for steps)
    /// stands in the query, and `-` in its place: `/users/-/block?name=..`.
    ///
    /// # Errors
    /// `bad_value` when the path has a name of its own: whoever reads paths only would see another.
    pub fn name_in(&mut self, path: &str) -> Result<String, ApiError> {
        match self.text("name") {
            None => Ok(path.to_owned()),
            Some(name) if path == "-" => Ok(name),
            Some(_name) => {
                let message = "`name` stands for a `-` in the path, and for nothing else";
                Err(ApiError::new(Code::BadValue, message))
            }
        }
    }

    /// [`Params::name_in`] of a request that knows no other parameters.
    ///
    /// # Errors
    /// As there, and `unknown_parameter`.
    pub fn only_name(request: &HttpRequest, path: &str) -> Result<String, ApiError> {
        let mut params = Self::of(request)?;
        let name = params.name_in(path)?;
        params.finish()?;
        Ok(name)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// `bad_value`.
    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>, ApiError> {
        self.text(name)
            .map(|text| {
                let bad = |_| ApiError::new(Code::BadValue, format!("`{name}` is not a number"));
                text.parse().map_err(bad)
            })
            .transpose()
    }

    /// Takes `limit`, within 1 and `most`.
    ///
    /// # Errors
    /// `bad_value`.
    pub fn limit(&mut self, default: usize, most: usize) -> Result<usize, ApiError> {
        let given = self.number("limit")?.map_or(Ok(default), usize::try_from);
        match given {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => {
                let message = format!("`limit` is between 1 and {most}");
                Err(ApiError::new(Code::BadValue, message))
            }
        }
    }

    /// Takes a switch: `true`, `1`, `false`, `0`.
    ///
    /// # Errors
    /// `bad_value`.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_other) => {
                let message = format!("`{name}` is true or false");
                Err(ApiError::new(Code::BadValue, message))
            }
        }
    }

    /// Takes `wait`.
    ///
    /// # Errors
    /// `bad_json` when it is none of its three words.
    pub fn wait(&mut self) -> Result<Wait, ApiError> {
        match self.text("wait") {
            None => Ok(Wait::default()),
            Some(word) => serde_json::from_value(word.into()).map_err(|_bad| {
                ApiError::new(Code::BadValue, "`wait` is one of all, strict, none")
            }),
        }
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// `unknown_parameter`, naming the nearest known one.
    pub fn finish(self) -> Result<(), ApiError> {
        let unknown = self.given.iter().find(|(given, _)| given != "at_least");
        match unknown {
            None => Ok(()),
            Some((given, _)) => {
                let hint = did_you_mean(given, self.known.iter().copied());
                let message = format!("there is no parameter `{given}` here{hint}");
                Err(ApiError::new(Code::UnknownParameter, message))
            }
        }
    }
}

/// How fresh a read has to be: `?at_least=` or `Gatecast-At-Least`.
///
/// # Errors
/// `bad_value` when it is not a revision.
pub fn at_least(request: &HttpRequest) -> Result<Option<Revision>, ApiError> {
    let bad = || ApiError::new(Code::BadValue, "`at_least` is a revision: a whole number");
    if let Some(header) = request.headers().get("gatecast-at-least") {
        let text = header.to_str().map_err(|_bad| bad())?;
        return text.parse().map(Some).map_err(|_bad| bad());
    }
    if request.query_string().is_empty() {
        return Ok(None);
    }
    let mut params = Params::of(request)?;
    let text = params.text("at_least");
    text.map(|text| text.parse().map_err(|_bad| bad()))
        .transpose()
}

/// How far a narrowing write waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Until every node has enforced it or provably stopped serving.
    #[default]
    All,
    /// As `all`, but a silent node is reported as pending and never counted on.
    Strict,
    /// Not at all: committed, and enforced soon.
    None,
}

impl From<Wait> for BarrierMode {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::All => Self::All,
            Wait::Strict => Self::Strict,
            Wait::None => Self::None,
        }
    }
}

/// An app id: a number, or the same in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum AppIdText {
    /// As a number.
    Number(u64),
    /// As decimal digits.
    Digits(Digits),
}

/// Decimal digits in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Digits(u64);

impl TryFrom<String> for Digits {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
            .map(Self)
            .map_err(|_bad| "an app id is a decimal number")
    }
}

impl AppIdText {
    /// The id, if every JSON reader keeps it exactly.
    ///
    /// # Errors
    /// `bad_value`.
    pub fn read(self) -> Result<AppId, ApiError> {
        let (Self::Number(id) | Self::Digits(Digits(id))) = self;
        match (1..=MAX_EXACT).contains(&id) {
            true => Ok(AppId(id)),
            false => Err(ApiError::new(
                Code::BadValue,
                "an app id is between 1 and 2^53 - 1",
            )),
        }
    }
}

/// The app named in a path.
///
/// # Errors
/// `no_such_app`: what is not a number names no app.
pub fn app_id(text: &str) -> Result<AppId, ApiError> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.map(AppId)
        .ok_or_else(|| ApiError::new(Code::NoSuchApp, "an app id is a decimal number"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_http::BoxedPayloadStream;
    use actix_web::error::PayloadError;
    use actix_web::test::TestRequest;

    fn params(uri: &str) -> Params {
        Params::of(&TestRequest::with_uri(uri).to_http_request()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let pending = futures_util::stream::pending::<Result<web::Bytes, PayloadError>>();
        let pending: BoxedPayloadStream = Box::pin(pending);
        let mut payload = Payload::from(pending);
        let request = TestRequest::post().to_http_request();
        let began = tokio::time::Instant::now();
        let body = Body::<serde_json::Value>::from_request(&request, &mut payload);
        assert_eq!(body.await.unwrap_err().code, Code::TooSlow);
        assert_eq!(began.elapsed(), BODY_WITHIN);
    }

    #[test]
    fn unknown_parameters_are_named_with_the_nearest_known_one() {
        let mut query = params("/x?limt=5&at_least=9");
        assert_eq!(query.limit(10, 100), Ok(10));
        let error = query.finish().unwrap_err();
        assert!(error.message.contains("`limt`") && error.message.contains("`limit`"));
        let mut query = params("/x?limit=5&wait=strict&secrets=true");
        assert_eq!(query.limit(10, 100), Ok(5));
        assert_eq!(query.wait(), Ok(Wait::Strict));
        assert_eq!(query.flag("secrets"), Ok(true));
        assert_eq!(query.finish(), Ok(()));
        assert!(params("/x?limit=0").limit(10, 100).is_err());
        assert!(params("/x?wait=soon").wait().is_err());
    }

    #[test]
    fn a_name_that_no_path_can_carry_stands_in_the_query() {
        assert_eq!(params("/x").name_in("-"), Ok("-".to_owned()));
        assert_eq!(params("/x").name_in("ana"), Ok("ana".to_owned()));
        assert_eq!(params("/x?name=..").name_in("-"), Ok("..".to_owned()));
        assert_eq!(params("/x?name=%2E").name_in("-"), Ok(".".to_owned()));
        let other = params("/x?name=bob").name_in("ana").unwrap_err();
        assert_eq!(other.code, Code::BadValue);
        let mut twice = params("/x?name=a&name=b");
        assert_eq!(twice.name_in("-"), Ok("a".to_owned()));
        assert!(twice.finish().is_err());
    }

    #[test]
    fn freshness_is_read_from_header_or_query() {
        let header = TestRequest::default().insert_header(("Gatecast-At-Least", "7"));
        assert_eq!(at_least(&header.to_http_request()), Ok(Some(7)));
        let query = TestRequest::with_uri("/x?at_least=8").to_http_request();
        assert_eq!(at_least(&query), Ok(Some(8)));
        let bad = TestRequest::with_uri("/x?at_least=soon").to_http_request();
        assert!(at_least(&bad).is_err());
        assert_eq!(
            at_least(&TestRequest::default().to_http_request()),
            Ok(None)
        );
    }

    #[test]
    fn app_ids_are_numbers_that_survive_json() {
        let read = |text: &str| json::<AppIdText>(text.as_bytes()).and_then(AppIdText::read);
        assert_eq!(read("7"), Ok(AppId(7)));
        assert_eq!(read("\"7\""), Ok(AppId(7)));
        assert!(read("0").is_err() && read("9007199254740992").is_err() && read("\"x\"").is_err());
        assert!(app_id("x").is_err() && app_id("0").is_err());
    }
}
