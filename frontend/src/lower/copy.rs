//! `COPY` and `ADD`: one step that copies from one input per source.

use llb::{Copy as CopyFiles, CopySelection, Edge, FileAction, InlineFile, Input, Op, Selection, Source, Unpack};

use crate::ast::{Add, Copy, Transfer, Word};
use crate::expand::{Escapes, Quotes, Style, Unset};
use crate::go;
use crate::source::Span;
use crate::syntax::Escape;
use llb::pattern::{Ignore, go_match, has_wildcards};

use super::depend::Sources;
use super::dispatch::At;
use super::error::{Fault, LowerProblem};
use super::mode::check_mode;
use super::names::{instruction_text, own_hints};
use super::node::NodeId;
use super::pass::Pass;
use super::remote::Remote;
use super::run::file_name;
use super::stage::{Built, Layer};

const HEREDOC_MODE: u32 = 0o644;

/// A `COPY` or `ADD` with its variables substituted.
struct Transferred<'x> {
    at: At<'x>,
    transfer: &'x Transfer,
    sources: Vec<String>,
    /// The bodies of the heredocs.
    bodies: Vec<String>,
    destination: String,
    owner: Option<String>,
    mode: Option<String>,
    kind: Kind<'x>,
}

/// What tells `COPY` and `ADD` apart.
enum Kind<'x> {
    Copy {
        parents: bool,
        /// The files of another stage; `None` is the main context.
        from: Option<Edge>,
    },
    Add {
        add: &'x Add,
        checksum: Option<String>,
    },
}

/// The inputs of a step in the making, with what is copied from each.
struct Parts {
    actions: Vec<FileAction>,
    inputs: Vec<Input>,
    copy: CopyFiles,
    exclude: Vec<String>,
}

impl Parts {
    fn add(&mut self, edge: Edge, selection: CopySelection, unpack: Unpack) {
        let selection = CopySelection { exclude: self.exclude.clone(), ..selection };
        self.inputs.push(Input::selected(edge, Selection::Copy(selection)));
        let input = self.inputs.len();
        self.actions.push(FileAction::Copy(CopyFiles { input, unpack, ..self.copy.clone() }));
    }
}

impl Pass<'_, '_> {
    /// `COPY`.
    pub(super) fn copy(
        &mut self,
        id: NodeId,
        built: &mut Built,
        at: At<'_>,
        copy: &Copy,
        sources: &Sources,
    ) -> Result<(), Fault> {
        let node = sources.first().copied().flatten();
        let (chown, chmod) = self.owner_and_mode(built, at, &copy.transfer)?;
        let words = self.words(built, at, &copy.transfer)?;
        if let (Some(node), Some(from)) = (node, &copy.from)
            && !self.done[node]
        {
            let (from_stage, stage) = (go::quote(&from.text), go::quote(&self.nodes.list[id].name));
            let fault = Fault::at(LowerProblem::CopyFromLater { from: from_stage, stage }, from.span);
            return Err(fault.with_note("the stage begins here", self.place_of(node)));
        }
        let from = node.map(|node| self.files_of(node)).transpose()?;
        let kind = Kind::Copy { parents: copy.parents, from };
        self.transfer(built, Transferred { at, transfer: &copy.transfer, owner: chown, mode: chmod, kind, ..words })
    }

    /// `ADD`.
    pub(super) fn add_files(&mut self, built: &mut Built, at: At<'_>, add: &Add) -> Result<(), Fault> {
        let (chown, chmod) = self.owner_and_mode(built, at, &add.transfer)?;
        let checksum =
            add.checksum.as_ref().map(|word| self.word(built, at, word)).transpose()?.filter(|text| !text.is_empty());
        let words = self.words(built, at, &add.transfer)?;
        let kind = Kind::Add { add, checksum };
        self.transfer(built, Transferred { at, transfer: &add.transfer, owner: chown, mode: chmod, kind, ..words })
    }

