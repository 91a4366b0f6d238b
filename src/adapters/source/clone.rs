//! One fetch from beginning to end, on a thread that may block.
//!
//! gix's ready-made clone connects twice and chooses its own HTTP client; here its parts are put
//! together so that one connection serves, the server is asked for exactly one object, and each
//! byte passes the [`Wire`]. Start with [`Job::run`].

use super::exchange::GixHttp;
use super::faults::{disk_error, internal, server_error, write_error};
use super::guard::Guard;
use super::large_files;
use super::modules::{self, Module};
use super::progress::{Counters, Tally};
use super::refs::{self, Offer, Wanted};
use super::tree::{self, Measured};
use super::wire::{Clients, Wire};
use crate::domain::repo::{Commit, GitRef};
use crate::domain::text::printable;
use crate::ports::source::{FetchRequest, Fetched, SourceError};
use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use gix::odb::pack;
use gix::protocol::fetch::{self, Arguments, Shallow, Tags, negotiate};
use gix::protocol::handshake::Ref;
use gix::protocol::transport::{Protocol, Service, client::blocking_io::http};
use gix::protocol::{Handshake, LsRefsCommand, ls_refs::RefPrefixes};
use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

type Transport = http::Transport<GixHttp>;

const MESSAGE_CHARS: usize = 500;
const WHOLE_MESSAGE_CHARS: usize = 8_000;
/// Commit and tags, which a pack holds besides files and folders.
const OTHER_OBJECTS: u64 = 1_000;

pub(super) struct Job {
    pub(super) request: FetchRequest,
    pub(super) clients: Clients,
    pub(super) guard: Arc<Guard>,
    pub(super) runtime: Handle,
    pub(super) halt: CancellationToken,
    pub(super) interrupt: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
    /// Of all that comes over the network, submodules and large files included.
    pub(super) received_limit: u64,
}

/// What was checked out, in a folder of its own that vanishes with this.
pub(super) struct CheckedOut {
    pub(super) folder: TempDir,
    pub(super) tree: PathBuf,
    pub(super) fetched: Fetched,
}

/// What one repository's checkout came to.
pub(super) struct Top {
    pub(super) commit: Commit,
    root: ObjectId,
    /// The commit's, whole.
    message: String,
    default_branch: Option<String>,
    pub(super) modules: Vec<Module>,
}

/// What was checked out so far, of all repositories.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// How many submodules were fetched.
    pub(super) modules: usize,
    /// Paths of submodules that nothing says the place of.
    pub(super) skipped: Vec<String>,
}

/// A connection on which the server has said what it can do.
struct Session {
    wire: Rc<Wire>,
    transport: Transport,
    handshake: Handshake,
}

impl Job {
    /// Never touches `request.into`: whoever waits for the result moves it there, so that a thread
    /// which is stuck and given up can do no harm later.
    pub(super) fn run(&self) -> Result<CheckedOut, SourceError> {
        let parent = self.request.into.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(|error| disk_error(&error))?;
        let folder = tempfile::Builder::new().prefix(".fetch-").tempdir_in(parent);
        let folder = folder.map_err(|error| disk_error(&error))?;
        let tree = folder.path().join("tree");
        let mut totals = Totals::default();
        let mut top = self.fetch_tree(folder.path(), &tree, &mut totals)?;
        self.fetch_modules(std::mem::take(&mut top.modules), folder.path(), &tree, &mut totals, 1)?;
        let Totals { files, bytes, skipped: submodules, .. } = totals;
        let Top { commit, root, message, default_branch, .. } = top;
        let fetched =
            Fetched { commit, tree: root.to_string(), message, default_branch, files, bytes, submodules };
        Ok(CheckedOut { folder, tree, fetched })
    }

