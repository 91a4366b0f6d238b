//! What tools said when builds failed, as they said it, and what a person is told of it.
//!
//! The texts in `seen` are outputs of real runs; only folders and hosts of the machine were
//! replaced. Those in the second test are from the tools' own sources and reports.

use super::*;
use std::collections::HashSet;

const INSTALL: CommandKind = CommandKind::Install;
const BUILD: CommandKind = CommandKind::Build;

macro_rules! seen {
    ($name:literal) => {
        ($name, include_str!(concat!("seen/", $name, ".txt")))
    };
}

#[test]
fn what_tools_really_said_is_understood() {
    for (kind, (file, said), name, part) in [
        (INSTALL, seen!("bun-outdated"), "lockfile-does-not-fit", "together with package.json"),
        (BUILD, seen!("enospc"), "no-space", "no space"),
        (BUILD, seen!("env-missing"), "environment-variable", "API_URL"),
        (BUILD, seen!("hugo-theme"), "hugo-theme", "ananke"),
        (BUILD, seen!("js-heap"), "heap-out-of-memory", "NODE_OPTIONS"),
        (BUILD, seen!("mkdocs-plugin"), "mkdocs-part-missing", "requirements.txt"),
        (BUILD, seen!("node-cannot-find"), "package-not-installed", "gone-module"),
        (BUILD, seen!("node-case"), "case-or-missing-module", "upper and lower case"),
        (INSTALL, seen!("npm-401"), "private-package-unauthorised", "_authToken"),
        (INSTALL, seen!("npm-403"), "private-package-forbidden", "acme"),
        (INSTALL, seen!("npm-404"), "package-not-found", "private-thing"),
        (INSTALL, seen!("npm-ci-mismatch"), "lockfile-does-not-fit", "together with package.json"),
        (INSTALL, seen!("npm-ci-no-lockfile"), "lockfile-absent", "Commit the lockfile"),
        (INSTALL, seen!("npm-ebadengine"), "node-version-refused", "it wants ^18"),
        (INSTALL, seen!("npm-enotfound"), "registry-unreachable", "could not be reached"),
        (INSTALL, seen!("npm-eresolve"), "peer-dependency-conflict", "react-dom"),
        (INSTALL, seen!("npm-etarget"), "package-version-not-found", "left-pad@99.0.0"),
        (BUILD, seen!("npm-missing-script"), "script-missing", "\"build\""),
        (BUILD, seen!("npm-not-found"), "command-not-found", "vite was not found"),
        (INSTALL, seen!("npm-proxy"), "registry-unreachable", "could not be reached"),
        (INSTALL, seen!("npm-unreachable"), "registry-unreachable", "could not be reached"),
        (INSTALL, seen!("npm-gv-unknown"), "registry-unreachable", "(registry.example.com)"),
        (INSTALL, seen!("npm-gv-private"), "host-not-allowed", "(10.0.0.3): "),
        (INSTALL, seen!("pnpm-gv-unknown"), "registry-unreachable", "(registry.example.com)"),
        (INSTALL, seen!("pnpm-gv-private"), "host-not-allowed", "worker.egress_allow"),
        (INSTALL, seen!("bun-gv-unknown"), "registry-unreachable", "could not be reached"),
        (INSTALL, seen!("bun-gv-private"), "host-not-allowed", "worker.egress_allow"),
        (INSTALL, seen!("yarn1-gv-private"), "host-not-allowed", "worker.egress_allow"),
        (INSTALL, seen!("yarn4-gv-private"), "host-not-allowed", "worker.egress_allow"),
        (BUILD, seen!("node-gv-unknown"), "host-unreachable", "could not be reached"),
        (INSTALL, seen!("npm-eintegrity"), "package-changed", "the lockfile knows"),
        (BUILD, seen!("openssl"), "openssl-legacy", "openssl-legacy-provider"),
        (INSTALL, seen!("pnpm-403"), "private-package-forbidden", "refuses a package"),
        (INSTALL, seen!("pnpm-404"), "package-not-found", "private-thing"),
        (INSTALL, seen!("pnpm-engine"), "node-version-refused", "it wants ^18"),
        (BUILD, seen!("pnpm-missing-script"), "script-missing", "\"build\""),
        (INSTALL, seen!("pnpm-no-lockfile"), "lockfile-absent", "Commit the lockfile"),
        (INSTALL, seen!("pnpm-outdated"), "lockfile-does-not-fit", "together with package.json"),
        (BUILD, seen!("python-module"), "python-module", "nothing_here"),
        (BUILD, seen!("syntax"), "syntax-error", "cannot be parsed"),
        (BUILD, seen!("tsc"), "case-or-missing-module", "upper and lower case"),
        (BUILD, seen!("vite-unresolved"), "case-or-missing-module", "upper and lower case"),
        (INSTALL, seen!("yarn1-engine"), "node-version-refused", "it wants ^18"),
        (INSTALL, seen!("yarn1-outdated"), "lockfile-does-not-fit", "together with package.json"),
        (INSTALL, seen!("yarn4-outdated"), "lockfile-does-not-fit", "together with package.json"),
        (BUILD, seen!("next-fonts"), "google-fonts", "fontsource"),
        (BUILD, seen!("next-params"), "next-dynamic-export", "generateStaticParams"),
    ] {
        let found = Diagnosis::of(kind, said).unwrap_or_else(|| panic!("{file} is not understood"));
        assert_eq!(found.name, name, "{file}: {}", found.message);
        assert!(found.message.contains(part), "{file}: {}", found.message);
    }
}

