//! Commits that say themselves that they need no deployment: `[skip ci]` and its like.
//!
//! They count for pushes alone. Who asks for a deployment wants it, whatever its commit says.

use crate::domain::deployment::{BuildOptions, Origin};

/// In any case, anywhere in the message, with a space or a hyphen: what GitHub, GitLab, Netlify, Vercel and
/// Cloudflare Pages take for it, and gv's own.
const WORDS: &[&str] = &["ci", "gv", "deploy", "build", "netlify", "vercel", "cf-pages"];
/// Written one way only.
const WHOLE: &[&str] = &["[no ci]", "[no-ci]", "[no deploy]", "[no-deploy]", "***no_ci***"];

/// The mark by which a commit's message asks for no deployment.
pub fn mark_in(message: &str) -> Option<String> {
    let message = message.to_ascii_lowercase();
    let marks = WORDS.iter().flat_map(|word| {
        [' ', '-']
            .into_iter()
            .flat_map(move |gap| [format!("[skip{gap}{word}]"), format!("[{word}{gap}skip]")])
    });
    marks.chain(WHOLE.iter().map(|mark| (*mark).to_owned())).find(|mark| message.contains(mark.as_str()))
}

/// The mark that this deployment is skipped for.
pub fn mark_that_counts(options: BuildOptions, message: &str) -> Option<String> {
    if options.origin != Origin::Hook || options.force {
        return None;
    }
    mark_in(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSHED: BuildOptions =
        BuildOptions { force: false, no_cache: false, origin: Origin::Hook, trace: None };

    #[test]
    fn a_message_asks_for_no_deployment_by_any_of_the_usual_marks() {
        for message in [
            "Fix a typo [skip ci]",
            "[CI Skip] docs",
            "docs\n\nLong text.\n[skip gv]",
            "[gv skip]",
            "[skip deploy] x",
            "[no ci]",
            "[skip netlify]",
            "[vercel skip]",
            "[CF-Pages-Skip] x",
            "[Skip-CI]",
        ] {
            assert!(mark_in(message).is_some(), "{message}");
        }
        for message in ["", "skip ci", "[skip]", "[skip cinema]", "[ skip ci ]", "Do not [skipci]"] {
            assert_eq!(mark_in(message), None, "{message}");
        }
    }

    #[test]
    fn a_mark_counts_for_a_push_and_not_for_who_asks_for_the_deployment() {
        assert!(mark_that_counts(PUSHED, "[skip ci]").is_some());
        assert_eq!(mark_that_counts(BuildOptions { force: true, ..PUSHED }, "[skip ci]"), None);
        assert_eq!(mark_that_counts(BuildOptions::default(), "[skip ci]"), None);
        assert_eq!(mark_that_counts(PUSHED, "Fix a typo"), None);
    }
}
