//! Why a template could not be used, in the words of Go's text/template, which users search for.

/// Why a template could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The text is not a template.
    #[error("template parsing error: template: :{line}: {problem}")]
    Syntax {
        /// The line in the template, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The template does not fit the data.
    #[error("template parsing error: template: :{line}:{column}: executing \"\" at <{node}>: {problem}")]
    Execution {
        /// The line in the template, from 1.
        line: usize,
        /// The byte in that line, from 0.
        column: usize,
        /// The part of the template that was being carried out.
        node: String,
        /// What is wrong.
        problem: String,
        /// What to write instead, if that can be guessed.
        hint: Option<String>,
    },
}

impl TemplateError {
    /// Returns what to write instead, if that can be guessed.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Syntax { .. } => None,
            Self::Execution { hint, .. } => hint.as_deref(),
        }
    }
}
