//! A variable of a command, in the form `KEY=value`.
//!
//! The commands of a stage share their variables, and the digest of each command is that of its JSON, which is mostly variables: so that of a variable is written
//! once.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A variable in the form `KEY=value`; a copy is the same one.
#[derive(Clone)]
pub struct Variable(Arc<Written>);

struct Written {
    text: String,
    /// The text as JSON.
    json: Box<RawValue>,
}

impl From<String> for Variable {
    fn from(text: String) -> Self {
        let json = to_raw_value(&text).expect("a text is JSON whatever it has in it");
        Self(Arc::new(Written { text, json }))
    }
}

impl Deref for Variable {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl PartialEq for Variable {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Variable {}

impl fmt::Debug for Variable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, out)
    }
}

impl Serialize for Variable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_variable_is_its_text_in_json_too(text in "(?s).{0,8}|[A=\"\\\\/\u{1}\n\t\u{7f}\u{2028}é]{0,8}") {
            let variable = Variable::from(text.clone());
            prop_assert_eq!(serde_json::to_string(&variable).unwrap(), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(serde_json::to_value(&variable).unwrap(), serde_json::Value::from(text.clone()));
            prop_assert_eq!(format!("{variable:?}"), format!("{text:?}"));
        }
    }
}