    fn owner_and_mode(
        &mut self,
        built: &Built,
        at: At<'_>,
        transfer: &Transfer,
    ) -> Result<(Option<String>, Option<String>), Fault> {
        let mut expand = |word: &Option<Word>| word.as_ref().map(|word| self.word(built, at, word)).transpose();
        let (owner, mode) = (expand(&transfer.chown)?, expand(&transfer.chmod)?);
        Ok((owner.filter(|text| !text.is_empty()), mode.filter(|text| !text.is_empty())))
    }

    /// Substitutes the variables of sources, destination and heredocs.
    fn words<'x>(&mut self, built: &Built, at: At<'x>, transfer: &'x Transfer) -> Result<Transferred<'x>, Fault> {
        let sources = transfer.sources.iter().map(|word| self.word(built, at, word)).collect::<Result<_, _>>()?;
        let destination = self.word(built, at, &transfer.destination)?;
        let mut bodies = Vec::with_capacity(transfer.heredocs.len());
        for heredoc in &transfer.heredocs {
            let style = Style {
                escape: Escape::Backslash,
                quotes: Quotes::Plain,
                escapes: Escapes::Remove,
                unset: Unset::Empty,
            };
            let body = heredoc.body();
            bodies.push(if heredoc.expand { self.styled(built, at, &body, heredoc.span, style)?.text } else { body });
        }
        let kind = Kind::Copy { parents: false, from: None };
        Ok(Transferred { at, transfer, sources, bodies, destination, owner: None, mode: None, kind })
    }

    fn transfer(&mut self, built: &mut Built, transferred: Transferred<'_>) -> Result<(), Fault> {
        let Transferred { at, transfer, .. } = transferred;
        if let (Some(mode), Some(word)) = (&transferred.mode, &transfer.chmod) {
            check_mode(mode).map_err(|problem| Fault::at(problem, word.span))?;
        }
        Ignore::new(transfer.exclude.iter().map(String::as_str)).map_err(LowerProblem::Exclude)?;
        transferred.check_checksum()?;
        let text = instruction_text(at.site.code(), self.session.file.escape, &built.environment, &self.session.meter);
        let prefix = built.steps.next_prefix(&built.platform, &built.environment, at.on_build);
        let name = [prefix.as_str(), &text].concat();
        let mut parts = Parts {
            actions: Vec::new(),
            inputs: Vec::new(),
            copy: CopyFiles {
                input: 0,
                destination: destination(&built.dir, &transferred.destination),
                owner: transferred.owner.clone(),
                mode: transferred.mode.clone(),
                unpack: Unpack::Never,
            },
            exclude: transfer.exclude.clone(),
        };
        for (source, word) in transferred.sources.iter().zip(&transfer.sources) {
            self.source(&transferred, (source, word.span), &name, &mut parts)
                .map_err(|fault| Fault { span: Some(word.span), ..fault })?;
        }
        for (heredoc, body) in transfer.heredocs.iter().zip(&transferred.bodies) {
            self.inline(&heredoc.name, body, &mut parts).map_err(|problem| Fault::at(problem, heredoc.span))?;
        }
        self.session.meter.keep(parts.inputs.len() * transfer.exclude.iter().map(String::len).sum::<usize>())?;
        let is_linked = transfer.link && transferred.mode.is_none();
        let names = (name, is_linked.then(|| format!("{prefix}LINK {text}")));
        self.add_transfer(built, at, names, parts)?;
        self.record(built, transferred.history(), Layer::One)
    }

