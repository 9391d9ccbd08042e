//! Requests to the REST API of a node, each over a connection of its own.

use crate::Error;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Time without a byte from the node after which a request fails. Long polls wait for 120 s at most.
const TIMEOUT: Duration = Duration::from_secs(150);

/// Sends a request to the node at `host`, and returns the JSON of the response; `Value::Null` if it is
/// empty.
pub(crate) fn request(
    host: &str,
    token: &str,
    method: &str,
    path: &str,
    body: Option<(&str, &str)>,
) -> Result<Value, Error> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // The response to a request of HTTP/1.0 ends with the connection, and is not in chunks.
    let mut request =
        format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n");
    if let Some((media_type, text)) = body {
        let length = text.len();
        request += &format!("Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{text}");
    } else {
        request += "\r\n";
    }
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (status, body) = parse(&response)
        .ok_or_else(|| io::Error::other(format!("{host} closed the connection early")))?;
    match status {
        200..400 if body.is_empty() => Ok(Value::Null),
        200..400 => Ok(serde_json::from_str(body)?),
        _ => Err(problem(status, body)),
    }
}

/// The status and body of a response; `None` if it is not complete.
fn parse(response: &str) -> Option<(u16, &str)> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())
    });
    (length.is_none_or(|length| length == Some(body.len()))).then_some((status, body))
}

fn problem(status: u16, body: &str) -> Error {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    Error::Api { status, code: text("code"), detail: text("detail") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_response_is_detected() {
        let response = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(response), Some((200, "{}")));
        for length in 0..response.len() {
            assert_eq!(parse(&response[..length]), None);
        }
    }

    #[test]
    fn problem_has_the_code_and_detail_of_the_node() {
        let error = problem(409, r#"{"code": "nonce-used", "detail": "nonce 4 comes next"}"#);
        assert_eq!(error.to_string(), "nonce 4 comes next (nonce-used)");
    }
}
