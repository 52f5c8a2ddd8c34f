//! Carries out a template: walks its tree with the data in hand.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::format::template::error::TemplateError;
use crate::format::template::functions::{self, Library};
use crate::format::template::tree::{Binding, Branch, Command, Node, Operand, OperandKind, Pipeline, Template};
use crate::format::template::value::{Datum, keys, print, sorted, type_name};

/// How many keys a hint names.
const HINT_KEYS_MAX: usize = 20;

/// What a template finds where the data has no key of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// An error, so that a misspelt field is noticed.
    Error,
    /// Nothing, which is printed as `<no value>`.
    NoValue,
}

/// How a template treats the data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'r> {
    /// What becomes of a missing key.
    pub(crate) missing: Missing,
    /// The fields that hold maps from text to text with the user's own keys, such as `Labels`. In them a missing key is `<no value>` for `.Labels.key` and
    /// the empty text for `index .Labels "key"`, whatever `missing` says.
    pub(crate) text_maps: &'r [&'r str],
}

/// Why rendering stopped; `Break` and `Continue` end at the nearest `range`.
enum Stop {
    Break,
    Continue,
    Failed { problem: String, hint: Option<String> },
}

impl Stop {
    fn failed(problem: impl Into<String>) -> Self {
        Self::Failed { problem: problem.into(), hint: None }
    }
}

impl Template {
    /// Returns the text that the template makes of `data`.
    pub(crate) fn render(&self, data: &Value, rules: &Rules<'_>) -> Result<String, TemplateError> {
        self.run(data, rules, functions::FOR_DATA).1
    }

    /// Returns the head of a table: the template made of `titles`, where functions that change a text leave it as it is. What cannot be carried out for titles
    /// ends the head.
    pub(crate) fn render_titles(&self, titles: &Value) -> String {
        let rules = Rules { missing: Missing::NoValue, text_maps: &[] };
        self.run(titles, &rules, functions::FOR_TITLES).0
    }

    fn run(&self, data: &Value, rules: &Rules<'_>, library: Library) -> (String, Result<String, TemplateError>) {
        let root = Datum::Json(Cow::Borrowed(data));
        let mut run = Run {
            rules,
            library,
            variables: vec![("$".to_owned(), root.clone())],
            place: Place { at: 0, node: &"" },
            out: String::new(),
        };
        let result = match run.walk(&self.nodes, &root) {
            Ok(()) | Err(Stop::Break | Stop::Continue) => Ok(run.out.clone()),
            Err(Stop::Failed { problem, hint }) => {
                let before = &self.text[..run.place.at];
                let line = before.matches('\n').count() + 1;
                let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
                Err(TemplateError::Execution { line, column, node: run.place.node.to_string(), problem, hint })
            }
        };
        (run.out, result)
    }
}

/// A part of the template, for errors.
#[derive(Clone, Copy)]
struct Place<'t> {
    at: usize,
    node: &'t dyn fmt::Display,
}

