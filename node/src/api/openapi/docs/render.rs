//! HTML of JSON Schemas: a line of text with links in place of nested keywords.

use serde_json::Value;
use std::fmt::Write as _;

/// The members of an object in document order; none for other values.
pub(super) fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Escapes text for HTML.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            letter => html.push(letter),
        }
    }
    html
}

/// Escapes text for HTML, with backticks as code.
pub(super) fn prose(text: &str) -> String {
    let mut html = String::new();
    for (number, part) in text.split('`').enumerate() {
        let part = escape(part);
        let _ = if number % 2 == 1 {
            write!(html, "<code>{part}</code>")
        } else {
            write!(html, "{part}")
        };
    }
    html
}

/// A schema in one line of HTML.
pub(super) fn schema_html(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escape(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            return choices.iter().map(schema_html).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(literal).collect::<Vec<_>>().join(" or ");
    }
    if !schema["const"].is_null() {
        return literal(&schema["const"]);
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(|of| type_html(of, schema)).collect(),
        of => vec![type_html(of, schema)],
    };
    types.join(" or ")
}

fn literal(value: &Value) -> String {
    format!("<code>{}</code>", escape(&value.to_string()))
}

fn type_html(of: &Value, schema: &Value) -> String {
    match text(of) {
        "array" => format!("list of {}", schema_html(&schema["items"])),
        "integer" => format!("integer{}", range(schema)),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", schema_html(&schema["additionalProperties"]))
        }
        "string" => match schema["pattern"].as_str() {
            Some(pattern) => format!("text <code class=\"pattern\">{}</code>", escape(pattern)),
            None => "text".to_owned(),
        },
        "" => "bytes".to_owned(),
        other => escape(other),
    }
}

fn range(schema: &Value) -> String {
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!(" {least} to {most}"),
        (Some(least), None) => format!(" from {least}"),
        (None, Some(most)) => format!(" up to {most}"),
        (None, None) => String::new(),
    }
}

/// A schema with its properties in HTML.
pub(super) fn schema_details(schema: &Value) -> String {
    let mut html = String::new();
    if let Some(description) = schema["description"].as_str() {
        let _ = write!(html, "<p>{}</p>", prose(description));
    }
    if !schema["properties"].is_null() {
        html.push_str(&properties_table(schema));
    }
    for choice in ["oneOf", "anyOf"] {
        for (number, one) in schema[choice].as_array().into_iter().flatten().enumerate() {
            let or = if number == 0 { "" } else { "<p class=\"or\">or</p>" };
            let has_fields = !one["properties"].is_null();
            let shown = if has_fields {
                schema_details(one)
            } else {
                format!("<p>{}</p>", choice_html(one))
            };
            let _ = write!(html, "{or}{shown}");
        }
    }
    let is_plain = ["properties", "oneOf", "anyOf"].iter().all(|key| schema[key].is_null());
    if is_plain {
        let _ = write!(html, "<p>{}</p>", schema_html(schema));
    }
    html
}

fn choice_html(schema: &Value) -> String {
    match schema["description"].as_str() {
        Some(description) => format!("{}: {}", schema_html(schema), prose(description)),
        None => schema_html(schema),
    }
}

fn properties_table(schema: &Value) -> String {
    let required = schema["required"].as_array();
    let mut html = "<table>".to_owned();
    for (name, field) in members(&schema["properties"]) {
        let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
        let _ = write!(
            html,
            "<tr><th><code>{}</code>{}</th><td>{}</td><td>{}</td></tr>",
            escape(name),
            if is_required { "" } else { "?" },
            schema_html(field),
            prose(text(&field["description"])),
        );
    }
    html.push_str("</table>");
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // R22
    #[test]
    fn escapes_markup() {
        assert_eq!(escape("<script>\"&\""), "&lt;script&gt;&quot;&amp;&quot;");
        assert_eq!(prose("a `<b>` c"), "a <code>&lt;b&gt;</code> c");
    }

    #[test]
    fn renders_a_schema_in_one_line() {
        let reference = json!({"type": "array", "items": {"$ref": "#/components/schemas/Tip"}});
        assert_eq!(schema_html(&reference), "list of <a href=\"#schema-Tip\">Tip</a>");
        let number = json!({"type": ["integer", "null"], "minimum": 1, "maximum": 9});
        assert_eq!(schema_html(&number), "integer 1 to 9 or null");
        assert_eq!(
            schema_html(&json!({"enum": ["a", "b"]})),
            "<code>&quot;a&quot;</code> or <code>&quot;b&quot;</code>"
        );
    }
}
