//! `--call METHOD[,format=json]`: what is asked of a Dockerfile.

use std::str::FromStr;

use clap::ValueEnum;

/// The value of `--call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What is asked.
    pub(crate) method: Method,
    /// How the answer is printed.
    pub(crate) form: Form,
}

/// What is asked of a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// That it is built.
    Build,
    /// Which files its steps take of directories.
    Context,
}

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Why a text is no value of `--call`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallParseError {
    /// There is no such method.
    #[error("unknown method `{0}`: expected build or context")]
    Method(String),
    /// There is no such option.
    #[error("unknown option `{0}`: expected format=json or format=text")]
    Option(String),
}

impl FromStr for Call {
    type Err = CallParseError;

    fn from_str(text: &str) -> Result<Self, CallParseError> {
        let mut parts = text.split(',');
        let method = match parts.next().unwrap_or_default() {
            "build" | "" => Method::Build,
            "context" => Method::Context,
            other => return Err(CallParseError::Method(other.to_owned())),
        };
        let mut call = Self { method, form: Form::Text };
        for part in parts {
            match part {
                "format=json" => call.form = Form::Json,
                "format=text" => call.form = Form::Text,
                other => return Err(CallParseError::Option(other.to_owned())),
            }
        }
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_method_with_options() {
        assert_eq!("build".parse(), Ok(Call { method: Method::Build, form: Form::Text }));
        assert_eq!("context,format=json".parse(), Ok(Call { method: Method::Context, form: Form::Json }));
        assert_eq!("contexts".parse::<Call>(), Err(CallParseError::Method("contexts".to_owned())));
        assert_eq!("context,json".parse::<Call>(), Err(CallParseError::Option("json".to_owned())));
    }
}
