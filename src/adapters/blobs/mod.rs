//! Where the [`Blobs`](crate::ports::blobs::Blobs) port keeps its objects. [`filesystem`]: a
//! folder. [`metered`]: what counts and times whichever of them is in use.

mod folder;

pub mod filesystem;
pub mod metered;
