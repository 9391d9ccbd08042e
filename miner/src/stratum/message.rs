//! Lines: what a miner asks, and how it is answered. JSON-RPC of a kind: one object a line, replies
//! in the order of the requests, each with the `id` of its request as it came.

use serde_json::{Value, json};

/// Most bytes of a line, without its end. No miner sends or takes more.
pub const MAX_LINE_BYTES: usize = 4_096;

/// Most bytes of a request's id: more would make its reply too long a line.
const MAX_ID: usize = 1_024;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// It wants something.
    Request(Request),
    /// It answers something that nobody asked.
    Reply,
    /// It is no message at all.
    Garbage,
}

/// A request, or a notification if its id is null.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// Whatever the miner chose; null if there is none.
    pub id: Value,
    pub method: String,
    /// Null if there are none.
    pub params: Value,
}

/// Reads a line.
pub(super) fn read(line: &[u8]) -> Message {
    if line.len() > MAX_LINE_BYTES {
        return Message::Garbage;
    }
    let Ok(Value::Object(mut members)) = serde_json::from_slice(line) else {
        return Message::Garbage;
    };
    let mut take = |name| members.remove(name).unwrap_or(Value::Null);
    let (method, id) = (take("method"), take("id"));
    if line.len() > MAX_ID && id.to_string().len() > MAX_ID {
        return Message::Garbage;
    }
    match method {
        Value::String(method) => Message::Request(Request { id, method, params: take("params") }),
        Value::Null => Message::Reply,
        _ => Message::Garbage,
    }
}

/// Why a request is refused. The numbers are the protocol's; some miners look for the word "job"
/// to tell what is merely late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Malformed, or not to be had.
    Other(&'static str),
    /// A job that this miner was not given, or one of long ago.
    UnknownJob,
    /// A job of an old tip.
    StaleJob,
    Duplicate,
    LowDifficulty,
    Unauthorized(&'static str),
    NotSubscribed,
}

impl Refusal {
    fn code(self) -> u8 {
        match self {
            Refusal::Other(_) => 20,
            Refusal::UnknownJob | Refusal::StaleJob => 21,
            Refusal::Duplicate => 22,
            Refusal::LowDifficulty => 23,
            Refusal::Unauthorized(_) => 24,
            Refusal::NotSubscribed => 25,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Refusal::Other(text) | Refusal::Unauthorized(text) => text,
            Refusal::UnknownJob => "Job not found",
            Refusal::StaleJob => "Job not found: a new block has come",
            Refusal::Duplicate => "Duplicate share",
            Refusal::LowDifficulty => "Low difficulty share",
            Refusal::NotSubscribed => "Not subscribed",
        }
    }
}

/// The line that answers a request.
pub(super) fn reply(id: &Value, answer: Result<Value, Refusal>) -> String {
    let answer = match answer {
        Ok(result) => json!({ "id": id, "result": result, "error": null }),
        Err(why) => {
            json!({ "id": id, "result": null, "error": [why.code(), why.text(), null] })
        }
    };
    answer.to_string()
}

/// A line that answers nothing.
pub(super) fn notification(method: &str, params: &Value) -> String {
    json!({ "id": null, "method": method, "params": params }).to_string()
}

/// A number as miners write them: as one, as text, or as the first of a list.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(list) => list.first().filter(|first| !first.is_array()).and_then(number),
        _ => None,
    }
}

/// Up to 8 hexadecimal digits in either case, as the low end of 32 bits.
pub(super) fn word(value: &Value) -> Option<u32> {
    let text = value.as_str()?;
    let is_hex = (1..=8).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Q06
    #[test]
    fn a_line_is_a_request_or_a_reply_or_nothing() {
        for garbage in [
            &b""[..],
            b"\xff\xfe",
            b"{",
            b"[]",
            b"7",
            b"null",
            b"{\"method\":7}",
            b"{\"id\":1,\"method\":\"a\"} x",
            b"GET / HTTP/1.1\r",
            "[".repeat(4_096).as_bytes(),
            &[b' '; MAX_LINE_BYTES + 1],
        ] {
            assert_eq!(read(garbage), Message::Garbage, "{}", String::from_utf8_lossy(garbage));
        }
        let long =
            |digits: usize| format!("{{\"id\":\"{}\",\"method\":\"a\"}}", "7".repeat(digits));
        assert_eq!(read(long(MAX_ID - 1).as_bytes()), Message::Garbage);
        let Message::Request(request) = read(long(MAX_ID - 2).as_bytes()) else { panic!() };
        let longest = reply(&request.id, Err(Refusal::Other("A share has five fields, or six")));
        assert!(longest.len() <= MAX_LINE_BYTES);
        assert_eq!(read(b"{\"id\":3,\"result\":true,\"error\":null}"), Message::Reply);
        let request = Request { id: json!("a"), method: "b".to_owned(), params: json!([1]) };
        let line = b" {\"params\":[1],\"id\":\"a\",\"method\":\"b\",\"more\":{}}\r";
        assert_eq!(read(line), Message::Request(request));
        let bare = Request { id: Value::Null, method: "b".to_owned(), params: Value::Null };
        assert_eq!(read(b"{\"method\":\"b\"}"), Message::Request(bare));
    }

    #[test]
    fn numbers_come_in_many_forms() {
        for (value, expected) in [
            (json!(0.5), Some(0.5)),
            (json!(3), Some(3.0)),
            (json!(" 0.500000"), Some(0.5)),
            (json!(["0.5"]), Some(0.5)),
            (json!([1000, 7]), Some(1_000.0)),
            (json!("x"), None),
            (json!([]), None),
            (json!([[1]]), None),
            (json!(null), None),
        ] {
            assert_eq!(number(&value), expected, "{value}");
        }
        for (text, expected) in [
            ("1", Some(1)),
            ("DeadBeef", Some(0xdead_beef)),
            ("", None),
            ("+1", None),
            ("0x1", None),
            ("123456789", None),
        ] {
            assert_eq!(word(&json!(text)), expected, "{text}");
        }
        assert_eq!(word(&json!(7)), None);
    }
}
