//! What the fuzz targets share: the other readers of HTTP/1 that this crate's own are held against.

pub mod hyper;
pub mod reference;