    /// Adds the step of a `COPY` or `ADD`; one that is linked is made on nothing, and then put on top of what is there.
    fn add_transfer(
        &mut self,
        built: &mut Built,
        at: At<'_>,
        (name, link_name): (String, Option<String>),
        parts: Parts,
    ) -> Result<(), Fault> {
        let below = if link_name.is_some() { None } else { built.edge };
        let mut inputs = vec![Input::whole(self.session.edge(below)?)];
        inputs.extend(parts.inputs);
        let added = self.session.add(Op::File(parts.actions), inputs, built.steps.hints(name, at.site))?;
        built.edge = Some(match (link_name, built.edge) {
            (Some(link_name), Some(base)) => {
                let inputs = vec![Input::whole(base), Input::whole(added)];
                self.session.add(Op::Merge, inputs, built.steps.hints(link_name, at.site))?
            }
            _ => added,
        });
        Ok(())
    }

    fn source(
        &mut self,
        transferred: &Transferred<'_>,
        (source, span): (&str, Span),
        name: &str,
        parts: &mut Parts,
    ) -> Result<(), Fault> {
        let remote = Remote::parse(source, transferred.known_git())?;
        match (&transferred.kind, remote) {
            (Kind::Copy { .. }, Some(Remote::Git(_))) => Err(LowerProblem::CopyGit.into()),
            (Kind::Copy { .. }, Some(Remote::Http(_))) => Err(LowerProblem::CopyUrl.into()),
            (Kind::Add { add, checksum }, Some(remote)) => {
                let unpack = if add.unpack == Some(true) { Unpack::Archives } else { Unpack::Never };
                let is_http = matches!(remote, Remote::Http(_));
                let (source, selection) = remote.into_source(add.keep_git_dir, checksum.as_deref())?;
                let hints = llb::Hints { ignore_cache: false, ..own_hints(name) };
                let edge = self.session.add(Op::Source(source), Vec::new(), hints)?;
                parts.add(edge, selection, if is_http { unpack } else { Unpack::Never });
                Ok(())
            }
            (Kind::Copy { parents, from: Some(edge) }, None) => {
                parts.add(*edge, selection(source, *parents)?, Unpack::Never);
                Ok(())
            }
            (Kind::Copy { parents, from: None }, None) => {
                self.local_source(transferred, (source, span), (*parents, Unpack::Never), parts)
            }
            (Kind::Add { add, .. }, None) => {
                let unpack = if add.unpack == Some(false) { Unpack::Never } else { Unpack::Archives };
                self.local_source(transferred, (source, span), (false, unpack), parts)
            }
        }
    }

    fn local_source(
        &mut self,
        transferred: &Transferred<'_>,
        (source, span): (&str, Span),
        (parents, unpack): (bool, Unpack),
        parts: &mut Parts,
    ) -> Result<(), Fault> {
        let edge = self.main_context()?;
        let what = if matches!(transferred.kind, Kind::Add { .. }) { "Add" } else { "Copy" };
        self.report_ignored(transferred.at, what, source, span)?;
        parts.add(edge, selection(source, parents)?, unpack);
        Ok(())
    }

    fn inline(&mut self, name: &str, body: &str, parts: &mut Parts) -> Result<(), LowerProblem> {
        let name = file_name(name)?;
        let file = InlineFile { name: name.clone(), content: body.to_owned(), mode: HEREDOC_MODE };
        let hints = own_hints("[internal] preparing inline document");
        let edge = self.session.add(Op::Source(Source::Inline(vec![file])), Vec::new(), hints)?;
        parts.add(edge, CopySelection { pattern: name, ..CopySelection::default() }, Unpack::Never);
        Ok(())
    }
}

