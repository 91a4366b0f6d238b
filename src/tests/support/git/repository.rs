//! A repository on the server, and how tests write into it: by the real git, as nobody in particular.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A bare repository on the server.
pub struct Repository {
    url: String,
    path: PathBuf,
    _folder: Arc<TempDir>,
}

/// What one path of a commit is.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    File(&'a [u8]),
    Executable(&'a [u8]),
    Symlink(&'a str),
    /// A commit of another repository.
    Submodule(&'a str),
    Deleted,
}

impl Repository {
    pub(super) fn new(url: String, path: PathBuf, folder: Arc<TempDir>) -> Self {
        Self { url, path, _folder: folder }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Writes these files over what `main` has and gives the new commit's id.
    pub async fn commit(&self, files: &[(&str, &str)], message: &str) -> String {
        self.commit_on("main", files, message).await
    }

    pub async fn commit_on(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let contents: Vec<_> =
            files.iter().map(|(path, text)| (*path, Content::File(text.as_bytes()))).collect();
        self.commit_contents(branch, &contents, message.as_bytes()).await
    }

    pub async fn commit_contents(
        &self,
        branch: &str,
        contents: &[(&str, Content<'_>)],
        message: &[u8],
    ) -> String {
        let mut stream =
            format!("commit refs/heads/{branch}\ncommitter {AUTHOR} 1700000000 +0000\n").into_bytes();
        push_data(&mut stream, message);
        if self.resolve(&format!("refs/heads/{branch}")).await.is_some() {
            stream.extend(format!("from refs/heads/{branch}^0\n").bytes());
        }
        for (path, content) in contents {
            let (mode, data) = match content {
                Content::File(data) => ("100644", *data),
                Content::Executable(data) => ("100755", *data),
                Content::Symlink(target) => ("120000", target.as_bytes()),
                Content::Submodule(commit) => {
                    stream.extend(format!("M 160000 {commit} {path}\n").bytes());
                    continue;
                }
                Content::Deleted => {
                    stream.extend(format!("D {path}\n").bytes());
                    continue;
                }
            };
            stream.extend(format!("M {mode} inline {path}\n").bytes());
            push_data(&mut stream, data);
        }
        self.git_with(&["fast-import", "--quiet", "--force"], &stream).await;
        self.git(&["rev-parse", &format!("refs/heads/{branch}")]).await
    }

    /// A branch where `main` is.
    pub async fn branch(&self, name: &str) {
        self.git(&["branch", name, "main"]).await;
    }

    pub async fn delete_branch(&self, name: &str) {
        self.git(&["update-ref", "-d", &format!("refs/heads/{name}")]).await;
    }

    /// A lightweight tag where `main` is.
    pub async fn tag(&self, name: &str) {
        self.git(&["tag", name, "main"]).await;
    }

    pub async fn annotated_tag(&self, name: &str) {
        self.git(&["tag", "-a", "-m", "a release", name, "main"]).await;
    }

    pub async fn default_branch(&self, name: &str) {
        self.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{name}")]).await;
    }

    /// Writes an object without any check and gives its id: `blob` or `tree`.
    pub async fn object(&self, kind: &str, content: &[u8]) -> String {
        self.git_with(&["hash-object", "-t", kind, "-w", "--literally", "--stdin"], content).await
    }

    /// Writes a tree as it stands: mode, name, object id; forbidden and double names too.
    pub async fn raw_tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let mut tree = Vec::new();
        for (mode, name, id) in entries {
            tree.extend(format!("{mode} {name}\0").bytes());
            tree.extend((0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()));
        }
        self.object("tree", &tree).await
    }

    /// Puts a commit of this tree on `main`.
    pub async fn commit_tree(&self, tree: &str) -> String {
        let id = self.git(&["commit-tree", "-m", "Forged", tree]).await;
        self.git(&["update-ref", "refs/heads/main", &id]).await;
        id
    }

    pub async fn config(&self, key: &str, value: &str) {
        self.git(&["config", key, value]).await;
    }

    /// Runs git in this repository and gives what it prints, trimmed.
    pub async fn git(&self, args: &[&str]) -> String {
        self.git_with(args, b"").await
    }

    pub async fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        let output = run(args, &self.path, input).await;
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    async fn resolve(&self, name: &str) -> Option<String> {
        let output = git_command(&["rev-parse", "--verify", "-q", name], &self.path).output().await.unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

/// A repository that is built by its own script, without packages from anywhere.
pub fn built_by(script: &str) -> Vec<(String, String)> {
    let package = serde_json::json!({"name": "built", "private": true, "scripts": {"build": script}});
    vec![("package.json".to_owned(), package.to_string())]
}

pub fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect()
}

const AUTHOR: &str = "Ada <ada@example.com>";

fn push_data(stream: &mut Vec<u8>, data: &[u8]) {
    stream.extend(format!("data {}\n", data.len()).bytes());
    stream.extend(data);
    stream.push(b'\n');
}

/// Git without anybody's configuration, author or prompt.
fn git_command(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(folder);
    isolate(&mut command);
    command
}

pub(super) fn isolate(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("GIT_") {
            command.env_remove(key);
        }
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_COMMITTER_NAME", "Ada")])
        .envs([("GIT_AUTHOR_EMAIL", "ada@example.com"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .kill_on_drop(true);
}

pub(super) async fn run(args: &[&str], folder: &Path, input: &[u8]) -> Vec<u8> {
    let (ok, output, errors) = feed(git_command(args, folder), input).await;
    assert!(ok, "git {args:?}: {}", String::from_utf8_lossy(&errors));
    output
}

/// Runs `command` with this input: whether it succeeded, what it printed, its complaints.
pub(super) async fn feed(mut command: Command, input: &[u8]) -> (bool, Vec<u8>, Vec<u8>) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A process that does not want its input may end before it has read it.
    let writing = async move {
        let _ = stdin.write_all(input).await;
    };
    let ((), output) = tokio::join!(writing, child.wait_with_output());
    let output = output.unwrap();
    (output.status.success(), output.stdout, output.stderr)
}
