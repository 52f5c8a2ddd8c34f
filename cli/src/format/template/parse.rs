//! From tokens to a tree, by recursive descent.

use serde_json::Value;

use crate::format::template::error::TemplateError;
use crate::format::template::lex::{Lexeme, Token, lex};
use crate::format::template::number::parse_number;
use crate::format::template::tree::{Binding, Branch, Command, Node, Operand, OperandKind, Pipeline, Template};
use crate::format::template::value::{quote, unquote};
use crate::format::template::{functions, number};

/// How deep parentheses and blocks may stand in each other, so that no template exhausts the stack.
const NESTING_MAX: usize = 100;

impl Template {
    /// Parses a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser { lexemes: lex(text), next: 0, variables: vec!["$".to_owned()], ranges: 0, depth: 0 };
        match parser.template() {
            Ok(nodes) => Ok(Self { text: text.to_owned(), nodes }),
            Err(problem) => {
                let at = parser.lexemes[parser.next.saturating_sub(1).min(parser.lexemes.len() - 1)].at;
                Err(TemplateError::Syntax { line: text[..at].matches('\n').count() + 1, problem })
            }
        }
    }
}

struct Parser<'t> {
    lexemes: Vec<Lexeme<'t>>,
    next: usize,
    /// The variables in scope, with their `$`.
    variables: Vec<String>,
    /// How many `range` are open.
    ranges: usize,
    depth: usize,
}

/// What ends a list of nodes.
#[derive(PartialEq)]
enum ListEnd {
    Else,
    End,
    Template,
}

/// What ends a pipeline.
#[derive(Clone, Copy, PartialEq)]
enum PipelineEnd {
    Close,
    RightParen,
}

impl<'t> Parser<'t> {
    fn template(&mut self) -> Result<Vec<Node>, String> {
        match self.list()? {
            (nodes, ListEnd::Template) => Ok(nodes),
            (_, ListEnd::Else) => Err("unexpected {{else}}".to_owned()),
            (_, ListEnd::End) => Err("unexpected {{end}}".to_owned()),
        }
    }

    /// Parses up to the end of the template, `{{else` (what follows it is not read) or the whole `{{end}}`.
    fn list(&mut self) -> Result<(Vec<Node>, ListEnd), String> {
        let mut nodes = Vec::new();
        loop {
            match self.take() {
                Token::End => return Ok((nodes, ListEnd::Template)),
                Token::Text(text) => nodes.push(Node::Text(text.to_owned())),
                Token::Open => match self.peek_word() {
                    Token::Keyword("end") => {
                        self.take_word();
                        self.expect_close("end")?;
                        return Ok((nodes, ListEnd::End));
                    }
                    Token::Keyword("else") => {
                        self.take_word();
                        return Ok((nodes, ListEnd::Else));
                    }
                    _ => nodes.push(self.action()?),
                },
                other => return Err(unexpected(&other, "input")),
            }
        }
    }

