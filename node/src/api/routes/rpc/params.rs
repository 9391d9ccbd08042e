//! The parameters of a call, by position or by name.

use super::error::Error;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// The parameters of a call by name. They are decoded when the method reads them.
#[derive(Debug, Default)]
pub(super) struct Params<'a>(BTreeMap<&'static str, &'a RawValue>);

impl<'a> Params<'a> {
    /// Assigns the parameters of a call to the names of its method.
    ///
    /// # Errors
    /// There are too many, one is unknown, or they are neither in an array nor in an object.
    pub(super) fn bind(
        given: Option<&'a RawValue>,
        names: &'static [&'static str],
    ) -> Result<Params<'a>, Error> {
        let Some(given) = given else { return Ok(Params::default()) };
        Names(names)
            .deserialize(&mut serde_json::Deserializer::from_str(given.get()))
            .map(Params)
            .map_err(|error| {
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Error::new(Error::INVALID_PARAMS, format!("{error}; parameters: {names}"))
            })
    }

    /// A parameter; `None` if it is absent or null.
    ///
    /// # Errors
    /// It has the wrong type.
    pub(super) fn get<T: Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, Error> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(value.get())
            .map_err(|error| Error::new(Error::TYPE, format!("{name}: {error}")))
    }

    /// A parameter that must be present.
    ///
    /// # Errors
    /// It is absent, null or of the wrong type.
    pub(super) fn require<T: Deserialize<'a>>(&self, name: &'static str) -> Result<T, Error> {
        self.get(name)?.ok_or_else(|| {
            Error::new(Error::INVALID_PARAMS, format!("the parameter `{name}` is missing"))
        })
    }
}

/// The names of a method's parameters, in order.
struct Names(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Names {
    type Value = BTreeMap<&'static str, &'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = BTreeMap<&'static str, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters in an array or an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut params, mut names) = (BTreeMap::new(), self.0.iter());
        while let Some(value) = list.next_element()? {
            let name = names.next().ok_or_else(|| A::Error::custom("too many parameters"))?;
            params.insert(*name, value);
        }
        Ok(params)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut params = BTreeMap::new();
        while let Some((given, value)) = members.next_entry::<String, _>()? {
            let name = self.0.iter().find(|name| **name == given).ok_or_else(|| {
                A::Error::custom(format_args!("unknown parameter `{}`", given.escape_debug()))
            })?;
            if params.insert(*name, value).is_some() {
                return Err(A::Error::custom(format_args!("two parameters `{name}`")));
            }
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["height", "verbose"];

    fn bind(params: &str) -> Result<(Option<u32>, Option<bool>), i32> {
        let raw: &RawValue = serde_json::from_str(params).unwrap();
        let read = |params: Params<'_>| Ok((params.get("height")?, params.get("verbose")?));
        Params::bind(Some(raw), NAMES).and_then(read).map_err(|error| error.code)
    }

    #[test]
    fn parameters_are_bound_by_position_or_name() {
        for (params, expected) in [
            ("null", (None, None)),
            ("[]", (None, None)),
            ("{}", (None, None)),
            ("[7]", (Some(7), None)),
            ("[null, true]", (None, Some(true))),
            ("{\"verbose\": false, \"height\": 3}", (Some(3), Some(false))),
        ] {
            assert_eq!(bind(params), Ok(expected), "{params}");
        }
        assert_eq!(Params::bind(None, NAMES).unwrap().get::<u32>("height"), Ok(None));
    }

    #[test]
    fn unfit_parameters_are_rejected() {
        for (params, code) in [
            ("[1, true, 2]", Error::INVALID_PARAMS),
            ("{\"Height\": 1}", Error::INVALID_PARAMS),
            ("{\"height\": 1, \"height\": 2}", Error::INVALID_PARAMS),
            ("7", Error::INVALID_PARAMS),
            ("\"height\"", Error::INVALID_PARAMS),
            ("[\"1\"]", Error::TYPE),
            ("[1.5]", Error::TYPE),
            ("{\"verbose\": 1}", Error::TYPE),
        ] {
            assert_eq!(bind(params), Err(code), "{params}");
        }
        let none: &RawValue = serde_json::from_str("[1]").unwrap();
        let error = Params::bind(Some(none), &[]).unwrap_err();
        assert_eq!(error.code, Error::INVALID_PARAMS);
        let missing = Params::default().require::<u32>("height").unwrap_err();
        assert_eq!(missing.message, "the parameter `height` is missing");
    }
}