    /// Fetches one repository and checks it out to `tree`, with its large files and without its
    /// submodules. `scratch`: a folder for what is needed meanwhile.
    pub(super) fn fetch_tree(
        &self,
        scratch: &Path,
        tree: &Path,
        totals: &mut Totals,
    ) -> Result<Top, SourceError> {
        let store = tempfile::Builder::new().prefix("store-").tempdir_in(scratch);
        let store = store.map_err(|error| disk_error(&error))?;
        let repository = open_store(&store.path().join("git"))?;

        let mut session = self.connect()?;
        let refs = self.list_refs(&mut session)?;
        let offer = Offer { refs: &refs };
        let default_branch = offer.default_branch();
        let wanted = self.receive_wanted(session, &offer, &repository)?;

        let (root, commit, message) = commit_and_tree(&repository, wanted, self.request.reference.as_ref())?;
        let measured = tree::measure(&repository.objects, root, self.request.limits, &self.interrupt)?;
        self.check_out(&repository, root, &measured, tree)?;
        totals.files += measured.files;
        totals.bytes += measured.bytes;
        let pointers = large_files::pointers(&repository, &measured);
        let modules = modules::declared(&repository, root, measured.submodules, totals)?;
        drop(repository);
        store.close().map_err(|error| disk_error(&error))?;
        self.fetch_large_files(&pointers, tree, totals)?;
        Ok(Top { commit, root, message, default_branch, modules })
    }

    /// What this repository's requests have in common.
    pub(super) fn wire(&self) -> Wire {
        Wire {
            clients: self.clients.clone(),
            guard: self.guard.clone(),
            runtime: self.runtime.clone(),
            halt: self.halt.clone(),
            counters: self.counters.clone(),
            token: self.request.token.clone(),
            limit_bytes: self.received_limit,
            redirected: RefCell::new(None),
            fault: Cell::new(None),
            refusal: RefCell::new(None),
            url: self.request.repo_url.url(),
        }
    }

    fn connect(&self) -> Result<Session, SourceError> {
        let wire = Rc::new(self.wire());
        let url = wire.url.clone();
        let base = url.as_str().trim_end_matches('/');
        let parsed = gix::Url::try_from(base).map_err(|_| SourceError::NotFound)?;
        let mut transport = http::connect_http(GixHttp(wire.clone()), parsed, Protocol::V2, false);
        let handshake = gix::protocol::handshake(
            &mut transport,
            Service::UploadPack,
            |_| Ok(None),
            Vec::new(),
            &mut Tally::new(self.counters.clone()),
        )
        .map_err(|error| server_error(&wire, &error))?;
        let format = handshake.capabilities.capability("object-format");
        if format.and_then(|format| format.value().map(|value| value != "sha1")).unwrap_or(false) {
            return Err(SourceError::Invalid("the repository uses SHA-256 object names".to_owned()));
        }
        Ok(Session { wire, transport, handshake })
    }

    /// `HEAD` and what the request could mean. Servers of protocol versions 0 and 1 have told all
    /// references already.
    fn list_refs(&self, session: &mut Session) -> Result<Vec<Ref>, SourceError> {
        if let Some(all) = session.handshake.refs.take() {
            let empty = Offer { refs: &all }.is_empty();
            return if empty { Err(SourceError::Empty) } else { Ok(all) };
        }
        let mut found = self.ls_refs(session, refs::prefixes(self.request.reference.as_ref()))?;
        if (Offer { refs: &found }).is_empty() {
            // Nothing of what was asked for. Is there anything at all?
            let branches = self.ls_refs(session, vec!["refs/heads/".to_owned(), "refs/tags/".to_owned()])?;
            if (Offer { refs: &branches }).is_empty() {
                return Err(SourceError::Empty);
            }
            found.extend(branches);
        }
        Ok(found)
    }

    fn ls_refs(&self, session: &mut Session, prefixes: Vec<String>) -> Result<Vec<Ref>, SourceError> {
        let mut asked = RefPrefixes::new();
        asked.extend(prefixes.into_iter().map(Into::into));
        let command = LsRefsCommand::new(Some(asked), &session.handshake.capabilities, agent());
        command
            .invoke_blocking(&mut session.transport, &mut Tally::new(self.counters.clone()), false)
            .map_err(|error| server_error(&session.wire, &error))
    }

    /// The commit of an earlier attempt, where the server still gives it, else what the reference
    /// means now.
    fn receive_wanted(
        &self,
        session: Session,
        offer: &Offer<'_>,
        repository: &gix::Repository,
    ) -> Result<Wanted, SourceError> {
        let meant = offer.resolve(self.request.reference.as_ref());
        let pinned = self.request.commit.as_deref().and_then(refs::commit);
        if let Some(id) =
            pinned.filter(|id| meant.as_ref().is_ok_and(|meant| meant.id != *id) || meant.is_err())
        {
            let branch = meant.as_ref().ok().and_then(|meant| meant.branch.clone());
            let wanted = Wanted { id, branch };
            match self.receive(session, &wanted, repository) {
                Ok(()) => return Ok(wanted),
                Err(SourceError::RefNotFound(_)) => {}
                Err(error) => return Err(error),
            }
            let wanted = meant?;
            self.receive(self.connect()?, &wanted, repository)?;
            return Ok(wanted);
        }
        let wanted = meant?;
        self.receive(session, &wanted, repository)?;
        Ok(wanted)
    }

