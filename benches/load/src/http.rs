//! Reads the answers on a keep-alive HTTP/1.1 connection.
//!
//! **Must never know:** what was asked. Not a client library: it must cost little beside the server.

use memchr::memmem;

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body's text.
    pub body: String,
    /// The server will close the connection after it.
    pub closes: bool,
}

/// The bytes of answers that are not whole yet.
#[derive(Default)]
pub struct Answers {
    pending: Vec<u8>,
}

impl Answers {
    /// Takes in what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole answer. A head without a length or status is an error text.
    ///
    /// # Errors
    /// What could not be read, for the operator.
    pub fn take(&mut self) -> Result<Option<Answer>, String> {
        let Some(end) = memmem::find(&self.pending, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(self.pending.get(..end).unwrap_or_default());
        let head = head.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let length = field(&head, "content-length").and_then(|n| n.parse::<usize>().ok());
        let (Some(status), Some(length)) = (status, length) else {
            return Err(format!("an answer that cannot be read: {head}"));
        };
        let Some(body) = self.pending.get(end + 4..end + 4 + length) else {
            return Ok(None);
        };
        let answer = Answer {
            status,
            body: String::from_utf8_lossy(body).into_owned(),
            closes: field(&head, "connection").is_some_and(|value| value == "close"),
        };
        self.pending.drain(..end + 4 + length);
        Ok(Some(answer))
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    head.lines().find_map(line).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\
        HTTP/1.1 429 Too Many\r\nconnection: close\r\ncontent-length: 4\r\n\r\nslow";

    #[test]
    fn answers_are_told_apart_wherever_they_are_cut() {
        for at in 0..TWO.len() {
            let (before, after) = TWO.split_at(at);
            let (mut answers, mut got) = (Answers::default(), Vec::new());
            for part in [before, after] {
                answers.feed(part);
                while let Ok(Some(answer)) = answers.take() {
                    got.push((answer.status, answer.body, answer.closes));
                }
            }
            assert_eq!(
                got,
                [(200, "{}".into(), false), (429, "slow".into(), true)],
                "cut at {at}"
            );
        }
    }

    #[test]
    fn an_answer_without_length_is_an_error() {
        let mut answers = Answers::default();
        answers.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(answers.take().is_err());
    }
}
