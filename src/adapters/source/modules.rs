//! Submodules: where `.gitmodules` says they are, and their checkout into the folders that are left
//! empty for them, within the limits of the whole and by the same rules about addresses.
//!
//! A token goes to submodules on the origin of the site's own repository alone. Start with
//! [`declared`], then [`Job::fetch_modules`].

use super::clone::{Job, Totals};
use super::tree;
use crate::domain::repo::RepoUrl;
use crate::ports::source::{FetchLimits, FetchRequest, SourceError};
use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// How many there may be in all, and how deep in one another.
const MOST: usize = 50;
const DEEPEST: usize = 4;
const FILE_BYTES: u64 = 256 * 1024;

/// A submodule that is to be fetched.
pub(super) struct Module {
    /// Below the folder of the repository that has it.
    path: String,
    /// As it was written.
    url: String,
    commit: ObjectId,
}

/// Those of a tree that `.gitmodules` knows a URL of; the others are noted as skipped.
pub(super) fn declared(
    repository: &gix::Repository,
    root: ObjectId,
    found: Vec<(BString, ObjectId)>,
    totals: &mut Totals,
) -> Result<Vec<Module>, SourceError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let urls = urls(repository, root).unwrap_or_default();
    let mut modules = Vec::new();
    for (path, commit) in found {
        let known = path.to_str().ok().and_then(|path| Some((path.to_owned(), urls.get(path)?.clone())));
        match known {
            Some((path, url)) => modules.push(Module { path, url, commit }),
            None => totals.skipped.push(tree::shown(&path)),
        }
    }
    Ok(modules)
}

/// The URL of each path in `.gitmodules`, but for those that are never to be updated.
fn urls(repository: &gix::Repository, root: ObjectId) -> Option<HashMap<String, String>> {
    let tree = repository.find_tree(root).ok()?;
    let entry = tree.find_entry(".gitmodules").filter(|entry| entry.mode().is_blob())?;
    let id = entry.oid().to_owned();
    if repository.find_header(id).ok()?.size() > FILE_BYTES {
        return None;
    }
    let blob = repository.find_blob(id).ok()?;
    Some(parse(&blob.data.to_str_lossy()))
}

/// Sections of `.gitmodules`: what of Git's configuration language such files use.
fn parse(text: &str) -> HashMap<String, String> {
    let mut urls = HashMap::new();
    let mut section: HashMap<String, String> = HashMap::new();
    let mut close = |section: HashMap<String, String>| {
        if let (Some(path), Some(url)) = (section.get("path"), section.get("url"))
            && section.get("update").is_none_or(|update| update != "none")
        {
            urls.insert(path.trim_end_matches('/').to_owned(), url.clone());
        }
    };
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            close(std::mem::take(&mut section));
        } else if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) {
            let value = value.trim().trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\");
            section.insert(name.trim().to_ascii_lowercase(), value);
        }
    }
    close(section);
    urls
}

impl Job {
    /// Fetches submodules, and theirs, into a checkout. `depth`: from 1.
    pub(super) fn fetch_modules(
        &self,
        modules: Vec<Module>,
        scratch: &Path,
        tree: &Path,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<(), SourceError> {
        for module in modules {
            let shown: String = module.url.chars().filter(|c| !c.is_control()).take(200).collect();
            let path = module.path.clone();
            self.fetch_module(&module, scratch, tree, totals, depth).map_err(|cause| match cause {
                // These are about the whole, or name another submodule already.
                cause @ (SourceError::Stopped
                | SourceError::TimedOut(_)
                | SourceError::TooLarge { .. }
                | SourceError::Internal(_)
                | SourceError::LargeFiles(_)
                | SourceError::Submodule { .. }) => cause,
                cause => SourceError::Submodule { path, url: shown, cause: Box::new(cause) },
            })?;
        }
        Ok(())
    }

    fn fetch_module(
        &self,
        module: &Module,
        scratch: &Path,
        tree: &Path,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<(), SourceError> {
        totals.modules += 1;
        if totals.modules > MOST {
            return Err(SourceError::TooLarge { what: "submodules", limit: MOST as u64 });
        }
        if depth > DEEPEST {
            return Err(SourceError::TooLarge { what: "submodules in one another", limit: DEEPEST as u64 });
        }
        let own = self.request.repo_url.url();
        let repo_url = resolve(&own, &module.url).map_err(SourceError::Invalid)?;
        let token = self.request.token.clone().filter(|_| repo_url.url().origin() == own.origin());
        let limits = self.request.limits;
        let left = FetchLimits {
            files: limits.files.saturating_sub(totals.files),
            bytes: limits.bytes.saturating_sub(totals.bytes),
            ..limits
        };
        (self.request.progress)(&format!("Fetching the submodule {}", module.path));
        let job = Job {
            request: FetchRequest {
                repo_url,
                reference: None,
                commit: Some(module.commit.to_string()),
                token,
                into: self.request.into.clone(),
                limits: left,
                progress: Arc::clone(&self.request.progress),
            },
            clients: self.clients.clone(),
            guard: self.guard.clone(),
            runtime: self.runtime.clone(),
            halt: self.halt.clone(),
            interrupt: self.interrupt.clone(),
            counters: self.counters.clone(),
            received_limit: self.received_limit,
        };
        let into = tree.join(&module.path);
        // The checkout left an empty folder for it. All on the way there are folders of that checkout.
        match std::fs::remove_dir(&into) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(super::faults::disk_error(&error));
            }
            _ => {}
        }
        if let Some(parent) = into.parent() {
            std::fs::create_dir_all(parent).map_err(|error| super::faults::disk_error(&error))?;
        }
        let already = (totals.files, totals.bytes);
        let mut inner = Totals { modules: totals.modules, ..Totals::default() };
        let top = job.fetch_tree(scratch, &into, &mut inner)?;
        let commit = module.commit.to_string();
        if commit != top.commit.id {
            // What a branch has by now is not what the site was made with.
            return Err(SourceError::RefNotFound(commit));
        }
        job.fetch_modules(top.modules, scratch, &into, &mut inner, depth + 1)?;
        totals.files = already.0 + inner.files;
        totals.bytes = already.1 + inner.bytes;
        totals.modules = inner.modules;
        totals.skipped.extend(inner.skipped.into_iter().map(|path| format!("{}/{path}", module.path)));
        Ok(())
    }
}

