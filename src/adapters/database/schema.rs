//! The tables, as the queries know them. What they are made by is in `migrations/`.

use diesel::{allow_tables_to_appear_in_same_query, joinable, table};

table! {
    users (id) {
        id -> Text,
        email -> Text,
        name -> Nullable<Text>,
        password_hash -> Nullable<Text>,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
    }
}

table! {
    tokens (id) {
        id -> Text,
        account -> Text,
        hash -> Text,
        name -> Text,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
    }
}

table! {
    sessions (id) {
        id -> Text,
        account -> Text,
        created_at -> BigInt,
        ended_at -> Nullable<BigInt>,
    }
}

table! {
    refresh_tokens (hash) {
        hash -> Text,
        session -> Text,
        expires_at -> BigInt,
        used_at -> Nullable<BigInt>,
    }
}

table! {
    projects (id) {
        id -> Text,
        account -> Text,
        name -> Text,
        host -> Text,
        repo_url -> Nullable<Text>,
        production_branch -> Nullable<Text>,
        framework -> Nullable<Text>,
        settings -> Text,
        created_at -> BigInt,
    }
}

table! {
    deployments (seq) {
        seq -> BigInt,
        id -> Text,
        account -> Text,
        project -> Text,
        project_name -> Text,
        target -> Text,
        repo_url -> Text,
        reference -> Nullable<Text>,
        created_at -> BigInt,
        options -> Nullable<Text>,
        revision -> BigInt,
        attempt -> BigInt,
        losses -> BigInt,
        git_token -> Nullable<Text>,
        settings -> Text,
        env -> Text,
        git_commit -> Nullable<Text>,
        state -> Text,
        state_at -> Nullable<BigInt>,
        files -> Nullable<BigInt>,
        bytes -> Nullable<BigInt>,
        failure -> Nullable<Text>,
        reason -> Nullable<Text>,
        reused -> Bool,
        fingerprint -> Nullable<Text>,
        started_at -> Nullable<BigInt>,
        steps -> Text,
        cancel_requested -> Bool,
        lease_worker -> Nullable<Text>,
        // By the database's clock; 0: nobody holds it.
        lease_until -> BigInt,
        // By the database's clock; 0: it is to be announced.
        announced_at -> BigInt,
    }
}

table! {
    project_variables (project, name, target) {
        project -> Text,
        name -> Text,
        target -> Text,
        value -> Text,
        secret -> Bool,
        updated_at -> BigInt,
    }
}

table! {
    idempotency_keys (account, name) {
        account -> Text,
        name -> Text,
        fingerprint -> Text,
        deployment -> Nullable<Text>,
        created_at -> BigInt,
    }
}

table! {
    hosts (host) {
        host -> Text,
        kind -> Text,
        project -> Nullable<Text>,
        account -> Nullable<Text>,
        deployment -> Nullable<Text>,
        revision -> BigInt,
        as_of -> BigInt,
        published -> BigInt,
        // By the database's clock.
        moved_at -> BigInt,
    }
}

joinable!(refresh_tokens -> sessions (session));
allow_tables_to_appear_in_same_query!(refresh_tokens, sessions, users);
allow_tables_to_appear_in_same_query!(tokens, users);
allow_tables_to_appear_in_same_query!(idempotency_keys, deployments);
allow_tables_to_appear_in_same_query!(project_variables, projects);
