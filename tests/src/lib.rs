//! Drives the real binaries over HTTP.
