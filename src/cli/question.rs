//! What a person is asked at a terminal. Where standard input is none, its next line is the answer.

use anyhow::{Context, bail};
use std::io::{BufRead, IsTerminal, Write};

/// `what` is a noun, as it stands before the colon.
pub fn ask(what: &str) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        write!(std::io::stderr().lock(), "{what}: ")?;
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).with_context(|| format!("reading {what}"))?;
    given(what, line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks without showing what is typed.
pub fn ask_password(what: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return ask(what);
    }
    let terminal = console::Term::stderr();
    terminal.write_str(&format!("{what}: "))?;
    given(what, terminal.read_secure_line()?)
}

/// Asks for one that is chosen now: twice at a terminal, since nobody sees what is typed.
pub fn ask_new_password() -> anyhow::Result<String> {
    let password = ask_password("Password")?;
    if std::io::stdin().is_terminal() && ask_password("The same password again")? != password {
        bail!("the two passwords differ: nothing was changed");
    }
    Ok(password)
}

fn given(what: &str, answer: String) -> anyhow::Result<String> {
    if answer.is_empty() {
        bail!("nothing was given for {}", what.to_lowercase());
    }
    Ok(answer)
}
