//! What a sandbox runs without although it was asked for.

use std::fmt;

use crate::spec::Resource;

/// What a sandbox runs without although it was asked for; its text is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A limit is lower than asked for, because this process may not raise its own.
    RlimitLowered {
        /// What is limited.
        resource: Resource,
        /// What was asked for; `None` is unlimited.
        asked: Option<u64>,
        /// What it is.
        given: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::RlimitLowered { resource, asked, given } = self;
        let asked = asked.map_or("unlimited".to_owned(), |asked| asked.to_string());
        write!(
            f,
            "the hard limit `{resource}` is {given} and not {asked}: the process may not raise its own (it lacks CAP_SYS_RESOURCE)"
        )
    }
}