    fn receive(
        &self,
        mut session: Session,
        wanted: &Wanted,
        repository: &gix::Repository,
    ) -> Result<(), SourceError> {
        let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
        let folder = repository.objects.store_ref().path().join("pack");
        let wire = session.wire.clone();
        let received = gix::protocol::fetch(
            &mut OneObject(wanted.id),
            |reader, progress, interrupt| {
                let mut pack = self.check_pack_header(reader, &wire).map_err(gix::Error::from_error)?;
                let options = pack::bundle::write::Options {
                    alloc_limit_bytes: usize::try_from(self.request.limits.bytes).ok(),
                    ..Default::default()
                };
                let no_bases = None::<gix::OdbHandle>;
                let hash = gix::hash::Kind::Sha1;
                pack::Bundle::write_to_directory(
                    &mut pack,
                    Some(&folder),
                    progress,
                    interrupt,
                    no_bases,
                    hash,
                    options,
                )?;
                Ok(true)
            },
            Tally::new(self.counters.clone()),
            &self.interrupt,
            fetch::Context {
                handshake: &mut session.handshake,
                transport: &mut session.transport,
                user_agent: agent(),
                trace_packetlines: false,
            },
            fetch::Options {
                shallow_file: repository
                    .shallow_file()
                    .map_err(|error| internal("the shallow file", &error))?,
                shallow: &shallow,
                tags: Tags::None,
                reject_shallow_remote: false,
            },
        );
        match received {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(SourceError::Invalid("the server sent nothing".to_owned())),
            // The words of upload-pack for an object that it has not, or does not give by its id.
            Err(_) if session.wire.refusal().is_some_and(|text| text.contains("not our ref")) => {
                let name = self.request.reference.as_ref().map(|name| name.as_str().to_owned());
                Err(SourceError::RefNotFound(name.unwrap_or_else(|| wanted.id.to_string())))
            }
            Err(error) => Err(server_error(&session.wire, &error)),
        }
    }

    /// Refuses a pack that promises more objects than the limits could admit, before memory is set
    /// aside for them: one commit has at most as many folders as files.
    fn check_pack_header<'a>(
        &self,
        reader: &'a mut dyn BufRead,
        wire: &Wire,
    ) -> io::Result<impl BufRead + use<'a>> {
        let mut header = [0; 12];
        reader.read_exact(&mut header)?;
        let [.., a, b, c, d] = header;
        let (objects, limit) = (u64::from(u32::from_be_bytes([a, b, c, d])), self.request.limits.files);
        if objects > limit.saturating_mul(2).saturating_add(OTHER_OBJECTS) {
            wire.fault.set(Some(SourceError::TooLarge { what: "files", limit }));
            return Err(io::Error::other("too many objects"));
        }
        Ok(io::BufReader::new(io::Cursor::new(header).chain(reader)))
    }

    fn check_out(
        &self,
        repository: &gix::Repository,
        root: ObjectId,
        measured: &Measured,
        into: &Path,
    ) -> Result<(), SourceError> {
        let counters = &self.counters;
        counters.files_total.store(usize::try_from(measured.files).unwrap_or(usize::MAX), Relaxed);
        counters.checking_out.store(true, Relaxed);
        std::fs::create_dir(into).map_err(|error| disk_error(&error))?;
        let invalid = |error: &gix::Error| SourceError::Invalid(format!("cannot be checked out: {error}"));
        let mut index = gix::index::State::from_tree(&root, &repository.objects, tree::NAMES)
            .map_err(|error| invalid(&error))?;
        let source = gix::worktree::stack::state::attributes::Source::IdMapping;
        let mut options =
            repository.checkout_options(source).map_err(|error| internal("checking out", &error))?;
        options.destination_is_initially_empty = true;
        options.validate = tree::NAMES;
        let objects = repository.objects.clone().into_arc().map_err(|error| disk_error(&error))?;
        let outcome = gix::worktree::state::checkout(
            &mut index,
            into,
            objects,
            &Tally::of(counters.clone(), counters.files.clone()),
            &Tally::of(counters.clone(), Arc::new(AtomicUsize::new(0))),
            &self.interrupt,
            options,
        )
        .map_err(|error| write_error(&error))?;
        if self.interrupt.load(Relaxed) {
            return Err(SourceError::Stopped); // an interrupted checkout counts as a success to gix
        }
        if let Some(collision) = outcome.collisions.first() {
            let path = tree::shown(&collision.path);
            return Err(SourceError::Invalid(format!("{path} collides with another name")));
        }
        Ok(())
    }
}

