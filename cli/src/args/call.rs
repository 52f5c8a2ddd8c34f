//! `--call METHOD[,format=json]` and its kin: what is asked of a Dockerfile.

use std::str::FromStr;

use clap::ValueEnum;

/// The value of `--call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What is asked.
    pub(crate) method: Method,
    /// How the answer is printed.
    pub(crate) form: Form,
    /// Whether warnings leave the exit code alone.
    pub(crate) ignores_status: bool,
}

/// What is asked of a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// That it is built.
    Build,
    /// What is wrong with it.
    Check,
    /// What its target takes from outside.
    Outline,
    /// What it can build.
    Targets,
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

/// How the steps of a build are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphForm {
    /// One line for each step.
    Graph,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
}

/// Why a text is no value of `--call`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallParseError {
    /// There is no such method.
    #[error("unknown method `{0}`: expected build, check, outline, targets or context")]
    Method(String),
    /// There is no such option.
    #[error("unknown option `{0}`: expected format=json, format=text or ignorestatus=true")]
    Option(String),
}

impl FromStr for Call {
    type Err = CallParseError;

    fn from_str(text: &str) -> Result<Self, CallParseError> {
        let mut parts = text.split(',');
        let method = match parts.next().unwrap_or_default() {
            "build" | "" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            "context" => Method::Context,
            other => return Err(CallParseError::Method(other.to_owned())),
        };
        let mut call = Self { method, form: Form::Text, ignores_status: false };
        for part in parts {
            match part {
                "format=json" => call.form = Form::Json,
                "format=text" => call.form = Form::Text,
                "ignorestatus=true" | "ignorestatus" => call.ignores_status = true,
                "ignorestatus=false" => call.ignores_status = false,
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
        let call = |method, form, ignores_status| Ok(Call { method, form, ignores_status });
        assert_eq!("build".parse(), call(Method::Build, Form::Text, false));
        assert_eq!("check,format=json".parse(), call(Method::Check, Form::Json, false));
        assert_eq!("lint,ignorestatus=true".parse(), call(Method::Check, Form::Text, true));
        assert_eq!("context".parse(), call(Method::Context, Form::Text, false));
        assert_eq!("outlines".parse::<Call>(), Err(CallParseError::Method("outlines".to_owned())));
        assert_eq!("targets,json".parse::<Call>(), Err(CallParseError::Option("json".to_owned())));
    }
}