#[test]
fn what_is_known_of_other_tools_is_understood() {
    for (kind, said, name, part) in [
        (
            BUILD,
            "Error: error:0308010C:digital envelope routines::unsupported\n  code: 'ERR_OSSL_EVP_UNSUPPORTED'",
            "openssl-legacy",
            "--openssl-legacy-provider",
        ),
        (
            BUILD,
            "You are using Node.js 18.20.0. For Next.js, Node.js version \"^18.18.0 || >= 20.0.0\" is required.\nAstro requires Node.js version >=22.12.0",
            "node-too-old",
            ">=22.12.0",
        ),
        (
            INSTALL,
            "npm ERR! code ENOTFOUND\nnpm ERR! network request to https://registry.example.com/x failed",
            "registry-unreachable",
            "registry.example.com",
        ),
        (
            INSTALL,
            "npm error tunneling socket could not be established, statusCode=403",
            "host-not-allowed",
            "ask the operator",
        ),
        (
            INSTALL,
            "npm error code E403\nnpm error 403 403 gv: plain http to 10.0.0.3:4873 is not passed on: use https - GET http://10.0.0.3:4873/x",
            "host-not-allowed",
            "(10.0.0.3:4873)",
        ),
        (
            INSTALL,
            "error Error: https://registry.example.com/x.tgz: tunneling socket could not be established, statusCode=502",
            "registry-unreachable",
            "could not be reached",
        ),
        (
            BUILD,
            "[cause]: Error: getaddrinfo ENOTFOUND api.example.com",
            "host-unreachable",
            "(api.example.com)",
        ),
        (
            INSTALL,
            " ERR_PNPM_FETCH_403  GET https://registry.example.com/@acme%2Fui: Forbidden - 403",
            "private-package-forbidden",
            "@acme%2Fui",
        ),
        (
            INSTALL,
            "error Couldn't find package \"@acme/ui\" on the \"npm\" registry.",
            "package-not-found",
            "@acme/ui",
        ),
        (
            INSTALL,
            " ERR_PNPM_IGNORED_BUILDS  Ignored build scripts: esbuild@0.25.0, sharp@0.33.5",
            "install-scripts-refused",
            "esbuild@0.25.0",
        ),
        (
            INSTALL,
            "error This project is configured to use pnpm because /source/package.json has a \"packageManager\" field",
            "package-manager-mismatch",
            "packageManager",
        ),
        (
            INSTALL,
            "npm error code 128\nnpm error command git --no-replace-objects ls-remote ssh://git@git.example.com/acme/x.git",
            "git-dependency",
            "git.example.com",
        ),
        (
            BUILD,
            "Error: ENOSPC: System limit for number of file watchers reached, watch '/x'",
            "no-space",
            "watch mode",
        ),
        (BUILD, "Error: EMFILE: too many open files, watch", "too-many-files", "watch mode"),
        (BUILD, "Error: spawn /x/esbuild EAGAIN", "too-many-processes", "limits.build_processes"),
        (
            BUILD,
            "sh: 1: fork: retry: Resource temporarily unavailable",
            "too-many-processes",
            "limits.build_processes",
        ),
        (
            BUILD,
            "Error: Missing required environment variable: DATABASE_URL",
            "environment-variable",
            ": DATABASE_URL.",
        ),
        (
            BUILD,
            "Error: Environment variable \"CONTENTFUL_SPACE_ID\" is not set",
            "environment-variable",
            "CONTENTFUL_SPACE_ID",
        ),
        (
            BUILD,
            "Error: NEXT_PUBLIC_API is not defined in the environment",
            "environment-variable",
            "NEXT_PUBLIC_API",
        ),
        (BUILD, "Error: supabaseUrl is required.", "environment-variable", "supabaseUrl"),
        (
            BUILD,
            "❌ Invalid environment variables: { AUTH_SECRET: [ 'Required' ] }",
            "environment-variable",
            "gv env",
        ),
        (
            BUILD,
            "Module not found: Error: Can't resolve './Components/Button' in '/x/src'",
            "case-or-missing-module",
            "./Components/Button",
        ),
        (BUILD, "Module not found: Can't resolve 'lodash'", "package-not-installed", "lodash"),
        (
            BUILD,
            "src/App.vue:3:7 - error TS2322: Type 'string' is not assignable to type 'number'.",
            "type-error",
            "src/App.vue",
        ),
        (BUILD, "Error: Docusaurus found broken links!", "docusaurus-links", "onBrokenLinks"),
        (
            BUILD,
            "Error: @sveltejs/adapter-static: all routes must be fully prerenderable",
            "sveltekit-adapter",
            "prerender = true",
        ),
        (
            BUILD,
            "ERROR TOCSS: failed to transform \"main.scss\". you need the extended version to build SCSS",
            "hugo-extended",
            "extended",
        ),
        (BUILD, "Could not find gem 'jekyll-feed' in locally installed gems.", "jekyll-gem", "jekyll-feed"),
        (
            INSTALL,
            "ERROR: No matching distribution found for mkdocs-materiall",
            "python-module",
            "mkdocs-materiall",
        ),
        (BUILD, "✖ 3 problems (1 error, 2 warnings)", "lint-error", "linter"),
        (
            BUILD,
            "fatal: not a git repository (or any of the parent directories): .git",
            "git-missing",
            "GV_COMMIT",
        ),
        (BUILD, "sh: 1: ./build.sh: Permission denied", "not-executable", "./build.sh"),
        (
            BUILD,
            "bundle initial exceeded maximum budget. Budget 1.00 MB was not met by 12 kB",
            "angular-budget",
            "angular.json",
        ),
    ] {
        let found = Diagnosis::of(kind, said).unwrap_or_else(|| panic!("{said} is not understood"));
        assert_eq!(found.name, name, "{said}: {}", found.message);
        assert!(found.message.contains(part), "{said}: {}", found.message);
    }
}