/// The URL of a submodule as it can be fetched: relative ones below the repository's own, those for
/// ssh as the same path by https, as forges have it. The error is the end of a sentence.
fn resolve(own: &Url, written: &str) -> Result<RepoUrl, String> {
    let https = |host: &str, path: &str| {
        let host = host.rsplit('@').next().unwrap_or(host);
        format!("https://{host}/{}", path.trim_start_matches('/'))
    };
    let text = if written.starts_with("./") || written.starts_with("../") {
        relative(own, written).ok_or_else(|| "its relative URL leads nowhere".to_owned())?
    } else if let Some((scheme, rest)) = written.split_once("://") {
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => written.to_owned(),
            "ssh" | "git+ssh" | "git" => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                // The port is that of another protocol.
                https(host.split(':').next().unwrap_or(host), path)
            }
            _ => return Err("its URL is neither https nor one that a forge has by https".to_owned()),
        }
    } else if let Some((host, path)) = written.split_once(':').filter(|(host, _)| !host.contains('/')) {
        https(host, path)
    } else {
        return Err("its URL is a path on somebody's machine".to_owned());
    };
    RepoUrl::parse(&text).map_err(|why| format!("its URL {why}"))
}

/// Git takes such a URL from the repository's own, as from a folder.
fn relative(own: &Url, written: &str) -> Option<String> {
    let mut parts: Vec<&str> = own.path_segments()?.filter(|part| !part.is_empty()).collect();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let mut url = own.clone();
    url.set_path(&parts.join("/"));
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gitmodules_says_is_read_as_people_and_git_write_it() {
        let text = "# themes\n[submodule \"a\"]\n\tpath = themes/a\n\turl = https://example.com/a.git\n\
                    [submodule \"b b\"]\n\turl = \"../b.git\"\n\tpath = \"b b\"\n[submodule \"c\"]\n\tpath = c\n\
                    [submodule \"d\"]\n\tpath = d\n\turl = x\n\tupdate = none\n";
        let urls = parse(text);
        assert_eq!(urls.len(), 2);
        assert_eq!(urls["themes/a"], "https://example.com/a.git");
        assert_eq!(urls["b b"], "../b.git");
    }

    #[test]
    fn urls_for_ssh_and_relative_ones_lead_to_https() {
        let own = Url::parse("https://git.example.com/team/site.git").unwrap();
        for (written, expected) in [
            ("git@git.example.com:team/theme.git", "https://git.example.com/team/theme.git"),
            ("ssh://git@git.example.com:2222/team/theme", "https://git.example.com/team/theme"),
            ("git://git.example.com/x.git", "https://git.example.com/x.git"),
            ("../theme.git", "https://git.example.com/team/theme.git"),
            ("../../other/theme", "https://git.example.com/other/theme"),
            ("./sub", "https://git.example.com/team/site.git/sub"),
            ("http://plain.example.com/x", "http://plain.example.com/x"),
        ] {
            assert_eq!(resolve(&own, written).unwrap().as_str(), expected, "{written}");
        }
        for bad in [
            "/srv/git/x",
            "C:/x y",
            "file:///srv/x",
            "../../../x",
            "https://me:secret@example.com/x",
            "ext::sh",
        ] {
            let refused = resolve(&own, bad);
            assert!(
                refused.is_err() || !refused.as_ref().unwrap().as_str().contains("srv"),
                "{bad}: {refused:?}"
            );
        }
        assert!(resolve(&own, "https://me:secret@example.com/x").is_err());
        assert!(resolve(&own, "file:///srv/x").is_err());
    }
}