struct Run<'t, 'd> {
    rules: &'t Rules<'t>,
    library: Library,
    /// The variables in scope with their `$`, innermost last.
    variables: Vec<(String, Datum<'d>)>,
    /// What is being carried out.
    place: Place<'t>,
    out: String,
}

impl<'t, 'd> Run<'t, 'd> {
    fn walk(&mut self, nodes: &'t [Node], dot: &Datum<'d>) -> Result<(), Stop> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&value.shown());
                    }
                }
                Node::If(branch) => self.scope(|run| {
                    let is_true = run.pipeline(&branch.pipeline, dot)?.is_true();
                    run.walk(if is_true { &branch.then } else { &branch.otherwise }, dot)
                })?,
                Node::With(branch) => self.scope(|run| {
                    let value = run.pipeline(&branch.pipeline, dot)?;
                    if value.is_true() { run.walk(&branch.then, &value) } else { run.walk(&branch.otherwise, dot) }
                })?,
                Node::Range(branch) => self.scope(|run| run.range(branch, dot))?,
                Node::Break => return Err(Stop::Break),
                Node::Continue => return Err(Stop::Continue),
            }
        }
        Ok(())
    }

    /// Carries something out, then forgets the variables that it declared.
    fn scope(&mut self, walk: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let in_scope = self.variables.len();
        let result = walk(self);
        self.variables.truncate(in_scope);
        result
    }

    fn range(&mut self, branch: &'t Branch, dot: &Datum<'d>) -> Result<(), Stop> {
        let over = self.unbound_pipeline(&branch.pipeline, dot)?;
        let items: Box<dyn Iterator<Item = (Value, Datum<'d>)>> = match over.value() {
            Value::Array(_) | Value::Object(_) | Value::Null => {
                Box::new(keys(over.value()).into_iter().zip(over.items()))
            }
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                let count = number.as_u64().unwrap_or(0);
                Box::new((0..count).map(|number| (Value::from(number), Datum::owned(number))))
            }
            other => return Err(Stop::failed(format!("range can't iterate over {}", print(other)))),
        };
        let mut items = items.peekable();
        if items.peek().is_none() {
            return self.walk(&branch.otherwise, dot);
        }
        for (key, item) in items {
            let iteration = self.scope(|run| {
                match branch.pipeline.variables.as_slice() {
                    [] => {}
                    [name] => run.bind(&branch.pipeline, name, item.clone())?,
                    [key_name, name, ..] => {
                        run.bind(&branch.pipeline, key_name, Datum::owned(key))?;
                        run.bind(&branch.pipeline, name, item.clone())?;
                    }
                }
                run.walk(&branch.then, &item)
            });
            match iteration {
                Ok(()) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    /// The value of a pipeline, which its variable gets.
    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Datum<'d>) -> Result<Datum<'d>, Stop> {
        let value = self.unbound_pipeline(pipeline, dot)?;
        for name in &pipeline.variables {
            self.bind(pipeline, name, value.clone())?;
        }
        Ok(value)
    }

    fn unbound_pipeline(&mut self, pipeline: &'t Pipeline, dot: &Datum<'d>) -> Result<Datum<'d>, Stop> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Datum::Nothing))
    }

    fn bind(&mut self, pipeline: &Pipeline, name: &str, value: Datum<'d>) -> Result<(), Stop> {
        match pipeline.binding {
            Binding::Declare => self.variables.push((name.to_owned(), value)),
            Binding::Assign => {
                let variable = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                let (_, old) = variable.ok_or_else(|| Stop::failed(format!("undefined variable: {name}")))?;
                *old = value;
            }
        }
        Ok(())
    }

    /// The value of a command; `last` is that of the command before it in the pipeline.
    fn command(&mut self, command: &'t Command, dot: &Datum<'d>, last: Option<Datum<'d>>) -> Result<Datum<'d>, Stop> {
        let (first, arguments) = command.operands.split_first().expect("a command has an operand");
        let OperandKind::Function(name) = &first.kind else {
            if first.kind == OperandKind::Nil {
                self.place = Place { at: first.at, node: first };
                return Err(Stop::failed("nil is not a command"));
            }
            let value = self.operand(first, dot)?;
            return if arguments.is_empty() && last.is_none() { Ok(value) } else { Err(not_a_function(first)) };
        };
        self.place = Place { at: first.at, node: first };
        let count = arguments.len() + usize::from(last.is_some());
        functions::check_count(name, count).map_err(Stop::failed)?;
        let mut values = Vec::with_capacity(count);
        for argument in arguments {
            let value = self.operand(argument, dot)?;
            // The first argument that decides ends `and` and `or`; those after it are not even looked at.
            if (name == "and" && !value.is_true()) || (name == "or" && value.is_true()) {
                return Ok(value);
            }
            (self.library.check_argument)(name, values.len(), &value).map_err(Stop::failed)?;
            values.push(value);
        }
        if let Some(value) = last {
            self.place = Place { at: first.at, node: command };
            (self.library.check_argument)(name, values.len(), &value).map_err(Stop::failed)?;
            values.push(value);
        }
        self.place = Place { at: first.at, node: command };
        (self.library.call)(name, &values).map_err(|problem| Stop::failed(format!("error calling {name}: {problem}")))
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Datum<'d>) -> Result<Datum<'d>, Stop> {
        self.place = Place { at: operand.at, node: operand };
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Datum::Nothing),
            OperandKind::Constant(value, _) => Ok(Datum::owned(value.clone())),
            OperandKind::Fields(fields) => self.fields(dot.clone(), fields),
            OperandKind::Variable(name, fields) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = variable.ok_or_else(|| Stop::failed(format!("undefined variable: {name}")))?;
                self.fields(value.clone(), fields)
            }
            OperandKind::Function(name) => {
                functions::check_count(name, 0).map_err(Stop::failed)?;
                (self.library.call)(name, &[])
                    .map_err(|problem| Stop::failed(format!("error calling {name}: {problem}")))
            }
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, dot),
            OperandKind::Chain(inner, fields) => {
                let value = self.operand(inner, dot)?;
                self.place = Place { at: operand.at, node: operand };
                self.fields(value, fields)
            }
        }
    }

    fn fields(&self, mut value: Datum<'d>, fields: &[String]) -> Result<Datum<'d>, Stop> {
        for field in fields {
            value = self.field(value, field)?;
        }
        Ok(value)
    }

    fn field(&self, value: Datum<'d>, field: &str) -> Result<Datum<'d>, Stop> {
        if let Some(item) = value.item(field) {
            return Ok(match item {
                Datum::Json(item) if self.rules.text_maps.contains(&field) => Datum::TextMap(item),
                other => other,
            });
        }
        match (&value, value.value()) {
            (Datum::TextMap(_), _) => Ok(Datum::Nothing),
            (_, Value::Object(_)) if self.rules.missing == Missing::NoValue => Ok(Datum::Nothing),
            (_, Value::Object(map)) => Err(Stop::Failed {
                problem: format!("map has no entry for key {}", super::value::quote(field)),
                hint: hint(field, sorted(map).map(|(key, _)| key)),
            }),
            (Datum::Nothing, _) if self.rules.missing == Missing::NoValue => Ok(Datum::Nothing),
            (_, Value::Null) => Err(Stop::failed(format!("nil pointer evaluating interface {{}}.{field}"))),
            (_, other) => Err(Stop::failed(format!("can't evaluate field {field} in type {}", type_name(other)))),
        }
    }
}

fn not_a_function(operand: &Operand) -> Stop {
    match &operand.kind {
        OperandKind::Fields(fields) | OperandKind::Variable(_, fields) | OperandKind::Chain(_, fields)
            if !fields.is_empty() =>
        {
            let field = fields.last().map_or("", String::as_str);
            Stop::failed(format!("{field} is not a method but has arguments"))
        }
        _ => Stop::failed(format!("can't give argument to non-function {operand}")),
    }
}

/// What to write instead of a field that does not exist.
fn hint<'k>(field: &str, keys: impl Iterator<Item = &'k str>) -> Option<String> {
    let keys: Vec<&str> = keys.collect();
    if let Some(key) = keys.iter().find(|key| key.eq_ignore_ascii_case(field)) {
        return Some(format!("did you mean `.{key}`?"));
    }
    match keys.len() {
        0 => None,
        1..=HINT_KEYS_MAX => Some(format!("there is: {}", keys.join(", "))),
        more => Some(format!("there is: {} and {} more", keys[..HINT_KEYS_MAX].join(", "), more - HINT_KEYS_MAX)),
    }
}