#[test]
fn the_causes_are_readable_and_each_is_a_sentence_or_more() {
    let names: HashSet<_> = causes().iter().map(|cause| &cause.name).collect();
    assert_eq!(names.len(), causes().len());
    assert!(names.len() > 40);
    for cause in causes() {
        assert!(cause.message.ends_with('.'), "{}", cause.name);
        for number in cause.matches.0.captures_len()..20 {
            assert!(
                !cause.message.contains(&format!("{{{number}}}")),
                "{}: there is no group {number}",
                cause.name
            );
        }
        for number in 1..cause.matches.0.captures_len() {
            let unused = !cause.message.contains(&format!("{{{number}}}"));
            assert!(
                !unused || cause.message.matches('{').count() == 0 || number > 2,
                "{}: group {number}",
                cause.name
            );
        }
    }
}

#[test]
fn what_nobody_knows_is_left_to_the_log() {
    for said in [
        "",
        "compiling\ncannot find colour\n",
        "warning: unused variable",
        "Error: EAGAIN: resource temporarily unavailable, write",
    ] {
        assert_eq!(Diagnosis::of(BUILD, said), None, "{said}");
    }
}

#[test]
fn colours_do_not_hide_a_cause_and_what_a_build_prints_does_not_fill_the_message() {
    let said = format!("\u{1b}[31mMissing script:\u{1b}[0m \"{}\"", "x".repeat(5_000));
    let found = Diagnosis::of(BUILD, &said).unwrap();
    assert!(found.message.chars().count() < 400, "{}", found.message);
}

#[test]
fn only_the_last_lines_are_kept() {
    let mut tail = Tail::default();
    for number in 0..10_000 {
        tail.push(format!("line {number}"));
    }
    let text = tail.text();
    assert_eq!(text.lines().count(), MAX_LINES);
    assert!(text.ends_with("line 9999\n"));
    tail.push("y".repeat(MAX_BYTES));
    assert!(tail.text().len() <= MAX_BYTES + 1);
}
