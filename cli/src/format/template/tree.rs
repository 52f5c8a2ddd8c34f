//! What a template says, as a tree. Its parts can be written again as text, for errors.

use std::fmt;

use serde_json::Value;

/// A template that was read without errors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    /// The text that it was read from, for the places in errors.
    pub(super) text: String,
    pub(super) nodes: Vec<Node>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// A pipeline whose value is printed, unless it only sets a variable.
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

/// The parts of `if`, `with` and `range`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// The variables that get the value, with their `$`.
    pub(super) variables: Vec<String>,
    /// What becomes of them.
    pub(super) binding: Binding,
    pub(super) commands: Vec<Command>,
}

/// What becomes of the variables of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// `:=`: they begin here.
    Declare,
    /// `=`: they exist and change.
    Assign,
}

/// An operand, or a function with its arguments. There is at least one operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// A value, or how to come by it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    /// The byte in the template where it stands.
    pub(super) at: usize,
    pub(super) kind: OperandKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    /// A constant, and how it is written.
    Constant(Value, String),
    /// `.A.B`
    Fields(Vec<String>),
    /// `$x.A.B`; the name has its `$`.
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline)`
    Pipeline(Pipeline),
    /// `(pipeline).A.B`, or `function.A`
    Chain(Box<Operand>, Vec<String>),
}

impl fmt::Display for Pipeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = match self.binding {
                Binding::Declare => ":=",
                Binding::Assign => "=",
            };
            write!(out, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            write!(out, "{}{command}", if at > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, operand) in self.operands.iter().enumerate() {
            write!(out, "{}{operand}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = match &self.kind {
            OperandKind::Dot => return out.write_str("."),
            OperandKind::Nil => return out.write_str("nil"),
            OperandKind::Constant(_, source) => return out.write_str(source),
            OperandKind::Function(name) => return out.write_str(name),
            OperandKind::Pipeline(pipeline) => return write!(out, "({pipeline})"),
            OperandKind::Fields(fields) => fields,
            OperandKind::Variable(name, fields) => {
                out.write_str(name)?;
                fields
            }
            OperandKind::Chain(operand, fields) => {
                write!(out, "{operand}")?;
                fields
            }
        };
        fields.iter().try_for_each(|field| write!(out, ".{field}"))
    }
}
