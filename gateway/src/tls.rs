//! The certificate of the public listener.

pub mod certificate;