    /// Parses what stands between `{{` and `}}`, and for a block all up to its `{{end}}`.
    fn action(&mut self) -> Result<Node, String> {
        let in_scope = self.variables.len();
        let Token::Keyword(keyword) = self.peek_word() else {
            return Ok(Node::Action(self.pipeline("command", PipelineEnd::Close)?));
        };
        self.take_word();
        let node = match keyword {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => Node::Range(self.branch("range")?),
            "break" | "continue" => {
                self.expect_close(&format!("{{{{{keyword}}}}}"))?;
                if self.ranges == 0 {
                    return Err(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                }
                if keyword == "break" { Node::Break } else { Node::Continue }
            }
            other => return Err(format!("{{{{{other}}}}} is not supported: there is only one template")),
        };
        self.variables.truncate(in_scope);
        Ok(node)
    }

    /// Parses what follows `if`, `with` or `range`, the `{{end}}` included.
    fn branch(&mut self, keyword: &'static str) -> Result<Branch, String> {
        self.nested(|parser| {
            let in_scope = parser.variables.len();
            let pipeline = parser.pipeline(keyword, PipelineEnd::Close)?;
            let is_range = usize::from(keyword == "range");
            parser.ranges += is_range;
            let (then, end) = parser.list()?;
            parser.ranges -= is_range;
            let otherwise = match end {
                ListEnd::End => Vec::new(),
                ListEnd::Else => parser.otherwise(keyword)?,
                ListEnd::Template => return Err("unexpected EOF".to_owned()),
            };
            parser.variables.truncate(in_scope);
            Ok(Branch { pipeline, then, otherwise })
        })
    }

    /// Parses what follows `{{else`: an `if` or `with` of the same kind shares the `{{end}}`.
    fn otherwise(&mut self, keyword: &'static str) -> Result<Vec<Node>, String> {
        if keyword != "range" && self.peek_word() == Token::Keyword(keyword) {
            self.take_word();
            let branch = self.branch(keyword)?;
            return Ok(vec![if keyword == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        self.expect_close("else")?;
        match self.list()? {
            (nodes, ListEnd::End) => Ok(nodes),
            (_, ListEnd::Else) => Err("expected end; found {{else}}".to_owned()),
            (_, ListEnd::Template) => Err("unexpected EOF".to_owned()),
        }
    }

    fn pipeline(&mut self, context: &str, end: PipelineEnd) -> Result<Pipeline, String> {
        let (variables, binding) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            match self.peek_word() {
                Token::Close if end == PipelineEnd::Close => break,
                Token::RightParen if end == PipelineEnd::RightParen => break,
                token if starts_operand(&token) => commands.push(self.command()?),
                token => {
                    self.take_word();
                    return Err(unexpected(&token, context));
                }
            }
        }
        self.take_word();
        if commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        let constants = commands.iter().skip(1).position(|command| is_constant(&command.operands[0].kind));
        match constants {
            Some(at) => Err(format!("non executable command in pipeline stage {}", at + 2)),
            None => Ok(Pipeline { variables, binding, commands }),
        }
    }

    /// Parses `$x :=`, `$x =`, and in `range` also `$i, $x :=`.
    fn declarations(&mut self, context: &str) -> Result<(Vec<String>, Binding), String> {
        let mut names = Vec::new();
        loop {
            let before = self.next;
            let Token::Variable(name) = self.peek_word() else {
                return Ok((names, Binding::Declare));
            };
            self.take_word();
            let binding = match self.peek_word() {
                Token::Declare => Binding::Declare,
                Token::Assign => Binding::Assign,
                Token::Other(',') if context == "range" && names.is_empty() => {
                    self.take_word();
                    names.push(name.to_owned());
                    match self.peek_word() {
                        Token::Variable(_) => continue,
                        _ => return Err("range can only initialize variables".to_owned()),
                    }
                }
                Token::Other(',') => return Err(format!("too many declarations in {context}")),
                _ => {
                    self.next = before;
                    return Ok((Vec::new(), Binding::Declare));
                }
            };
            self.take_word();
            names.push(name.to_owned());
            match binding {
                Binding::Declare => self.variables.extend(names.iter().cloned()),
                Binding::Assign => names.iter().try_for_each(|name| self.check_variable(name))?,
            }
            return Ok((names, binding));
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut operands = Vec::new();
        loop {
            let token = self.peek_word();
            if starts_operand(&token) {
                operands.push(self.operand()?);
            }
            match self.take() {
                Token::Space => {}
                Token::Close | Token::RightParen => {
                    self.next -= 1;
                    break;
                }
                Token::Pipe => break,
                other => return Err(unexpected(&other, "operand")),
            }
        }
        if operands.is_empty() { Err("empty command".to_owned()) } else { Ok(Command { operands }) }
    }

    /// Parses a term and the `.Field`s right behind it.
    fn operand(&mut self) -> Result<Operand, String> {
        let term = self.term()?;
        let at = self.lexemes[self.next].at;
        let mut fields = Vec::new();
        while let Token::Field(field) = self.peek() {
            fields.push(field[1..].to_owned());
            self.next += 1;
        }
        if fields.is_empty() {
            return Ok(term);
        }
        let kind = match term.kind {
            OperandKind::Fields(mut path) => {
                path.append(&mut fields);
                OperandKind::Fields(path)
            }
            OperandKind::Variable(name, _) => OperandKind::Variable(name, fields),
            kind if is_constant(&kind) => {
                let term = Operand { at: term.at, kind };
                return Err(format!("unexpected . after term {}", quote(&term.to_string())));
            }
            kind => OperandKind::Chain(Box::new(Operand { at: term.at, kind }), fields),
        };
        Ok(Operand { at, kind })
    }

    fn term(&mut self) -> Result<Operand, String> {
        self.peek_word();
        let at = self.lexemes[self.next].at;
        let kind = match self.take_word() {
            Token::Dot => OperandKind::Dot,
            Token::Nil => OperandKind::Nil,
            Token::Bool(value) => OperandKind::Constant(Value::Bool(value), value.to_string()),
            Token::Number(source) => OperandKind::Constant(parse_number(source)?, source.to_owned()),
            Token::Character(source) => OperandKind::Constant(number::parse_character(source)?, source.to_owned()),
            Token::Quoted(source) => OperandKind::Constant(Value::String(unquote(source)?), source.to_owned()),
            Token::Raw(source) => {
                OperandKind::Constant(Value::from(source.trim_matches('`').replace('\r', "")), source.to_owned())
            }
            Token::Field(field) => OperandKind::Fields(vec![field[1..].to_owned()]),
            Token::Variable(name) => {
                self.check_variable(name)?;
                OperandKind::Variable(name.to_owned(), Vec::new())
            }
            Token::Name(name) if functions::exists(name) => OperandKind::Function(name.to_owned()),
            Token::Name(name) => return Err(format!("function {} not defined", quote(name))),
            Token::LeftParen => {
                let end = PipelineEnd::RightParen;
                OperandKind::Pipeline(self.nested(|parser| parser.pipeline("parenthesized pipeline", end))?)
            }
            other => return Err(unexpected(&other, "operand")),
        };
        Ok(Operand { at, kind })
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == NESTING_MAX {
            return Err(format!("nested more than {NESTING_MAX} deep"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn check_variable(&self, name: &str) -> Result<(), String> {
        if self.variables.iter().any(|variable| variable == name) {
            Ok(())
        } else {
            Err(format!("undefined variable {}", quote(name)))
        }
    }

    fn peek(&self) -> Token<'t> {
        self.lexemes[self.next].token.clone()
    }

    /// The next token; the last one again and again once all are taken.
    fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.next = (self.next + 1).min(self.lexemes.len() - 1);
        token
    }

    /// The next token that is not a space, with the spaces before it taken.
    fn peek_word(&mut self) -> Token<'t> {
        while self.peek() == Token::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_word(&mut self) -> Token<'t> {
        self.peek_word();
        self.take()
    }

    fn expect_close(&mut self, context: &str) -> Result<(), String> {
        match self.take_word() {
            Token::Close => Ok(()),
            other => Err(unexpected(&other, context)),
        }
    }
}

fn starts_operand(token: &Token<'_>) -> bool {
    match token {
        Token::Field(_) | Token::Variable(_) | Token::Name(_) | Token::Dot | Token::Nil | Token::Bool(_) => true,
        Token::Number(_) | Token::Character(_) | Token::Quoted(_) | Token::Raw(_) | Token::LeftParen => true,
        Token::Text(_) | Token::Open | Token::Close | Token::Space | Token::Keyword(_) | Token::Pipe => false,
        Token::Declare | Token::Assign | Token::RightParen | Token::Other(_) | Token::Bad(_) | Token::End => false,
    }
}

fn is_constant(kind: &OperandKind) -> bool {
    matches!(kind, OperandKind::Dot | OperandKind::Nil | OperandKind::Constant(..))
}

fn unexpected(token: &Token<'_>, context: &str) -> String {
    let shown = match token {
        Token::Bad(problem) => return problem.clone(),
        Token::End => return "unexpected EOF".to_owned(),
        Token::Keyword(word) => format!("<{word}>"),
        Token::Nil => "<nil>".to_owned(),
        Token::Dot => "<.>".to_owned(),
        Token::Open => quote("{{"),
        Token::Close => quote("}}"),
        Token::Space => quote(" "),
        Token::Pipe => quote("|"),
        Token::Declare => quote(":="),
        Token::Assign => quote("="),
        Token::LeftParen => quote("("),
        Token::RightParen => quote(")"),
        Token::Bool(value) => quote(&value.to_string()),
        Token::Other(character) => quote(&character.to_string()),
        Token::Text(source) | Token::Field(source) | Token::Variable(source) | Token::Name(source) => shorten(source),
        Token::Number(source) | Token::Character(source) | Token::Quoted(source) | Token::Raw(source) => {
            shorten(source)
        }
    };
    format!("unexpected {shown} in {context}")
}

/// A token in quotes, cut after ten characters.
fn shorten(source: &str) -> String {
    match source.char_indices().nth(10) {
        Some((at, _)) => format!("{}...", quote(&source[..at])),
        None => quote(source),
    }
}
