//! (being written)
pub fn main() -> std::process::ExitCode {
    // Before anything else is set up: a guard is one thread and reads no configuration.
    if std::env::args_os().nth(1).is_some_and(|first| first == "guard") {
        return crate::adapters::executor::guard::main();
    }
    std::process::ExitCode::SUCCESS
}
