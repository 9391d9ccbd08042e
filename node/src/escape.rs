//! Escaping of text that others supplied, for display on a terminal.

use serde::de::IgnoredAny;
use std::fmt::Write;

/// Escapes the characters of a text that a terminal executes, hides or reorders by: control
/// characters, line and paragraph separators, directional formatting, and characters without width.
pub fn printable(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_printable(letter) {
            escaped.push(letter);
        } else {
            escaped.extend(letter.escape_default());
        }
    }
    escaped
}

/// Writes a JSON text on one line, without white space, and escapes the characters of its strings
/// that `printable` escapes. The value, the order of its members and its numbers stay the same.
///
/// # Errors
/// Returns the error of the parser if the text is not JSON.
pub fn printable_json(text: &str) -> serde_json::Result<String> {
    serde_json::from_str::<IgnoredAny>(text)?;
    let mut line = String::with_capacity(text.len());
    let (mut in_string, mut is_escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            _ if !in_string && letter.is_ascii_whitespace() => continue,
            '"' if !is_escaped => in_string = !in_string,
            _ => {}
        }
        is_escaped = in_string && letter == '\\' && !is_escaped;
        push_json(&mut line, letter);
    }
    Ok(line)
}

/// Escapes the characters of a JSON text that `printable` escapes; they occur only in its strings.
pub fn printable_in_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|letter| push_json(&mut escaped, letter));
    escaped
}

fn push_json(line: &mut String, letter: char) {
    if is_printable(letter) {
        return line.push(letter);
    }
    for unit in letter.encode_utf16(&mut [0; 2]) {
        // Writing to a string does not fail.
        let _ = write!(line, "\\u{unit:04x}");
    }
}

/// Whether a terminal shows the character, and nothing else happens. Source: the categories Cc, Zl
/// and Zp and the property `Default_Ignorable_Code_Point` of Unicode 17, and the format characters
/// (Cf) beyond it.
fn is_printable(letter: char) -> bool {
    !(letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    // R22
    #[test]
    fn hidden_and_reordering_characters_are_escaped() {
        let hostile =
            "pay\u{202e}drow\u{2066}\u{200b}\u{200d}\u{2028}\u{feff}\u{ad}\u{e0041}\u{9b}2J";
        let escaped = printable(hostile);
        assert!(escaped.starts_with("pay\\u{202e}drow\\u{2066}\\u{200b}"), "{escaped}");
        assert!(escaped.is_ascii(), "{escaped}");
        let ordinary = "Übung für 2 – «日本語» שלום 🙂";
        assert_eq!(printable(ordinary), ordinary);
    }

    // R22
    #[test]
    fn json_is_escaped_without_changing_its_value() {
        let text = "{ \"z\": 1.50,\r\n \"a\": \"\u{9b}2J\u{202e}\\\\\\\"\u{e0041} b\\u001b[2J\" ,\t\"b\":[ ]}";
        let line = printable_json(text).unwrap();
        assert!(line.starts_with("{\"z\":1.50,\"a\":\"\\u009b2J\\u202e"), "{line}");
        assert!(line.is_ascii() && line.ends_with(" b\\u001b[2J\",\"b\":[]}"), "{line}");
        let [before, after] = [text, &line].map(|it| serde_json::from_str::<Value>(it).unwrap());
        assert_eq!(before, after);
    }

    // R22: an escape sequence is no JSON, in a string as little as outside.
    #[test]
    fn text_other_than_json_is_not_printed() {
        for hostile in ["", "{", "\u{1b}[2J", "{}\u{1b}[2J", "\"\u{1b}[2J\"", "{} {}"] {
            assert!(printable_json(hostile).is_err(), "{hostile:?}");
        }
    }
}
