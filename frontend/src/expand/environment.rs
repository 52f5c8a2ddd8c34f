//! Variables by name, in the order in which they were last set.

use std::collections::{BTreeMap, HashMap};

/// Variables by name, in the order in which they were last set: what is set anew goes to the end, and that is where commands find it in their environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Names and values by the number of the setting.
    entries: BTreeMap<usize, (String, String)>,
    /// For each name the number of its setting.
    places: HashMap<String, usize>,
    /// How many settings there were.
    settings: usize,
    size_bytes: usize,
}

impl Environment {
    /// Returns an environment without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads entries of the form `KEY=value`; one without `=` is a key whose value is empty.
    pub fn from_entries<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut environment = Self::new();
        for entry in entries {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            environment.set(key, value);
        }
        environment
    }

    /// Sets a variable; one that is set already goes to the end.
    pub fn set(&mut self, key: &str, value: &str) {
        self.remove(key);
        self.size_bytes += key.len() + value.len();
        self.places.insert(key.to_owned(), self.settings);
        self.entries.insert(self.settings, (key.to_owned(), value.to_owned()));
        self.settings += 1;
    }

    /// Removes a variable.
    pub fn remove(&mut self, key: &str) {
        let Some((key, value)) = self.places.remove(key).and_then(|place| self.entries.remove(&place)) else { return };
        self.size_bytes -= key.len() + value.len();
    }

    /// Returns the value of a variable, or `None` where it is not set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(|place| self.entries[place].1.as_str())
    }

    /// Returns the names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(|(key, _)| key.as_str())
    }

    /// Returns the entries in the form `KEY=value`, in order.
    pub fn to_entries(&self) -> Vec<String> {
        self.entries.values().map(|(key, value)| [key, "=", value].concat()).collect()
    }

    /// Returns how many bytes names and values have together.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_set_anew_goes_to_the_end() {
        let mut environment = Environment::from_entries(["A=1", "B=2=3", "C"]);
        environment.set("A", "4");
        environment.set("D", "");
        assert_eq!(environment.to_entries(), ["B=2=3", "C=", "A=4", "D="]);
        assert_eq!((environment.get("B"), environment.get("E"), environment.size_bytes()), (Some("2=3"), None, 8));
        environment.remove("B");
        assert_eq!((environment.to_entries().join(" "), environment.get("D")), ("C= A=4 D=".to_owned(), Some("")));
    }
}
