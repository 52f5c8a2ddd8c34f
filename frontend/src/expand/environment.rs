//! Variables by name, in the order in which they were last set.

use std::collections::{BTreeMap, HashMap};

use llb::Variable;

/// Variables by name, in the order in which they were last set: what is set anew goes to the end, and that is where commands find it in their environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The variables by the number of the setting.
    entries: BTreeMap<usize, Entry>,
    /// For each name the number of its setting.
    places: HashMap<String, usize>,
    /// How many settings there were.
    settings: usize,
    size_bytes: usize,
}

/// A variable; all commands that have it share it.
#[derive(Clone, Debug)]
struct Entry {
    variable: Variable,
    key_bytes: usize,
}

impl Entry {
    fn key(&self) -> &str {
        &self.variable[..self.key_bytes]
    }

    fn value(&self) -> &str {
        &self.variable[self.key_bytes + 1..]
    }
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
        let variable = [key, "=", value].concat().into();
        self.entries.insert(self.settings, Entry { variable, key_bytes: key.len() });
        self.settings += 1;
    }

    /// Removes a variable.
    pub fn remove(&mut self, key: &str) {
        let removed = self.places.remove(key).and_then(|place| self.entries.remove(&place));
        self.size_bytes -= removed.map_or(0, |entry| entry.key().len() + entry.value().len());
    }

    /// Returns the value of a variable, or `None` where it is not set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(|place| self.entries[place].value())
    }

    /// Returns the names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(Entry::key)
    }

    /// Returns how many variables there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no variable.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entries in the form `KEY=value`, in order.
    pub fn to_entries(&self) -> Vec<Variable> {
        self.entries.values().map(|entry| entry.variable.clone()).collect()
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
        let entries = |environment: &Environment| {
            environment.to_entries().iter().map(|entry| format!("{} ", &**entry)).collect::<String>()
        };
        assert_eq!(entries(&environment), "B=2=3 C= A=4 D= ");
        assert_eq!((environment.get("B"), environment.get("E"), environment.size_bytes()), (Some("2=3"), None, 8));
        environment.remove("B");
        assert_eq!((entries(&environment).as_str(), environment.get("D")), ("C= A=4 D= ", Some("")));
    }
}
