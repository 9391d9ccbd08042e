//! Rewrites schemas into forms that generators of clients understand. Every instance that was valid
//! stays valid.

use serde_json::{Map, Value, json};

/// Rewrites all schemas in a document:
/// - A choice between constant texts becomes an `enum`.
/// - Members of an object that an `anyOf` with an empty schema makes optional, as `schemars` describes
///   a flattened `Option`, become optional properties.
/// - Properties beside a choice between objects become properties of each of them.
pub(super) fn simplify(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(members) => {
            members.values_mut().for_each(simplify);
            texts_to_enum(members);
            optional_members_to_properties(members);
            distribute_properties(members);
        }
        _ => {}
    }
}

/// The texts that a schema of constant texts allows.
fn texts(schema: &Value) -> Option<Vec<Value>> {
    if schema["type"] != "string" {
        return None;
    }
    match (&schema["const"], &schema["enum"]) {
        (Value::String(text), _) => Some(vec![text.as_str().into()]),
        (_, Value::Array(texts)) => Some(texts.clone()),
        _ => None,
    }
}

fn texts_to_enum(schema: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = schema.get("oneOf") else { return };
    let Some(all) = choices.iter().map(texts).collect::<Option<Vec<_>>>() else { return };
    let mut description = schema.get("description").and_then(Value::as_str).map(ToOwned::to_owned);
    for (texts, choice) in all.iter().zip(choices) {
        if let (Some(text), Some(meaning)) = (texts[0].as_str(), choice["description"].as_str()) {
            let before = description.map(|before| before + " ").unwrap_or_default();
            description = Some(format!("{before}`{text}`: {meaning}"));
        }
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), all.concat().into());
    schema.extend(description.map(|text| ("description".to_owned(), text.into())));
}

fn optional_members_to_properties(schema: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = schema.get("anyOf") else { return };
    if !choices.contains(&json!({})) || !schema.contains_key("properties") {
        return;
    }
    let variants = choices.iter().flat_map(|choice| match &choice["oneOf"] {
        Value::Array(variants) => variants.clone(),
        _ => vec![choice.clone()],
    });
    let variants: Vec<Value> = variants.collect();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for variant in variants {
        for (name, property) in variant["properties"].as_object().into_iter().flatten() {
            let either = match properties.get(name) {
                None => property.clone(),
                Some(known) if known == property => continue,
                Some(known) => match (texts(known), texts(property)) {
                    (Some(known), Some(more)) => {
                        let all = [known, more].concat();
                        json!({"type": "string", "enum": all})
                    }
                    _ => json!({"anyOf": [known, property]}),
                },
            };
            properties.insert(name.clone(), either);
        }
    }
    schema.remove("anyOf");
}

fn distribute_properties(schema: &mut Map<String, Value>) {
    let Some(Value::Object(shared)) = schema.get("properties").cloned() else { return };
    let required = schema.get("required").cloned().unwrap_or_else(|| json!([]));
    for choice in ["oneOf", "anyOf"] {
        let Some(Value::Array(variants)) = schema.get_mut(choice) else { continue };
        if !variants.iter().all(|variant| variant["properties"].is_object()) {
            continue;
        }
        for variant in variants {
            let (own, own_required) = (variant["properties"].take(), variant["required"].take());
            let own = own.as_object().into_iter().flatten();
            let mut properties = shared.clone();
            properties.extend(own.map(|(name, property)| (name.clone(), property.clone())));
            variant["properties"] = properties.into();
            let names = [&required, &own_required].into_iter().filter_map(Value::as_array);
            variant["required"] = names.flatten().cloned().collect::<Vec<_>>().into();
        }
        for name in ["properties", "required", "type"] {
            schema.remove(name);
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplified(mut schema: Value) -> Value {
        simplify(&mut schema);
        schema
    }

    #[test]
    fn choice_of_texts_is_an_enum() {
        let schema = json!({"description": "A state.", "oneOf": [
            {"type": "string", "const": "on", "description": "It runs."},
            {"type": "string", "enum": ["off", "failed"]},
        ]});
        let expected = json!({
            "type": "string", "enum": ["on", "off", "failed"],
            "description": "A state. `on`: It runs.",
        });
        assert_eq!(simplified(schema), expected);
    }

    #[test]
    fn flattened_option_is_optional_properties() {
        let member = |of: &str| {
            let kind = json!({"type": "string", "const": of});
            json!({"type": "object", "properties": {"kind": kind, of: {"type": "integer"}}})
        };
        let schema = json!({
            "type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"],
            "anyOf": [{"oneOf": [member("a"), member("b")]}, {}],
        });
        let expected = json!({
            "type": "object", "required": ["id"],
            "properties": {
                "id": {"type": "string"}, "kind": {"type": "string", "enum": ["a", "b"]},
                "a": {"type": "integer"}, "b": {"type": "integer"},
            },
        });
        assert_eq!(simplified(schema), expected);
    }

    #[test]
    fn properties_beside_a_choice_are_part_of_each_variant() {
        let own = |name: &str| json!({"properties": {name: {}}, "required": [name]});
        let schema = json!({
            "type": "object", "properties": {"id": {}}, "required": ["id"],
            "oneOf": [own("a"), own("b")],
        });
        let variant =
            |name: &str| json!({"properties": {"id": {}, name: {}}, "required": ["id", name]});
        assert_eq!(simplified(schema), json!({"oneOf": [variant("a"), variant("b")]}));
    }
}
