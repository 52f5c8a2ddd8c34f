//! Graphs as text, for goldens and for `kiln build --print`: one line a vertex, each after those it needs.
//!
//! ```text
//! %0 image docker.io/library/alpine:3.20@sha256:… linux/amd64
//! %1 local context
//! %2 copy /app/ from %1{src} on %0  # [2/3] COPY src /app/
//! %3 exec /bin/sh -c make on %2     # [3/3] RUN make
//! ```

use std::fmt::{self, Write};

use petgraph::dot::{Config, Dot};
use serde::Serialize;

use crate::{
    CopySelection, Edge, Exec, FileAction, Graph, ImageOrigin, Input, Mount, MountKind, NetworkMode, Op, SecurityMode,
    Selection, Source, Unpack, Vertex, VertexId,
};

impl fmt::Display for Graph {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, vertex) in self.vertices() {
            write!(out, "{id:?} {}", Line(vertex))?;
            if !vertex.hints.name.is_empty() {
                write!(out, "  # {}", vertex.hints.name)?;
            }
            out.write_char('\n')?;
        }
        Ok(())
    }
}

/// Returns the graph in the language of Graphviz.
pub fn to_dot(graph: &Graph) -> String {
    let label = |_, (_, vertex): (_, &Vertex)| {
        let text = if vertex.hints.name.is_empty() { Line(vertex).to_string() } else { vertex.hints.name.clone() };
        format!("label = {text:?}")
    };
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    let dot = Dot::with_attr_getters(graph.dag(), &config, &|_, _| String::new(), &label);
    // Only labels are printed, so what a vertex looks like in `Debug` does not matter.
    format!("{dot:?}")
}

/// Returns the graph as JSON: an array of vertices, each after those it needs.
pub fn to_json(graph: &Graph) -> serde_json::Value {
    let vertices: Vec<VertexJson<'_>> = graph.vertices().map(|(id, vertex)| VertexJson::new(id, vertex)).collect();
    serde_json::to_value(&vertices).expect("operations have string keys and no floats, so JSON cannot fail")
}

#[derive(Serialize)]
struct VertexJson<'a> {
    id: usize,
    digest: &'a oci::Digest,
    op: &'a Op,
    inputs: Vec<InputJson<'a>>,
    hints: &'a crate::Hints,
}

#[derive(Serialize)]
struct InputJson<'a> {
    vertex: usize,
    output: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: &'a Option<Selection>,
}

impl<'a> VertexJson<'a> {
    fn new(id: VertexId, vertex: &'a Vertex) -> Self {
        let inputs = vertex.inputs.iter().map(|Input { edge: Edge { vertex, output }, selection }| InputJson {
            vertex: vertex.index(),
            output: *output,
            selection,
        });
        let (id, digest, op, hints) = (id.index(), &vertex.digest, &vertex.op, &vertex.hints);
        Self { id, digest, op, inputs: inputs.collect(), hints }
    }
}

/// One vertex as one line.
struct Line<'a>(&'a Vertex);

impl fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.op {
            Op::Source(source) => write_source(out, source),
            Op::Exec(exec) => self.write_exec(out, exec),
            Op::File(actions) => self.write_file(out, actions),
            Op::Merge => self.write_merge(out),
        }
    }
}

