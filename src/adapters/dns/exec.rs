//! A program of the operator's that knows how his DNS is changed: `PROGRAM [ARGUMENT...] present NAME
//! VALUE` adds a TXT record, `... cleanup NAME VALUE` removes it. It has succeeded when it ends with 0,
//! and the record is then to be found. What it prints goes into gv's log.

use crate::ports::dns_records::DnsRecords;
use crate::ports::error::{StoreError, StoreErrorKind};
use async_trait::async_trait;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Of what it prints, on each of its two streams.
const MAX_OUTPUT: u64 = 16 * 1024;

pub struct ExecHook {
    program: String,
    arguments: Vec<String>,
}

impl ExecHook {
    /// `None`: no program is named.
    pub fn new(command: &[String]) -> Option<Self> {
        let (program, arguments) = command.split_first()?;
        Some(Self { program: program.clone(), arguments: arguments.to_vec() })
    }

    async fn run(&self, verb: &'static str, name: &str, value: &str) -> Result<(), StoreError> {
        let doing = || format!("running {} {verb} {name}", self.program);
        let failed = |why: String| StoreError::new(StoreErrorKind::Unavailable, doing(), why);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args([verb, name, value]);
        // It may have keys of its own in the environment; gv's are none of its business.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("GV_") {
                command.env_remove(variable);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ending = async { tokio::join!(printed(out), printed(err), child.wait()) };
        let Ok((out, err, ended)) = tokio::time::timeout(DEADLINE, ending).await else {
            return Err(failed(format!("it has not ended within {} s", DEADLINE.as_secs())));
        };
        let status = ended.map_err(|error| failed(error.to_string()))?;
        tracing::info!(program = self.program, verb, name, %status, out, err, "the DNS hook has run");
        match status.success() {
            true => Ok(()),
            false => Err(failed(format!("{status}: {}", if err.is_empty() { out } else { err }))),
        }
    }
}

#[async_trait]
impl DnsRecords for ExecHook {
    async fn add(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.run("present", name, value).await
    }

    async fn remove(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.run("cleanup", name, value).await
    }
}

/// What a program prints, as far as it is of use; the rest is read and forgotten.
async fn printed(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    if (&mut stream).take(MAX_OUTPUT).read_to_end(&mut kept).await.is_ok() {
        // Or it would wait for somebody to read on.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).trim_end().to_owned()
}
