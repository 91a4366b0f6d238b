//! Certificates that edges and apis get by themselves: real processes above one storage, a real
//! authority (Pebble) that really looks for the proofs, a real name server (BIND) that takes updates.
//!
//! Everything here needs the servers and programs that `scripts/with-services` brings.

mod real {
    //! `on_demand`: the first hello of a host. `renewal`: before it ends. `wildcard`: by DNS. `failures`: what
    //! is remembered of them. `api`: those of the API's own hosts. Here: the fleet that they share.

    mod api;
    mod failures;
    mod fleet;
    mod on_demand;
    mod records;
    mod renewal;
    mod wildcard;
}