impl Transferred<'_> {
    /// Tells whether the instruction says that its source is a git repository.
    fn known_git(&self) -> bool {
        matches!(self.kind, Kind::Add { add, .. } if add.keep_git_dir.is_some())
    }

    fn check_checksum(&self) -> Result<(), Fault> {
        let Kind::Add { add, checksum: Some(_) } = &self.kind else { return Ok(()) };
        let problem = match self.sources.as_slice() {
            [source] if Remote::parse(source, self.known_git()).is_ok_and(|remote| remote.is_none()) => {
                LowerProblem::ChecksumLocal
            }
            [_] => return Ok(()),
            _ => LowerProblem::ChecksumSources,
        };
        let span = add.checksum.as_ref().map_or(self.at.site.span, |word| word.span);
        Err(Fault::at(problem, span))
    }

    /// Returns what the history says of it.
    fn history(&self) -> String {
        let (keyword, parents) = match self.kind {
            Kind::Copy { parents, .. } => ("COPY", parents),
            Kind::Add { .. } => ("ADD", false),
        };
        let mut text = self.at.new_history(keyword);
        text.push_str(if parents { " --parents" } else { "" });
        text.extend(self.owner.iter().flat_map(|owner| [" --chown=", owner]));
        text.extend(self.mode.iter().flat_map(|mode| [" --chmod=", mode]));
        text.extend(self.sources.iter().flat_map(|source| [" ", source]));
        text.extend(self.transfer.heredocs.iter().flat_map(|heredoc| [" <<", &heredoc.name]));
        text.extend([" ", &self.destination, " # buildkit"]);
        text
    }
}

/// Returns the absolute destination; a slash at its end says that it is a directory.
fn destination(dir: &str, written: &str) -> String {
    let path = go::join_path(dir, written);
    let is_dir = written.is_empty() || written == "." || written.ends_with('/') || written.ends_with("/.");
    if is_dir && !path.ends_with('/') { [&path, "/"].concat() } else { path }
}

/// Returns what a source names, without leaving the root.
fn selection(source: &str, parents: bool) -> Result<CopySelection, LowerProblem> {
    let relative = |path: &str| go::join_path("/", path).trim_start_matches('/').to_owned();
    let pattern_error =
        |source| LowerProblem::Pattern { pattern: go::quote(&relative(source)), source: llb::pattern::BadPattern };
    if !parents {
        let pattern = relative(source);
        let wildcard = has_wildcards(&pattern);
        if wildcard {
            go_match(&pattern, "").map_err(|_| pattern_error(source))?;
        }
        return Ok(CopySelection { pattern, wildcard, ..CopySelection::default() });
    }
    let (base, below) = source.split_once("/./").unwrap_or(("", source));
    let (base, below) = (relative(base), relative(below));
    Ignore::new([below.as_str()]).map_err(|_| pattern_error(source))?;
    let pivot = base.split('/').filter(|part| !part.is_empty()).count();
    let pattern = [base, below].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    Ok(CopySelection {
        wildcard: has_wildcards(&pattern),
        pattern,
        parents_pivot: Some(pivot),
        ..CopySelection::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_directory_where_a_slash_says_so() {
        let shown = ["/a", "/a/", "a", "", ".", "./", "..", "/a/.", "/"].map(|written| destination("/w", written));
        assert_eq!(shown, ["/a", "/a/", "/w/a", "/w/", "/w/", "/w/", "/", "/a/", "/"]);
    }

    // spec 58, 59, 71
    #[test]
    fn a_source_never_leaves_its_root() {
        let shown = |source: &str, parents| match selection(source, parents) {
            Ok(selection) => {
                let wildcard = if selection.wildcard { " *" } else { "" };
                let pivot = selection.parents_pivot.map(|pivot| format!(" {pivot}")).unwrap_or_default();
                format!("{}{wildcard}{pivot}", selection.pattern)
            }
            Err(problem) => problem.to_string(),
        };
        let plain = ["../a", "/a", "a/", ".", "arr[[]0].txt", "a/../../b*", "x["].map(|source| shown(source, false));
        assert_eq!(plain, ["a", "a", "a", "", "arr[[]0].txt *", "b* *", "syntax error in pattern: \"x[\""]);
        let parents = ["d/sub/z", "./d/./sub/z", "**/*.txt", "/./x", "a/./../b"].map(|source| shown(source, true));
        assert_eq!(parents, ["d/sub/z 0", "d/sub/z 1", "**/*.txt * 0", "x 0", "a/b 1"]);
    }
}
