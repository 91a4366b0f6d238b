//! A Git repository of one commit, as the pack that a clone of it receives.
//!
//! Formats: gitformat-pack(5) and the object formats of "Git Internals - Git Objects" (Pro Git, 10.2).

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::hash::Kind as HashKind;
use gix::objs::Kind;
use std::io::Write;

pub struct Repository {
    /// The commit's id in 40 hexadecimal digits.
    pub head: String,
    pub pack: Vec<u8>,
}

impl Repository {
    /// One commit of `files`, all in the root folder and sorted by name. `seconds` (since 1970) is
    /// when it says that it was made.
    pub fn of(files: &[(&str, &[u8])], seconds: i64, message: &str) -> anyhow::Result<Self> {
        let mut objects = Vec::new();
        let mut tree = Vec::new();
        for (name, content) in files {
            let id = gix::objs::compute_hash(HashKind::Sha1, Kind::Blob, content)?;
            objects.push((Kind::Blob, content.to_vec()));
            tree.extend_from_slice(format!("100644 {name}\0").as_bytes());
            tree.extend_from_slice(id.as_slice());
        }
        let tree_id = gix::objs::compute_hash(HashKind::Sha1, Kind::Tree, &tree)?;
        objects.push((Kind::Tree, tree));
        let who = format!("gv <gv@localhost> {seconds} +0000");
        let commit = format!("tree {tree_id}\nauthor {who}\ncommitter {who}\n\n{message}\n").into_bytes();
        let head = gix::objs::compute_hash(HashKind::Sha1, Kind::Commit, &commit)?.to_string();
        objects.push((Kind::Commit, commit));
        Ok(Self { head, pack: pack(&objects)? })
    }
}

fn pack(objects: &[(Kind, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut pack = b"PACK".to_vec();
    pack.extend_from_slice(&2_u32.to_be_bytes());
    pack.extend_from_slice(&u32::try_from(objects.len())?.to_be_bytes());
    for (kind, content) in objects {
        let number = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        write_header(&mut pack, number, content.len());
        let mut encoder = ZlibEncoder::new(&mut pack, Compression::default());
        encoder.write_all(content)?;
        encoder.finish()?;
    }
    let mut hasher = gix::hash::hasher(HashKind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize()?.as_slice());
    Ok(pack)
}

/// The object's type in bits 4 to 6 of the first byte, its size in 4 bits there and 7 in each byte
/// that follows, the least first; the highest bit says that one follows.
fn write_header(pack: &mut Vec<u8>, kind: u8, size: usize) {
    let mut byte = kind << 4 | (size & 15) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        pack.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    pack.push(byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_split_as_git_splits_them() {
        let header = |size| {
            let mut bytes = Vec::new();
            write_header(&mut bytes, 3, size);
            bytes
        };
        assert_eq!(header(5), [0x35]);
        assert_eq!(header(300), [0xbc, 0x12]);
    }

    #[test]
    fn the_same_files_at_the_same_time_are_the_same_commit() {
        let made = |seconds| Repository::of(&[("a", b"1")], seconds, "first").unwrap().head;
        assert_eq!(made(5), made(5));
        assert_ne!(made(5), made(6));
    }
}
