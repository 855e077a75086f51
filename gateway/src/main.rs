//! The `gateway` program: arguments in, exit code out.

fn main() {}