fn write_source(out: &mut fmt::Formatter<'_>, source: &Source) -> fmt::Result {
    match source {
        Source::Scratch => out.write_str("scratch"),
        Source::Image(image) => {
            write!(out, "image {}", image.reference)?;
            if image.reference.digest() != Some(&image.manifest) {
                write!(out, "@{}", image.manifest)?;
            }
            write!(out, " {}", image.platform)?;
            match &image.origin {
                ImageOrigin::StoreOrRegistry => Ok(()),
                ImageOrigin::Layout(name) => write!(out, " layout={name}"),
            }
        }
        Source::Local(local) => {
            write!(out, "local {}", local.name)?;
            if local.ignore.is_empty() { Ok(()) } else { write!(out, " ignore={:?}", local.ignore) }
        }
        Source::Inline(files) => {
            out.write_str("inline")?;
            files.iter().try_for_each(|file| write!(out, " {}:{:o}={:?}", file.name, file.mode, file.content))
        }
        Source::Http(http) => {
            write!(out, "http {} mode={:o}", http.url, http.mode)?;
            http.filename.iter().try_for_each(|name| write!(out, " name={name:?}"))?;
            http.checksum.iter().try_for_each(|checksum| write!(out, " checksum={checksum}"))
        }
        Source::Git(git) => {
            write!(out, "git {}", git.remote)?;
            let named = [("ref", &git.reference), ("subdir", &git.subdir), ("checksum", &git.checksum)];
            let named = named.into_iter().filter(|(_, value)| !value.is_empty());
            named.into_iter().try_for_each(|(name, value)| write!(out, " {name}={value}"))?;
            let flags = [
                ("keep-git-dir", git.keep_git_dir),
                ("skip-submodules", git.skip_submodules),
                ("commit-times", git.commit_times),
            ];
            flags.into_iter().filter(|(_, set)| *set).try_for_each(|(name, _)| write!(out, " {name}"))
        }
    }
}

impl Line<'_> {
    fn input(&self, place: usize) -> InputText<'_> {
        InputText(self.0.inputs.get(place))
    }

    fn write_exec(&self, out: &mut fmt::Formatter<'_>, exec: &Exec) -> fmt::Result {
        write!(out, "exec {:?} on {} cwd={}", exec.args, self.input(0), exec.cwd)?;
        if !exec.user.is_empty() {
            write!(out, " user={}", exec.user)?;
        }
        write!(out, " env={:?}", exec.env)?;
        exec.hostname.iter().try_for_each(|name| write!(out, " hostname={name}"))?;
        match exec.network {
            NetworkMode::Default => {}
            NetworkMode::None => out.write_str(" network=none")?,
            NetworkMode::Host => out.write_str(" network=host")?,
        }
        if exec.security == SecurityMode::Insecure {
            out.write_str(" security=insecure")?;
        }
        for (name, required) in &exec.devices {
            write!(out, " device={name}{}", if *required { ",required" } else { "" })?;
        }
        exec.extra_hosts.iter().try_for_each(|host| write!(out, " host={}", host.name))?;
        exec.mounts.iter().try_for_each(|mount| self.write_mount(out, mount))
    }

    fn write_mount(&self, out: &mut fmt::Formatter<'_>, mount: &Mount) -> fmt::Result {
        match &mount.kind {
            MountKind::Bind { input } => write!(out, " bind={}:{}", self.input(*input), mount.target)?,
            MountKind::Cache(cache) => {
                write!(out, " cache={}:{}", cache.id, mount.target)?;
                write!(out, ",{:?},mode={:o},owner={}:{}", cache.sharing, cache.mode, cache.uid, cache.gid)?;
                cache.input.iter().try_for_each(|input| write!(out, ",from={}", self.input(*input)))?;
            }
            MountKind::Tmpfs { size_bytes } => {
                write!(out, " tmpfs={}", mount.target)?;
                size_bytes.iter().try_for_each(|size| write!(out, ",size={size}"))?;
            }
            MountKind::Secret(secret) => {
                write!(out, " secret={}", secret.id)?;
                if secret.file {
                    write!(out, ":{},mode={:o},owner={}:{}", mount.target, secret.mode, secret.uid, secret.gid)?;
                }
                secret.env.iter().try_for_each(|name| write!(out, ",env={name}"))?;
                if secret.required {
                    out.write_str(",required")?;
                }
            }
            MountKind::Ssh(ssh) => {
                write!(out, " ssh={}:{},mode={:o},owner={}:{}", ssh.id, mount.target, ssh.mode, ssh.uid, ssh.gid)?;
                if ssh.required {
                    out.write_str(",required")?;
                }
            }
        }
        if mount.readonly { out.write_str(",ro") } else { Ok(()) }
    }

    fn write_file(&self, out: &mut fmt::Formatter<'_>, actions: &[FileAction]) -> fmt::Result {
        for (place, action) in actions.iter().enumerate() {
            if place > 0 {
                out.write_str("; ")?;
            }
            match action {
                FileAction::Copy(copy) => {
                    write!(out, "copy {} from {}", copy.destination, self.input(copy.input))?;
                    copy.owner.iter().try_for_each(|owner| write!(out, " owner={owner}"))?;
                    copy.mode.iter().try_for_each(|mode| write!(out, " mode={mode}"))?;
                    match copy.unpack {
                        Unpack::Never => {}
                        Unpack::Archives => out.write_str(" unpack")?,
                    }
                }
                FileAction::MakeDir(dir) => {
                    write!(out, "mkdir {} mode={:o}", dir.path, dir.mode)?;
                    dir.owner.iter().try_for_each(|owner| write!(out, " owner={owner}"))?;
                }
            }
        }
        write!(out, " on {}", self.input(0))
    }

    fn write_merge(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("merge")?;
        (0..self.0.inputs.len()).try_for_each(|place| write!(out, " {}", self.input(place)))
    }
}

