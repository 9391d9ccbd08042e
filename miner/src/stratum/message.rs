//! The messages of the protocol: JSON-RPC with one object per line. Responses are in the order of
//! the requests, each with the `id` of its request unchanged.

use super::difficulty::Difficulty;
use chain::Target;
use serde_json::{Value, json};

/// The maximum length of a line in bytes, without the line feed. No miner sends or accepts more.
pub const MAX_LINE_BYTES: usize = 4_096;

/// The maximum length of a request id in bytes: a longer one would exceed the line limit in the
/// response.
const MAX_ID_BYTES: usize = 1_024;

/// A line from a miner, parsed as JSON-RPC.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Request(Request),
    /// A response, though the server sends no requests.
    Response,
    /// The line is not a JSON-RPC message.
    Malformed,
}

/// A request; a notification if its id is null.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// Any JSON value; null if absent.
    pub id: Value,
    pub method: String,
    /// The parameters of the method: any JSON value, null if absent.
    pub params: Value,
}

/// Parses a line from a miner as a JSON-RPC message.
pub(super) fn parse(line: &[u8]) -> Message {
    if line.len() > MAX_LINE_BYTES {
        return Message::Malformed;
    }
    let Ok(Value::Object(mut members)) = serde_json::from_slice(line) else {
        return Message::Malformed;
    };
    let mut member = |name| members.remove(name).unwrap_or(Value::Null);
    let (method, id) = (member("method"), member("id"));
    if line.len() > MAX_ID_BYTES && id.to_string().len() > MAX_ID_BYTES {
        return Message::Malformed;
    }
    match method {
        Value::String(method) => Message::Request(Request { id, method, params: member("params") }),
        Value::Null => Message::Response,
        _ => Message::Malformed,
    }
}

/// The reason for the rejection of a request. The codes are those of the protocol. Some miners
/// search the text for the word "job" to detect stale shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectReason {
    /// The request is malformed or unsupported; the value is the text of the error.
    Other(&'static str),
    /// The job was not sent to this session, or has expired.
    UnknownJob,
    /// The job is of an old tip.
    StaleJob,
    /// The job is of the time before the difficulty was raised.
    ExpiredJob,
    /// No block can be mined at present; the miner was sent the reason.
    NoWork,
    Duplicate,
    LowDifficulty,
    Unauthorized(&'static str),
    NotSubscribed,
}

impl RejectReason {
    fn code_and_text(self) -> (u8, &'static str) {
        match self {
            RejectReason::Other(text) => (20, text),
            RejectReason::UnknownJob => (21, "Job not found"),
            RejectReason::StaleJob => (21, "Job not found: superseded by a new block"),
            RejectReason::ExpiredJob => (21, "Job not found: superseded by a higher difficulty"),
            RejectReason::NoWork => (20, "No block can be mined at present"),
            RejectReason::Duplicate => (22, "Duplicate share"),
            RejectReason::LowDifficulty => (23, "Low difficulty share"),
            RejectReason::Unauthorized(text) => (24, text),
            RejectReason::NotSubscribed => (25, "Not subscribed"),
        }
    }
}

/// Formats the response to a request.
pub(super) fn response(id: &Value, result: Result<Value, RejectReason>) -> String {
    let response = match result {
        Ok(result) => json!({ "id": id, "result": result, "error": null }),
        Err(reason) => {
            let (code, text) = reason.code_and_text();
            json!({ "id": id, "result": null, "error": [code, text, null] })
        }
    };
    response.to_string()
}

/// Formats a notification of the server as a line without its end.
pub(super) fn notification(method: &str, params: &Value) -> String {
    json!({ "id": null, "method": method, "params": params }).to_string()
}

/// Parses a number in the forms that miners send: a JSON number, a string, or either as the first
/// element of an array.
pub(super) fn parse_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(list) => list.first().filter(|first| !first.is_array()).and_then(parse_number),
        _ => None,
    }
}

/// Parses up to 8 hexadecimal digits of either case as a 32-bit word.
pub(super) fn parse_hex_word(value: &Value) -> Option<u32> {
    let text = value.as_str()?;
    let is_hex = (1..=8).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// Parses the target of `mining.suggest_target`: 64 hexadecimal digits, most significant first.
pub(super) fn parse_target(text: &str) -> Option<Target> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Target::from_be_bytes(bytes)
}

/// The difficulty that a password requests by pools' convention: `d=NUMBER` among words that are
/// separated by commas, semicolons or spaces.
pub(super) fn difficulty_of_password(password: &str) -> Option<Difficulty> {
    let mut words = password.split([',', ';', ' ']);
    let value = words.find_map(|word| word.trim().strip_prefix("d="))?;
    value.trim().parse().ok().and_then(Difficulty::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Q06
    #[test]
    fn parses_requests_responses_and_malformed_lines() {
        for malformed in [
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
            assert_eq!(
                parse(malformed),
                Message::Malformed,
                "{}",
                String::from_utf8_lossy(malformed)
            );
        }
        let long =
            |digits: usize| format!("{{\"id\":\"{}\",\"method\":\"a\"}}", "7".repeat(digits));
        assert_eq!(parse(long(MAX_ID_BYTES - 1).as_bytes()), Message::Malformed);
        let Message::Request(request) = parse(long(MAX_ID_BYTES - 2).as_bytes()) else { panic!() };
        let longest =
            response(&request.id, Err(RejectReason::Other("A share has five or six fields")));
        assert!(longest.len() <= MAX_LINE_BYTES);
        assert_eq!(parse(b"{\"id\":3,\"result\":true,\"error\":null}"), Message::Response);
        let request = Request { id: json!("a"), method: "b".to_owned(), params: json!([1]) };
        let line = b" {\"params\":[1],\"id\":\"a\",\"method\":\"b\",\"more\":{}}\r";
        assert_eq!(parse(line), Message::Request(request));
        let bare = Request { id: Value::Null, method: "b".to_owned(), params: Value::Null };
        assert_eq!(parse(b"{\"method\":\"b\"}"), Message::Request(bare));
    }

    #[test]
    fn password_requests_a_difficulty_among_other_words() {
        for (password, expected) in [
            ("d=0.01", Some(0.01)),
            ("x,d=1024", Some(1_024.0)),
            ("stats; d=2 ;m=solo", Some(2.0)),
            ("d=1e-3 x", Some(0.001)),
            ("x", None),
            ("", None),
            ("d=", None),
            ("d=-1", None),
            ("d=nan", None),
            ("id=5", None),
        ] {
            let difficulty = difficulty_of_password(password).map(Difficulty::get);
            assert_eq!(difficulty, expected, "{password}");
        }
    }

    #[test]
    fn target_is_64_digits() {
        let one = format!("00000000ffff{}", "0".repeat(52));
        assert_eq!(parse_target(&one).map(crate::stratum::difficulty::of), Some(1.0));
        for bad in [&"0".repeat(64), "ffff", &format!("0x{}", "f".repeat(62)), &"f".repeat(66)] {
            assert_eq!(parse_target(bad), None, "{bad}");
        }
    }

    #[test]
    fn parses_numbers_in_every_form_miners_send() {
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
            assert_eq!(parse_number(&value), expected, "{value}");
        }
        for (text, expected) in [
            ("1", Some(1)),
            ("DeadBeef", Some(0xdead_beef)),
            ("", None),
            ("+1", None),
            ("0x1", None),
            ("123456789", None),
        ] {
            assert_eq!(parse_hex_word(&json!(text)), expected, "{text}");
        }
        assert_eq!(parse_hex_word(&json!(7)), None);
    }
}
