//! The contract of each port, as one suite that every adapter of it passes.

/// Makes a test of each rule for each adapter: `contract!([adapter, ...] [rule, ...])`. An adapter
/// is `async fn() -> (Box<dyn Port>, what must live as long)`, a rule `async fn(&dyn Port)`.
macro_rules! contract {
    (@adapter $adapter:ident [$($rule:ident),+ $(,)?]) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let (port, _kept) = super::$adapter().await;
                    super::$rule(&*port).await;
                }
            )+
        }
    };
    ([$($adapter:ident),+ $(,)?] $rules:tt) => { $(contract!(@adapter $adapter $rules);)+ };
}

mod blobs;
mod cache;
mod database;
mod executor;
mod live_logs;
mod notices;
mod queue;
mod redis;
mod source;
mod tools;