/// An input as `%2`, `%2.1` for another output than the first, and `%2{src}` where only some files are seen.
struct InputText<'a>(Option<&'a Input>);

impl fmt::Display for InputText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Input { edge, selection }) = self.0 else { return out.write_str("%?") };
        write!(out, "{:?}", edge.vertex)?;
        if edge.output != 0 {
            write!(out, ".{}", edge.output)?;
        }
        match selection {
            None => Ok(()),
            Some(Selection::Path(path)) => write!(out, "{{{path}}}"),
            Some(Selection::Copy(copy)) => write_selection(out, copy),
        }
    }
}

fn write_selection(out: &mut fmt::Formatter<'_>, copy: &CopySelection) -> fmt::Result {
    write!(out, "{{{}", if copy.pattern.is_empty() { "." } else { &copy.pattern })?;
    copy.exclude.iter().try_for_each(|pattern| write!(out, " exclude={pattern}"))?;
    copy.parents_pivot.iter().try_for_each(|pivot| write!(out, " parents={pivot}"))?;
    if !copy.wildcard {
        out.write_str(" literal")?;
    }
    out.write_char('}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Copy, Hints, LocalSource, MakeDir};
    use expect_test::expect;

    fn example() -> Graph {
        let mut graph = Graph::new();
        let base = graph.add(Op::Source(Source::Scratch), Vec::new(), Hints::default()).unwrap();
        let local = Source::Local(LocalSource { name: "context".to_owned(), ignore: vec!["*.o".to_owned()] });
        let context = graph.add(Op::Source(local), Vec::new(), Hints::default()).unwrap();
        let copy = FileAction::Copy(Copy {
            input: 1,
            destination: "/app/".to_owned(),
            owner: Some("5:6".to_owned()),
            mode: None,
            unpack: Unpack::Never,
        });
        let dir = FileAction::MakeDir(MakeDir { path: "/w".to_owned(), mode: 0o755, owner: None });
        let selection =
            Selection::Copy(CopySelection { pattern: "src*".to_owned(), wildcard: true, ..Default::default() });
        let inputs = vec![Input::whole(base), Input::selected(context, selection)];
        let hints = Hints { name: "[1/1] COPY src* /app/".to_owned(), ..Default::default() };
        graph.add(Op::File(vec![copy, dir]), inputs, hints).unwrap();
        graph
    }

    #[test]
    fn a_graph_is_one_line_a_vertex() {
        expect![[r#"
            %0 scratch
            %1 local context ignore=["*.o"]
            %2 copy /app/ from %1{src*} owner=5:6; mkdir /w mode=755 on %0  # [1/1] COPY src* /app/
        "#]]
        .assert_eq(&example().to_string());
    }

    #[test]
    fn a_graph_is_a_drawing_for_graphviz() {
        expect![[r#"
            digraph {
                0 [ label = "scratch"]
                1 [ label = "local context ignore=[\"*.o\"]"]
                2 [ label = "[1/1] COPY src* /app/"]
                0 -> 2 [ ]
                1 -> 2 [ ]
            }
        "#]]
        .assert_eq(&to_dot(&example()));
    }

    #[test]
    fn a_graph_is_json_that_names_every_input() {
        let json = to_json(&example());
        expect![[r#"[{"vertex":0,"output":0},{"vertex":1,"output":0,"selection":{"copy":{"pattern":"src*","wildcard":true}}}]"#]]
        .assert_eq(&json[2]["inputs"].to_string());
    }
}
