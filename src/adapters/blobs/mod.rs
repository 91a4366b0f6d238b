//! Where the [`Blobs`](crate::ports::blobs::Blobs) port keeps its objects. [`filesystem`]: a
//! folder. [`s3`]: a bucket. [`metered`]: what counts and times whichever of them is in use.

mod folder;

pub mod filesystem;
pub mod metered;
pub mod s3;
