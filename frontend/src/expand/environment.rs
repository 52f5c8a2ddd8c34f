//! Variables by name, in the order in which they were first set.

use std::collections::HashMap;

/// Variables by name, in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    entries: Vec<(String, String)>,
    places: HashMap<String, usize>,
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

    /// Sets a variable; one that is set already keeps its place.
    pub fn set(&mut self, key: &str, value: &str) {
        if let Some(place) = self.places.get(key) {
            let entry = &mut self.entries[*place].1;
            self.size_bytes = self.size_bytes - entry.len() + value.len();
            entry.clear();
            entry.push_str(value);
            return;
        }
        self.size_bytes += key.len() + value.len();
        self.places.insert(key.to_owned(), self.entries.len());
        self.entries.push((key.to_owned(), value.to_owned()));
    }

    /// Removes a variable.
    pub fn remove(&mut self, key: &str) {
        let kept = std::mem::take(self).entries.into_iter().filter(|(name, _)| name != key);
        kept.for_each(|(key, value)| self.set(&key, &value));
    }

    /// Returns the value of a variable, or `None` where it is not set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(|place| self.entries[*place].1.as_str())
    }

    /// Returns the names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// Returns the entries in the form `KEY=value`, in order.
    pub fn to_entries(&self) -> Vec<String> {
        self.entries.iter().map(|(key, value)| format!("{key}={value}")).collect()
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
    fn a_variable_keeps_the_place_where_it_was_first_set() {
        let mut environment = Environment::from_entries(["A=1", "B=2=3", "C"]);
        environment.set("A", "4");
        environment.set("D", "");
        assert_eq!(environment.to_entries(), ["A=4", "B=2=3", "C=", "D="]);
        assert_eq!((environment.get("B"), environment.get("E"), environment.size_bytes()), (Some("2=3"), None, 8));
        environment.remove("B");
        assert_eq!((environment.to_entries().join(" "), environment.get("D")), ("A=4 C= D=".to_owned(), Some("")));
    }
}