/// Asks for one object and says that there is nothing on this side.
struct OneObject(ObjectId);

impl fetch::Negotiate for OneObject {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<negotiate::Action> {
        Ok(negotiate::Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _known: &[bool]) -> bool {
        arguments.want(self.0);
        true
    }

    fn one_round(
        &mut self,
        _state: &mut negotiate::one_round::State,
        _arguments: &mut Arguments,
        _previous: Option<&fetch::Response>,
    ) -> gix::Result<(negotiate::Round, bool)> {
        let round = negotiate::Round {
            haves_sent: 0,
            in_vain: 0,
            haves_to_send: 0,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}

fn agent() -> (&'static str, Option<String>) {
    ("agent", Some(concat!("git/gv-", env!("CARGO_PKG_VERSION")).to_owned()))
}

/// A bare repository that knows no configuration but its own: nobody's credential helpers, URL
/// rewrites, filters or attributes apply.
fn open_store(folder: &Path) -> Result<gix::Repository, SourceError> {
    let create = gix::create::Options {
        fs_capabilities: Some(gix::fs::Capabilities::default()),
        ..gix::create::Options::default()
    };
    let opened = gix::ThreadSafeRepository::init_opts(
        folder,
        gix::create::Kind::Bare,
        create,
        gix::open::Options::isolated(),
    );
    opened.map(|store| store.to_thread_local()).map_err(|error| internal("preparing the fetch", &error))
}

fn commit_and_tree(
    repository: &gix::Repository,
    wanted: Wanted,
    reference: Option<&GitRef>,
) -> Result<(ObjectId, Commit, String), SourceError> {
    let commit = repository
        .find_object(wanted.id)
        .ok()
        .and_then(|object| object.peel_to_kind(gix::objs::Kind::Commit).ok())
        .map(gix::Object::into_commit);
    let Some(commit) = commit else {
        let name = reference.map_or_else(|| wanted.id.to_string(), |name| name.as_str().to_owned());
        return Err(SourceError::Invalid(format!("{name} does not lead to a commit")));
    };
    let broken = |_| SourceError::Invalid(format!("the commit {} is broken", commit.id));
    let root = commit.tree_id().map_err(broken)?.detach();
    let whole = commit.message_raw_sloppy();
    let message = first_line(whole);
    let whole = whole.to_str_lossy().chars().take(WHOLE_MESSAGE_CHARS).collect();
    Ok((root, Commit { id: commit.id.to_string(), message, branch: wanted.branch }, whole))
}

/// The first line of a commit's message, as it may be shown.
fn first_line(message: &BStr) -> String {
    let text = message.to_str_lossy();
    let line = text.trim_start().lines().next().unwrap_or_default();
    let clean: String =
        line.chars().filter(|c| printable(c.encode_utf8(&mut [0; 4]), 1).is_ok() || *c == ' ').collect();
    clean.trim().chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_first_line_without_what_forges_a_log() {
        let cases: [(&[u8], &str); 5] = [
            (b"Say hello\n\nAt length.", "Say hello"),
            (b"\n\nLate", "Late"),
            (b"red \x1b[31m\xe2\x80\xaetxt.exe", "red [31mtxt.exe"),
            (b"caf\xe9", "caf\u{fffd}"),
            (b"", ""),
        ];
        for (raw, shown) in cases {
            assert_eq!(first_line(raw.as_bstr()), shown);
        }
        assert_eq!(first_line("é".repeat(600).as_str().into()).chars().count(), 500);
    }
}
